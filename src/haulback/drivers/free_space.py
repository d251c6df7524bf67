"""Free space of the file systems on which new disks are made."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from haulback.mount_table import mount_of

# File systems that store data in as much space as the data has. Others may compress or share data,
# also behind a network, so that the data that fits there is unknown.
_PLAIN = frozenset({"ext2", "ext3", "ext4", "tmpfs", "xfs"})


class FreeSpace(NamedTuple):
    """The free bytes of a file system, and the names of the new disks that it would hold.

    `where` is the first folder of these disks.
    """

    where: str
    free: int
    disks: tuple[str, ...]


def free_spaces(places: Iterable[tuple[str, Path]]) -> list[FreeSpace]:
    """The free space for new disks, by disk and folder; folders of one file system are together.

    File systems that do not tell their space, or that may compress data, are left out.
    """
    spaces: dict[tuple[int, int], FreeSpace] = {}
    for disk, folder in places:
        free = free_bytes(folder) if _is_plain(folder) else None
        if free is not None:
            # the folders of one device may have quotas, with sizes of their own
            area = (os.stat(folder).st_dev, os.statvfs(folder).f_blocks)
            space = spaces.setdefault(area, FreeSpace(str(folder), free, ()))
            spaces[area] = space._replace(disks=(*space.disks, disk))
    return list(spaces.values())


def free_bytes(folder: Path) -> int | None:
    """Free bytes for this user, None if the file system does not tell or the folder is missing."""
    try:
        space = os.statvfs(folder)
    except OSError:  # the work in the folder names the error
        return None
    blocks = space.f_bavail if os.geteuid() else space.f_bfree
    return blocks * space.f_frsize if space.f_blocks else None


def _is_plain(folder: Path) -> bool:
    with suppress(OSError):
        mount = mount_of(folder.resolve())
        return mount is not None and mount.kind in _PLAIN
    return False
