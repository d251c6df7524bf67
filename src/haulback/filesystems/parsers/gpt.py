"""GUID partition tables: a header and entries at the start of a disk, and a spare at its end.

Specification: UEFI, section 5.3. Checksums cover both the header and the entries; a copy whose
checksums differ is used only if no other copy is sound.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

from haulback.filesystems.parsers.blocks import Blocks
from haulback.filesystems.parsers.filesystem import DAMAGE
from haulback.units import MIB

SECTORS: Final = (512, 4096)  # sector sizes to try, because a table does not record its sector size
DAMAGED: Final = "the checksums of both partition tables (GPT) differ from their contents"
_MAGIC = b"EFI PART"
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQ")
_DYNAMIC = uuid.UUID("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3").bytes_le  # metadata of the LDM
_MOST_BYTES = 4 * MIB  # bytes of the entries, the limit of Linux
_MOST = 256  # partitions of a disk, the limit of Linux


class Gpt(NamedTuple):
    """Extents of the partitions, by number: offset and length in bytes.

    A table that `is_sound` has right checksums. A disk that `is_dynamic` holds volumes of Windows'
    Logical Disk Manager.
    """

    partitions: dict[int, tuple[int, int]]
    is_sound: bool
    is_dynamic: bool = False


class _Place(NamedTuple):
    """A place where a header may be; `sector` is the sector size."""

    offset: int
    sector: int


def gpt(disk: Blocks, protected: int | None = None) -> Gpt | None:
    """The table of a disk; None if no copy is found.

    `protected` is the last sector that the protective MBR covers: the place of the spare on a disk
    that has grown since.
    """
    doubtful: Gpt | None = None
    for place in _places(disk, protected):
        try:
            table = _read(disk, place)
        except DAMAGE:
            continue
        if table and table.is_sound:
            return table
        doubtful = doubtful or table
    return doubtful


def _places(disk: Blocks, protected: int | None) -> Iterator[_Place]:
    """Places of a header, the primary headers before the spares."""
    for sector in SECTORS:
        yield _Place(sector, sector)
    for sector in SECTORS:
        spares = {disk.size // sector - 1: None}
        if protected:
            spares[protected] = None
        try:
            head = disk.read(sector, 40)
            if head.startswith(_MAGIC):
                spares[int.from_bytes(head[32:40], "little")] = None
        except DAMAGE:
            pass
        yield from (_Place(number * sector, sector) for number in spares if number > 1)


def _read(disk: Blocks, place: _Place) -> Gpt | None:
    if place.offset + place.sector > disk.size:
        return None
    head = disk.read(place.offset, place.sector)
    if not head.startswith(_MAGIC):
        return None
    _, _, size, checksum, _, own, _, _, _, _, start, count, step, over_entries = (
        _HEADER.unpack_from(head)
    )
    if not 128 <= step <= 4096 or count * step > _MOST_BYTES:
        raise ValueError("the partition table has an impossible size")
    entries = disk.read(start * place.sector, count * step)
    sound = _HEADER.size <= size <= place.sector and own * place.sector == place.offset
    blank = head[:16] + bytes(4) + head[20:size]
    sound = sound and crc32(blank) == checksum and crc32(entries) == over_entries
    result: dict[int, tuple[int, int]] = {}
    dynamic = False
    for number in range(min(count, _MOST)):
        type_, _, first, last = _ENTRY.unpack_from(entries, number * step)
        if type_ != bytes(16) and first <= last:
            result[number + 1] = first * place.sector, (last - first + 1) * place.sector
            dynamic = dynamic or type_ == _DYNAMIC
    return Gpt(result, sound, dynamic)
