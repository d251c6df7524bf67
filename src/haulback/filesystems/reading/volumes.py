"""The volumes of a machine's disks: whole disks, partitions, logical volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from haulback.errors import Unsupported
from haulback.filesystems.reading.blocks import Blocks, Disk
from haulback.filesystems.reading.ext import Ext
from haulback.filesystems.reading.filesystem import FileSystem
from haulback.filesystems.reading.recognise import recognise
from haulback.filesystems.records import Volume


class Lying(NamedTuple):
    """A volume, and where it lies."""

    volume: Volume
    blocks: Blocks


def find(disks: Mapping[str, Disk]) -> dict[str, Lying]:
    found = {}
    for name, disk in disks.items():
        r = recognise(disk)
        if r:
            found[name] = Lying(
                Volume(name, r.type, disk.size, (name,), r.label, r.uuid, r.readable, r.reason),
                disk,
            )
    return found


def opened(lying: Lying) -> FileSystem:
    """The file system of a volume.  Raises Unsupported, or what hostile bytes make of it."""
    if lying.volume.type.startswith("ext"):
        return Ext(lying.blocks)
    raise Unsupported(f"{lying.volume.type} cannot be read")
