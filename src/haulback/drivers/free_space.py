"""Free space of the file systems on which new disks are made."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from haulback.mount_table import mount_of

# File systems that may store data in less space than the data has: what fits there is unknown.
_COMPRESSING = frozenset({"bcachefs", "btrfs", "zfs"})


class FreeSpace(NamedTuple):
    """The free bytes of a file system, and the names of the new disks that it would hold.

    `where` is the first folder of these disks.
    """

    where: str
    free: int
    disks: tuple[str, ...]


def free_spaces(places: Iterable[tuple[str, Path]]) -> list[FreeSpace]:
    """The free space for new disks, by disk and folder; folders of one file system are together.

    File systems that do not tell their space, or that compress data, are left out.
    """
    spaces: dict[int, FreeSpace] = {}
    for disk, folder in places:
        free = None if _compresses(folder) else free_bytes(folder)
        if free is not None:
            device = os.stat(folder).st_dev
            space = spaces.setdefault(device, FreeSpace(str(folder), free, ()))
            spaces[device] = space._replace(disks=(*space.disks, disk))
    return list(spaces.values())


def free_bytes(folder: Path) -> int | None:
    """Free bytes for this user, None if the file system does not tell or the folder is missing."""
    try:
        space = os.statvfs(folder)
    except OSError:  # the work in the folder names the error
        return None
    blocks = space.f_bavail if os.geteuid() else space.f_bfree
    return blocks * space.f_frsize if space.f_blocks else None


def _compresses(folder: Path) -> bool:
    with suppress(OSError):
        mount = mount_of(folder.resolve())
        return mount is not None and mount.kind in _COMPRESSING
    return False
