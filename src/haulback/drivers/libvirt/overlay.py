"""Machines whose disks are overlays on a mounted backup, and copying the backup's data into the
overlays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from haulback.drivers.images import backing_chain, overlay
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.drivers.libvirt.domain import DomainDisk
from haulback.drivers.libvirt.volumes import located
from haulback.errors import HaulbackError, Unavailable

_LOOK_EVERY = 0.2  # seconds between two checks
_TRIES = 25  # attempts to resume a machine while QEMU reconnects to the mount
_DEEPEST = 100  # overlays of an image


def domains_on(host: Host, socket: Path) -> list[Domain]:
    """Machines that depend on the mounted backup at a socket."""
    found = []
    for domain in host.domains():
        text = domain.live() if domain.is_active else domain.definition()
        if lies_on(located(host, text), socket):
            found.append(domain)
    return found


def lies_on(volumes: list[DomainDisk], socket: Path | None = None) -> list[DomainDisk]:
    """Disks that depend on the mounted backup at `socket`, or on any."""
    able = (volume for volume in volumes if volume.path and volume.format == "qcow2")
    return [volume for volume in able if _takes(volume.path, socket)]


def _takes(path: Path | None, socket: Path | None) -> bool:
    """Whether the bottom of an image's chain of backing files is a mounted backup."""
    for _ in range(_DEEPEST):
        base = overlay.below(path) if path else None
        if not isinstance(base, Path):
            if not isinstance(base, overlay.NbdExport):
                return False
            return socket is None or base.socket == str(socket)
        if path and backing_chain.recorded_format(path) not in ("", "qcow2"):
            return False  # a raw file may have any header, since the guest wrote its contents
        path = base
    raise Unavailable(f"{path} has more than {_DEEPEST} backing files")


def go_on(domain: Domain) -> None:
    """Resume a machine that paused because of a disk error.

    Pending requests are repeated at a resume and fail again while QEMU is still reconnecting, so
    several tries are needed. Raises Unavailable when the machine stays paused.
    """
    for _ in range(_TRIES):
        domain.resume()
        time.sleep(_LOOK_EVERY)
        if not domain.waits():
            return
    raise Unavailable(f"{domain.name} stays paused: its disks still cannot be read")


def copy_in(domain: Domain, volume: DomainDisk, count: Callable[[int], None]) -> None:
    """Copy the data of a mounted backup into a disk of a running machine (block pull).

    `count` is called with copied bytes; its exceptions stop the copy, and copied data stays. A copy
    that a dead attempt started is continued.
    """
    domain.pull(volume.device)
    done = 0
    try:
        while (copied := domain.job(volume.device)) is not None:
            count(max(0, copied - done))
            done = max(done, copied)
            time.sleep(_LOOK_EVERY)
    except BaseException:
        with suppress(HaulbackError):
            domain.end_job(volume.device)
        raise
