"""Structs that a mount's process exchanges with the node as JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec


def files_of(disks: Sequence[str]) -> dict[str, str]:
    """File names that represent disks, by disk name.

    Slashes become hyphens. If two names collide or a name is too long, all files are numbered.
    """
    plain = {disk: disk.replace("/", "-") for disk in disks}
    fits = len(set(plain.values())) == len(plain)
    if fits and all(len(os.fsencode(name)) < _LONGEST for name in plain.values()):
        return plain
    return {disk: f"disk{number}" for number, disk in enumerate(disks)}


_LONGEST = 200  # bytes of a file name; file systems allow 255


class Visible(msgspec.Struct):
    """A folder to mount at `path`.

    It shows `volume`, or without one all volumes, each in a sub-folder. If `disks` is not empty, it
    shows those disks as raw files instead.
    """

    path: str
    volume: str = ""
    disks: list[str] = []


class IscsiOrder(msgspec.Struct, kw_only=True):
    """Disks to offer by iSCSI (the first is LUN 1) and names of the allowed initiators (IQN).

    `port` is the previous port of the mount; 0 takes the first free port, starting at the port of
    `portal` (ADDRESS:PORT).
    """

    disks: list[str]
    clients: list[str]
    port: int = 0
    portal: str = ""


class MountSpec(msgspec.Struct, kw_only=True):
    """Request to mount one backup of one destination.

    `key` opens the repository and is never written to disk. `for_machine` is set if a machine will
    run from the mount: QEMU's user then gets access to the socket.
    """

    guid: str
    driver: str
    config: dict[str, Any]
    repository: str | None
    key: bytes
    backup: str
    visible: list[Visible] = []
    target: IscsiOrder | None = None
    for_machine: bool = False


class Shared(msgspec.Struct, omit_defaults=True):
    """Disks and folders on offer; also the answer of the process on standard output.

    `disks` maps disk names to sizes in bytes, `paths` maps volumes ("" for all) to mount folders.
    `raw` is the folder that shows disks as files, `portal` the iSCSI address (HOST:PORT). `made`
    lists the folders to create, deepest first. A non-empty `error` means that there is no mount.
    """

    disks: dict[str, int] = {}
    paths: dict[str, str] = {}
    raw: str = ""
    portal: str = ""
    made: list[str] = []
    error: str = ""
