"""Images of a machine under libvirt: their paths, and open images of a stopped machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from haulback.drivers.images.host_image import HostImage
from haulback.drivers.images.image import Image
from haulback.drivers.images.network_image import NetworkImage
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.drivers.libvirt.domain import DomainDisk
from haulback.errors import HaulbackError, Unsupported
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
    """Disks that can be read in the machine's present state."""
    if domain.is_active:
        return located(host, domain.live())
    found = located(host, domain.definition())
    return [volume for volume in found if (volume.path or volume.tree) and not volume.off]


def sized(host: Host, domain: Domain) -> list[tuple[DomainDisk, int]]:
    """Disks of a running machine with their sizes in bytes."""
    return [(volume, domain.size(volume.device)) for volume in readable(host, domain)]


class LookedAt(NamedTuple):
    """Disks with their sizes in bytes, and the disks that cannot be read now, with the reasons."""

    sized: list[tuple[DomainDisk, int]]
    lost: dict[str, str]


def looked_at(host: Host, domain: Domain) -> LookedAt:
    """Disks that backups of a machine in its present state contain.

    The images of a stopped machine are opened, so that a fault shows before a backup fails. Raises
    the error of libvirt for a local disk of unknown size.
    """
    if domain.is_active:
        return LookedAt(sized(host, domain), {})
    seen = LookedAt([], {})
    for volume in readable(host, domain):
        try:
            with opened([volume], network=True) as [image]:
                seen.sized.append((volume, image.size))
        except HaulbackError as error:
            seen.lost[volume.name] = f"it cannot be read now, and a backup fails: {error.message}"
            if volume.path:
                seen.sized.append((volume, domain.size(volume.device)))
    return seen


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
def opened(volumes: Sequence[DomainDisk], *, network: bool = False) -> Iterator[list[Image]]:
    """Open images for the duration of the block; see `open_all`."""
    images = open_all(volumes, network=network)
    try:
        yield images
    finally:
        for image in images:
            image.close()


def open_all(volumes: Sequence[DomainDisk], *, network: bool = False) -> list[Image]:
    """Open all images of a machine; after an error no image stays open.

    Disks on a network are opened with `network` only. Raises Unsupported for other disks.
    """
    images: list[Image] = []
    try:
        for volume in volumes:
            images.append(_image(volume, network))
    except BaseException:
        for image in images:
            image.close()
        raise
    return images


def _image(volume: DomainDisk, network: bool) -> Image:
    if volume.tree and network:
        return NetworkImage(volume.name, volume.tree)
    if volume.path is None or volume.off:
        lies = volume.off or f"not a file of this host ({volume.where or 'no source'})"
        raise Unsupported(f"{volume.name}: {lies}")
    return HostImage(volume.path, volume.name, volume.format)
