"""Images of a machine under libvirt: their paths, and open images of a stopped machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from haulback.drivers.images.image import Image, ImageFile
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.drivers.libvirt.domain import DomainDisk
from haulback.errors import Unsupported
from haulback.libvirt_xml import parse

_FOLDERS = ("dir", "fs", "netfs")  # types of storage pools that are folders


def located(host: Host, text: str) -> list[DomainDisk]:
    """Disks in a machine's XML, with the paths of volumes in storage pools."""
    found = xml.volumes(parse(text))
    return [v._replace(path=_in_pool(host, *v.pool)) if v.pool else v for v in found]


def _in_pool(host: Host, pool: str, name: str) -> Path | None:
    """Path of a pool's volume; None for a network pool, which has names in place of paths."""
    path = Path(host.volume(pool, name))
    return path if path.is_absolute() else None


def readable(host: Host, domain: Domain) -> list[DomainDisk]:
    """Disks that can be read now; for a stopped machine only those on this host."""
    if domain.is_active:
        return located(host, domain.live())
    return [volume for volume in located(host, domain.definition()) if volume.path]


def folders(host: Host) -> dict[str, Path]:
    """Storage pools that are folders, by name; images can be created there."""
    found = {}
    for text in host.pools():
        root = parse(text)
        path = root.findtext("target/path") or ""
        if root.get("type") in _FOLDERS and path.startswith("/"):
            found[root.findtext("name") or ""] = Path(path)
    return found


@contextmanager
def opened(volumes: Sequence[DomainDisk]) -> Iterator[list[Image]]:
    """Open images for the duration of the block."""
    images = open_all(volumes)
    try:
        yield images
    finally:
        for image in images:
            image.close()


def open_all(volumes: Sequence[DomainDisk]) -> list[Image]:
    """Open all images of a stopped machine; after an error no image stays open."""
    images: list[Image] = []
    try:
        for volume in volumes:
            images.append(_image(volume))
    except BaseException:
        for image in images:
            image.close()
        raise
    return images


def _image(volume: DomainDisk) -> Image:
    if volume.path is None:
        raise Unsupported(
            f"{volume.name} is not a file of this host ({volume.where or 'no source'}): it can be "
            "read only while the machine runs"
        )
    if volume.format not in ("raw", "qcow2"):
        raise Unsupported(f"{volume.name}: images of the format {volume.format!r} cannot be read")
    file = ImageFile(volume.name, volume.path.name, volume.format)  # type: ignore[arg-type]
    return Image(volume.path.parent, file)
