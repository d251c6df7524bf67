"""The images of a machine under libvirt: where they lie, and those of a stopped one, open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from haulback.drivers.images.image import Image, ImageFile
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.domain import Volume
from haulback.drivers.libvirt.edge import Domain, Host
from haulback.errors import Unsupported

_FOLDERS = ("dir", "fs", "netfs")


def located(host: Host, text: str) -> list[Volume]:
    """The disks of a machine's XML, those in storage pools with their paths."""
    found = xml.volumes(xml.parse(text))
    return [v._replace(path=_in_pool(host, *v.pool)) if v.pool else v for v in found]


def _in_pool(host: Host, pool: str, name: str) -> Path | None:
    """The path of a pool's volume; None where a pool on a network has only a name for it."""
    path = Path(host.volume(pool, name))
    return path if path.is_absolute() else None


def readable(host: Host, domain: Domain) -> list[Volume]:
    """The disks of a machine that can be read now: of a machine that is off, those on this host."""
    if domain.is_active:
        return located(host, domain.live())
    return [volume for volume in located(host, domain.definition()) if volume.path]


def folders(host: Host) -> dict[str, Path]:
    """The storage pools that are folders, by name: images can be made there."""
    found = {}
    for text in host.pools():
        root = xml.parse(text)
        path = root.findtext("target/path") or ""
        if root.get("type") in _FOLDERS and path.startswith("/"):
            found[root.findtext("name") or ""] = Path(path)
    return found


@contextmanager
def opened(volumes: Sequence[Volume]) -> Iterator[list[Image]]:
    """The images for as long as the block lasts."""
    images = open_all(volumes)
    try:
        yield images
    finally:
        for image in images:
            image.close()


def open_all(volumes: Sequence[Volume]) -> list[Image]:
    """The images of a stopped machine, or none of them."""
    images: list[Image] = []
    try:
        for volume in volumes:
            images.append(_image(volume))
    except BaseException:
        for image in images:
            image.close()
        raise
    return images


def _image(volume: Volume) -> Image:
    if volume.path is None:
        raise Unsupported(
            f"{volume.name} lies on {volume.where or 'no file'}: it can be read while the machine "
            "runs, not while it is stopped"
        )
    if volume.format not in ("raw", "qcow2"):
        raise Unsupported(f"{volume.name}: {volume.format!r} images are not read")
    file = ImageFile(volume.name, volume.path.name, volume.format)  # type: ignore[arg-type]
    return Image(volume.path.parent, file)
