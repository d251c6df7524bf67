"""Partition tables: GPT, and MBR with logical partitions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from haulback.filesystems.parsers.blocks import Blocks, within

_ENTRY = struct.Struct("<B3xB3xII")
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = 0xEE
_MOST = 256  # partitions of a disk
_SECTORS = (512, 4096)  # sector sizes to try: the table does not record its own


class Partition(NamedTuple):
    """A partition of `length` bytes from `offset`; logical partitions are numbered from 5."""

    number: int
    offset: int
    length: int


def partitions(disk: Blocks) -> list[Partition]:
    """Partitions of a disk; empty without a partition table.

    Partitions that exceed the disk are left out. An MBR is read with sectors of 512 bytes.
    """
    head = disk.read(0, min(512, disk.size))
    if head[510:] != b"\x55\xaa":
        return []
    entries = [_ENTRY.unpack_from(head, at) for at in range(446, 510, 16)]
    if any(boot & 0x7F for boot, *_ in entries):
        return []
    protected = any(type_ == _PROTECTIVE for _, type_, _, _ in entries)
    result = list(_gpt(disk)) if protected else list(_mbr(disk, entries))
    return [
        partition
        for partition in result
        if partition.length and partition.offset + partition.length <= disk.size
    ]


def _mbr(disk: Blocks, entries: list[tuple[int, int, int, int]]) -> Iterator[Partition]:
    for number, (_, type_, start, count) in enumerate(entries, 1):
        if type_ in _EXTENDED:
            yield from _logical(disk, start)
        elif type_ and start:
            yield Partition(number, start * 512, count * 512)


def _logical(disk: Blocks, base: int) -> Iterator[Partition]:
    """Logical partitions of an extended partition, a chain of boot records.

    Each boot record holds one partition and the place of the next record.
    """
    at, seen = base, set[int]()
    while at not in seen and len(seen) < _MOST and (at + 1) * 512 <= disk.size:
        seen.add(at)
        head = disk.read(at * 512, 512)
        if head[510:] != b"\x55\xaa":
            return
        _, type_, start, count = _ENTRY.unpack_from(head, 446)
        _, link, following, _ = _ENTRY.unpack_from(head, 462)
        if type_ and count:
            yield Partition(4 + len(seen), (at + start) * 512, count * 512)
        if link not in _EXTENDED:
            return
        at = base + following


def _gpt(disk: Blocks) -> Iterator[Partition]:
    """Partitions by the primary GPT header, or by the backup header at the disk's end."""
    for sector in _SECTORS:
        for at in (sector, disk.size // sector * sector - sector):
            if at + 92 <= disk.size and disk.read(at, 8) == b"EFI PART":
                yield from _gpt_entries(disk, at, sector)
                return


def _gpt_entries(disk: Blocks, at: int, sector: int) -> Iterator[Partition]:
    start, count, size = struct.unpack("<QII", disk.read(at + 72, 16))
    if size < 128 or size > 4096:
        raise ValueError("the partition table has entries of an impossible size")
    count = min(count, _MOST)
    within(disk, start * sector, count * size)
    raw = disk.read(start * sector, count * size)
    for number in range(count):
        type_, _, first, last = struct.unpack_from("<16s16sQQ", raw, number * size)
        if type_ != bytes(16) and first <= last:
            yield Partition(number + 1, first * sector, (last - first + 1) * sector)
