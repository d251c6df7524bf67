"""Machines whose disks are layers over what a share offers, and how they come to be their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from haulback.drivers.images import layer
from haulback.drivers.libvirt.domain import Volume
from haulback.drivers.libvirt.edge import Domain, Host
from haulback.drivers.libvirt.volumes import located
from haulback.errors import HaulbackError, Unavailable

_LOOK_EVERY = 0.2  # seconds
_TRIES = 25
_DEEPEST = 100  # layers


def domains_on(host: Host, socket: Path) -> list[Domain]:
    """The machines that need what is offered at a socket."""
    found = []
    for domain in host.domains():
        text = domain.live() if domain.is_active else domain.definition()
        if lies_on(located(host, text), socket):
            found.append(domain)
    return found


def lies_on(volumes: list[Volume], socket: Path | None = None) -> list[Volume]:
    """The disks that take something from the share at `socket`, or from any."""
    able = (volume for volume in volumes if volume.path and volume.format == "qcow2")
    return [volume for volume in able if _takes(volume.path, socket)]


def _takes(path: Path | None, socket: Path | None) -> bool:
    """Down to what lies under all layers."""
    for _ in range(_DEEPEST):
        found = layer.below(path) if path else None
        if not isinstance(found, Path):
            if not isinstance(found, layer.Exported):
                return False
            return socket is None or found.socket == str(socket)
        path = found
    raise Unavailable(f"{path}: its image has more than {_DEEPEST} layers")


def go_on(domain: Domain) -> None:
    """Let a machine run on.  Raises Unavailable when it does not.

    What it waits for is asked for anew, and fails once more where QEMU is still connecting.
    """
    for _ in range(_TRIES):
        domain.resume()
        time.sleep(_LOOK_EVERY)
        if not domain.waits():
            return
    raise Unavailable(f"{domain.name} does not go on: its disks still cannot be read")


def copy_in(domain: Domain, volume: Volume, count: Callable[[int], None]) -> None:
    """Copy into the disk of a machine that runs what is not in it yet.

    `count` hears of bytes; what it raises ends the copying, and what is copied stays.  A copying
    that goes on already, of an attempt that died, is waited for.
    """
    domain.pull(volume.device)
    done = 0
    try:
        while (found := domain.job(volume.device)) is not None:
            count(max(0, found - done))
            done = max(done, found)
            time.sleep(_LOOK_EVERY)
    except BaseException:
        with suppress(HaulbackError):
            domain.end_job(volume.device)
        raise
