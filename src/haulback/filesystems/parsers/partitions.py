"""Partition tables of a disk: GPT, or MBR with logical partitions."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from haulback.filesystems.parsers import gpt
from haulback.filesystems.parsers.blocks import Blocks
from haulback.filesystems.parsers.detect import is_boot_sector

_ENTRY = struct.Struct("<B3xB3xII")
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE, _DYNAMIC = 0xEE, 0x42
_MOST = 256  # partitions of a disk
_SIGNED = b"\x55\xaa"
_HEAD = 8192  # bytes in which tables are recognized
_OTHER_TABLES = (
    (0, b"\x0b\xe5\xa9\x41", "SGI"),
    (508, b"\xda\xbe", "Sun"),
    (512, b"PM\0\0", "Apple"),
    (512, b"\x57\x45\x56\x82", "BSD"),
)
_LDM = "the disk is a dynamic disk of Windows (LDM), whose volumes Haulback does not assemble"


class Partition(NamedTuple):
    """A partition of `length` bytes from `offset`; logical partitions are numbered from 5.

    A partition may reach, or even begin, past the end of its disk.
    """

    number: int
    offset: int
    length: int


class Layout(NamedTuple):
    """Partitions of a disk; `reason` says why partitions may be missing, or are doubtful."""

    partitions: Sequence[Partition] = ()
    reason: str = ""

    def overlaps(self) -> dict[int, list[int]]:
        """Numbers of the other partitions that share sectors with a partition, by its number."""
        result: dict[int, list[int]] = {}
        ordered = sorted(self.partitions, key=lambda item: item.offset)
        for index, item in enumerate(ordered):
            for other in ordered[index + 1 :]:
                if other.offset >= item.offset + item.length:
                    break
                result.setdefault(item.number, []).append(other.number)
                result.setdefault(other.number, []).append(item.number)
        return result


class _Entry(NamedTuple):
    """An entry of an MBR, in sectors."""

    boot: int
    type: int
    start: int
    sectors: int


def layout(disk: Blocks, known: Callable[[int], bool]) -> Layout:
    """Partitions of a disk; none without a partition table.

    `known` tells whether known contents begin at an offset, which decides between the sector sizes
    of an MBR.
    """
    entries = _entries(disk)
    protective = [entry for entry in entries if entry.type == _PROTECTIVE]
    if protective:
        return _protected(disk, protective[0], entries, known)
    if any(entry.type for entry in entries):
        return _mbr(disk, entries, known)
    # A GPT whose protective MBR was overwritten counts only where sector 0 has no other known
    # contents, which would be newer.
    table = None if known(0) else gpt.gpt(disk)
    return _named(table) if table and table.is_sound else Layout()


def unread(disk: Blocks) -> str:
    """The reason why a disk of unknown contents has no partitions, by its table; "" without one."""
    head = disk.read(0, min(_HEAD, disk.size))
    for at, mark, kind in _OTHER_TABLES:
        if head.startswith(mark, at):
            return f"Haulback cannot read the kind of its partition table ({kind})"
    if any(head.startswith(b"EFI PART", sector) for sector in gpt.SECTORS):
        return "its partition table (GPT) has no partitions"
    if head[510:512] == _SIGNED and not any(head[446:510]):
        return "its partition table (MBR) has no partitions"
    return ""


def _entries(disk: Blocks) -> list[_Entry]:
    """Entries of the MBR; none if the first sector is no MBR."""
    head = disk.read(0, min(512, disk.size))
    if head[510:] != _SIGNED:
        return []
    entries = [_Entry(*_ENTRY.unpack_from(head, at)) for at in range(446, 510, 16)]
    if any(entry.boot & 0x7F for entry in entries):
        return []
    return entries if _is_table(entries, disk.size) or not is_boot_sector(head) else []


def _is_table(entries: Sequence[_Entry], size: int) -> bool:
    """Whether the four entries are a table, although their sector looks like a boot sector.

    Linux takes such a sector for a table. A boot sector with a table that describes the whole disk
    as its partition (`mkfs.fat --mbr`) has an entry that begins at sector 0.
    """
    used = [entry for entry in entries if entry.type or entry.start or entry.sectors]
    if not all(entry.type and entry.start and entry.sectors for entry in used):
        return False
    places = sorted((entry.start, entry.start + entry.sectors) for entry in used)
    return (
        bool(places)
        and places[0][0] * 512 < size
        and all(item[1] <= following[0] for item, following in pairwise(places))
    )


def _protected(
    disk: Blocks, mark: _Entry, entries: Sequence[_Entry], known: Callable[[int], bool]
) -> Layout:
    """Partitions of a disk with a protective MBR."""
    if table := gpt.gpt(disk, mark.start + mark.sectors - 1 if mark.sectors < 0xFFFFFFFF else None):
        return _named(table)
    others = [entry if entry.type != _PROTECTIVE else _Entry(0, 0, 0, 0) for entry in entries]
    reason = "the partition table (GPT) is damaged: neither of its copies can be read"
    return Layout(_mbr(disk, others, known).partitions, reason)


def _named(table: gpt.Gpt) -> Layout:
    found = [Partition(number, *place) for number, place in table.partitions.items()]
    reason = "" if table.is_sound else gpt.DAMAGED
    return Layout(found, reason or (_LDM if table.is_dynamic else ""))


def _mbr(disk: Blocks, entries: Sequence[_Entry], known: Callable[[int], bool]) -> Layout:
    """Partitions of an MBR, with the sector size at which more partitions begin with known
    contents.
    """
    layouts = [_sized(disk, entries, sector) for sector in gpt.SECTORS]
    scores = [_score(found.partitions, disk.size, known) for found in layouts]
    return layouts[scores.index(max(scores))]


def _score(found: Iterable[Partition], size: int, known: Callable[[int], bool]) -> int:
    return sum(item.offset < size and known(item.offset) for item in found)


def _sized(disk: Blocks, entries: Sequence[_Entry], sector: int) -> Layout:
    result: list[Partition] = []
    reason = _LDM if any(entry.type == _DYNAMIC for entry in entries) else ""
    logical = 5
    for number, entry in enumerate(entries, 1):
        if entry.type in _EXTENDED:
            places, broken = _logical(disk, entry.start, sector)
            result += (Partition(item, *place) for item, place in enumerate(places, logical))
            logical += len(places)
            reason = reason or broken
        elif entry.type and entry.sectors:
            result.append(Partition(number, entry.start * sector, entry.sectors * sector))
    return Layout(result, reason)


def _logical(disk: Blocks, base: int, sector: int) -> tuple[list[tuple[int, int]], str]:
    """Places (offset, length) of the logical partitions of an extended partition.

    An extended partition is a chain of boot records, each with partitions and the place of the next
    record, in any order; like Linux, the reader numbers the partitions, not the records. Also
    returns the reason why the chain broke off; empty at its end.
    """
    at, seen, result = base, set[int](), list[tuple[int, int]]()
    while len(seen) < _MOST:
        if at in seen:
            return result, "the list of logical partitions leads into itself"
        seen.add(at)
        if (at + 1) * sector > disk.size:
            return result, "the list of logical partitions leads past the end of the disk"
        head = disk.read(at * sector, 512)
        if head[510:] != _SIGNED:
            return result, "the list of logical partitions is damaged"
        # The third and the fourth entry are unused, and hold garbage on some disks.
        pair = [_Entry(*_ENTRY.unpack_from(head, place)) for place in (446, 462)]
        links = [entry for entry in pair if entry.type in _EXTENDED]
        for own in pair:
            if own.type and own.sectors and own not in links:
                result.append(((at + own.start) * sector, own.sectors * sector))
        if not links:
            return result, ""
        at = base + links[0].start
    return result, f"only the first {_MOST} logical partitions are listed"
