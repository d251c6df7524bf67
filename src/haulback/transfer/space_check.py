"""Check that the disks of a restore fit, before their first byte is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from haulback.drivers.free_space import FreeSpace
from haulback.errors import OutOfSpace
from haulback.repository.pages import DiskMap
from haulback.repository.reader import Reader
from haulback.repository.restore import data_bytes
from haulback.units import counted, size


class PlannedDisk(NamedTuple):
    """A disk that a restore will write; `allocate` reserves its whole space."""

    name: str
    map: DiskMap
    allocate: bool = False


def check_space(disks: Iterable[PlannedDisk], spaces: Sequence[FreeSpace], reader: Reader) -> None:
    """Check the free space for disks; a thin disk needs the space of its data.

    The maps are read only where the disks might not fit.  Raises OutOfSpace, or Damaged for a map.
    """
    planned = {disk.name: disk for disk in disks}
    for space in spaces:
        here = [planned[name] for name in space.disks if name in planned]
        if sum(disk.map.size for disk in here) > space.free:
            _check(here, space, reader)


def _check(disks: Sequence[PlannedDisk], space: FreeSpace, reader: Reader) -> None:
    reserved = sum(disk.map.size for disk in disks if disk.allocate)
    data = sum(data_bytes(disk.map, reader) for disk in disks if not disk.allocate)
    needed = reserved + data
    if needed <= space.free:
        return
    need = "needs" if len(disks) == 1 else "need"
    last = "leave out disks, or make them sparse" if reserved else "or leave out disks"
    raise OutOfSpace(
        f"{space.where} has {size(space.free)} free, and {counted(len(disks), 'disk')} to restore "
        f"{need} {size(needed)}: free some space there, restore to another storage, {last}",
        needed=needed,
        free=space.free,
    )
