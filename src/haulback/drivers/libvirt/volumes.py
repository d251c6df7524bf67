"""Images of a machine under libvirt: their paths, and open images of a stopped machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from haulback.drivers.images.host_image import HostImage
from haulback.drivers.images.image import Image
from haulback.drivers.images.network_image import NetworkImage
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt import network_disks
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.drivers.libvirt.domain import DomainDisk
from haulback.errors import HaulbackError, Unavailable, Unsupported
from haulback.libvirt_xml import parse

_SLOW = 5.0  # seconds after which a server that failed is not asked again
_FOLDERS = ("dir", "fs", "netfs")  # types of storage pools that are folders


def located(host: Host, text: str) -> list[DomainDisk]:
    """Disks in a machine's XML, with the paths of volumes in storage pools."""
    return [_in_pool(host, volume) for volume in xml.volumes(parse(text))]


def _in_pool(host: Host, volume: DomainDisk) -> DomainDisk:
    """A disk with the path of its volume; volumes of network pools have names instead of paths."""
    if not volume.pool:
        return volume
    path = Path(host.volume(*volume.pool))
    return volume._replace(path=path) if path.is_absolute() else volume._replace(off=xml.POOL)


def readable(host: Host, domain: Domain) -> list[DomainDisk]:
    """Disks that can be read in the machine's present state."""
    if domain.is_active:
        return located(host, domain.live())
    found = located(host, domain.definition())
    return [volume for volume in found if (volume.path or volume.tree) and not volume.off]


def sized(host: Host, domain: Domain) -> list[tuple[DomainDisk, int]]:
    """Disks of a running machine with their sizes in bytes."""
    return [(volume, domain.size(volume.device)) for volume in readable(host, domain)]


class InspectedDisks(NamedTuple):
    """Disks with their sizes in bytes, and the disks that cannot be read now, with the reasons."""

    sized: list[tuple[DomainDisk, int]]
    lost: dict[str, str]


def looked_at(host: Host, domain: Domain, silent: dict[str, str]) -> InspectedDisks:
    """Disks that backups of a machine in its present state contain.

    The images of a stopped machine are opened, so that faults are found before a backup fails.
    `silent` collects servers that did not answer in time, with the reasons, so that each server
    gets one request.
    Raises the error of libvirt for a local disk of unknown size.
    """
    if domain.is_active:
        return InspectedDisks(sized(host, domain), {})
    seen = InspectedDisks([], {})
    for volume in readable(host, domain):
        server = network_disks.server_of(volume.tree) if volume.tree else ""
        begun = time.monotonic()
        try:
            if server in silent:
                raise Unavailable(silent[server])
            with opened([volume], network=True) as [image]:
                seen.sized.append((volume, image.size))
        except HaulbackError as error:
            seen.lost[volume.name] = f"it cannot be read now, and a backup fails: {error.message}"
            if server and time.monotonic() - begun > _SLOW:
                silent[server] = error.message
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
