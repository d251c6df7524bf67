"""Journal recovery of ext3 and ext4: committed changes are applied in memory, on top of the disk.

Specification: https://docs.kernel.org/filesystems/ext4/journal.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from haulback.filesystems.parsers.blocks import BlockLocation, Blocks, within

_HEADER = struct.Struct(">III")
_MAGIC = 0xC03B3998
_DESCRIPTOR, _COMMIT, _REVOKE = 1, 2, 5
_64BIT, _CHECKSUM_2, _CHECKSUM_3 = 0x2, 0x8, 0x10
_ESCAPED, _SAME, _LAST = 1, 2, 8


class ExtJournal(NamedTuple):
    """Superblock of a journal; `contents` are the journal's bytes, in blocks of `size` bytes."""

    contents: Blocks
    size: int
    length: int
    first: int
    sequence: int
    start: int
    features: int

    @classmethod
    def read(cls, contents: Blocks) -> ExtJournal:
        """Parse the superblock of a journal. Raises ValueError."""
        head = contents.read(0, 48)
        magic, kind, _, size, length, first, sequence, start, _, _, features, _ = struct.unpack(
            ">12I", head
        )
        if magic != _MAGIC or kind not in (3, 4) or not 1024 <= size <= 65536:
            raise ValueError("the journal has no superblock")
        inside = 0 < first < length and (not start or first <= start < length)
        if not inside or length * size > contents.size:
            raise ValueError("the journal has an impossible size")
        return cls(contents, size, length, first, sequence, start, features)

    def block(self, number: int) -> bytes:
        """Block of the journal by its number."""
        return self.contents.read(number * self.size, self.size)

    def after(self, number: int, count: int = 1) -> int:
        """Number of the block `count` blocks further; the journal is a ring."""
        return self.first + (number - self.first + count) % (self.length - self.first)


class JournalBlock(NamedTuple):
    """A block of the file system whose new contents are at block `place` of the journal.

    `escaped` is set if the journal's magic number at its start was replaced by zeros.
    """

    block: int
    place: int
    escaped: bool


def changes(journal: ExtJournal) -> dict[int, JournalBlock]:
    """Committed changes by block, without those that a later transaction revoked."""
    result: dict[int, tuple[int, JournalBlock]] = {}
    withdrawn: dict[int, int] = {}
    for sequence, transaction, revoked in _transactions(journal):
        result |= {item.block: (sequence, item) for item in transaction}
        withdrawn |= dict.fromkeys(revoked, sequence)
    return {
        block: change
        for block, (sequence, change) in result.items()
        if withdrawn.get(block, -1) < sequence
    }


def _transactions(journal: ExtJournal) -> Iterator[tuple[int, list[JournalBlock], list[int]]]:
    """Complete transactions in order: sequence number, changes, revoked blocks."""
    at, sequence, seen = journal.start, journal.sequence, 0
    changed: list[JournalBlock] = []
    revoked: list[int] = []
    while at and seen < journal.length:
        block, step = journal.block(at), 1
        magic, kind, number = _HEADER.unpack_from(block)
        if magic != _MAGIC or number != sequence & 0xFFFFFFFF:
            return
        if kind == _DESCRIPTOR:
            for place, (target, escaped) in enumerate(_tags(block, journal.features), 1):
                changed.append(JournalBlock(target, journal.after(at, place), escaped))
                step += 1
        elif kind == _REVOKE:
            revoked += _revoked(block, journal.features)
        elif kind == _COMMIT:
            yield sequence, changed, revoked
            sequence, changed, revoked = sequence + 1, [], []
        else:
            return
        at, seen = journal.after(at, step), seen + step


def _tags(block: bytes, features: int) -> Iterator[tuple[int, bool]]:
    """Block numbers of the blocks that follow a descriptor block, and their escape flags."""
    at, long = _HEADER.size, features & _64BIT
    short = (12 if long else 8) + (2 if features & _CHECKSUM_2 else 0)
    width = 16 if features & _CHECKSUM_3 else short
    end = len(block) - (4 if features & (_CHECKSUM_2 | _CHECKSUM_3) else 0)
    while at + width <= end:
        low, high = int.from_bytes(block[at : at + 4], "big"), 0
        if features & _CHECKSUM_3:
            flags, high = struct.unpack_from(">II", block, at + 4)
        else:
            flags = int.from_bytes(block[at + 6 : at + 8], "big")
            high = int.from_bytes(block[at + 8 : at + 12], "big") if long else 0
        yield low | (high << 32 if long else 0), bool(flags & _ESCAPED)
        if flags & _LAST:
            return
        at += width + (0 if flags & _SAME else 16)


def _revoked(block: bytes, features: int) -> list[int]:
    used = min(int.from_bytes(block[12:16], "big"), len(block))
    width = 8 if features & _64BIT else 4
    ends = range(16 + width, used + 1, width)
    return [int.from_bytes(block[end - width : end], "big") for end in ends]


class Replayed:
    """Blocks of a file system with the journal's changes applied."""

    def __init__(self, blocks: Blocks, journal: ExtJournal) -> None:
        self.size, self._blocks, self._journal = blocks.size, blocks, journal
        self._changes = changes(journal)

    def read(self, offset: int, count: int) -> bytes:
        data, size = bytearray(self._blocks.read(offset, count)), self._journal.size
        for change in self._touched(offset, count):
            new = self._journal.block(change.place)
            if change.escaped:
                new = _MAGIC.to_bytes(4, "big") + new[4:]
            low = change.block * size - offset
            start, stop = max(0, low), min(count, low + size)
            data[start:stop] = new[start - low : stop - low]
        return bytes(data)

    def places(self, offset: int, count: int) -> Iterator[BlockLocation]:
        within(self, offset, count)
        end, size = offset + count, self._journal.size
        for change in self._touched(offset, count):
            low = max(offset, change.block * size)
            yield from self._blocks.places(offset, low - offset) if low > offset else ()
            stop = min(end, (change.block + 1) * size)
            start = change.place * size + low - change.block * size
            yield from self._journal.contents.places(start, stop - low)
            offset = stop
        if offset < end:
            yield from self._blocks.places(offset, end - offset)

    def _touched(self, offset: int, count: int) -> Iterator[JournalBlock]:
        size = self._journal.size
        for block in range(offset // size, -(-(offset + count) // size)):
            if change := self._changes.get(block):
                yield change
