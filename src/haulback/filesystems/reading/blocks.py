"""Bytes by offset: of a disk, of a part of one, of parts of several put together."""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from haulback.filesystems.feeding import LARGEST, REQUEST
from haulback.filesystems.framing import take
from haulback.units import KIB

_BLOCK = 64 * KIB
_BLOCKS_KEPT = 512


class Place(NamedTuple):
    """`length` bytes on disk number `disk`, from `offset`."""

    disk: int
    offset: int
    length: int


class Blocks(Protocol):
    """Something with bytes.  Reading outside of it raises ValueError."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes."""

    def places(self, offset: int, count: int) -> Iterator[Place]:
        """Where on the disks these bytes lie, in order."""


class Disk:
    """A disk of the parent's; its last blocks are kept.  Raises OSError for unreadable bytes."""

    def __init__(self, feed: socket.socket, number: int, size: int) -> None:
        self.size, self._feed, self._number = size, feed, number
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def read(self, offset: int, count: int) -> bytes:
        within(self, offset, count)
        if not count:
            return b""
        try:
            return self._by_blocks(offset, count)
        except OSError:  # only neighbours of the wanted bytes may be unreadable
            return self._fetch_all(offset, count)

    def _by_blocks(self, offset: int, count: int) -> bytes:
        first, last = offset // _BLOCK, (offset + count - 1) // _BLOCK
        low = offset - first * _BLOCK
        if first == last:
            return self._block(first)[low : low + count]
        if count > LARGEST:
            return self._fetch_all(offset, count)
        return b"".join(map(self._block, range(first, last + 1)))[low : low + count]

    def _fetch_all(self, offset: int, count: int) -> bytes:
        return b"".join(
            self._fetch(at, min(LARGEST, offset + count - at))
            for at in range(offset, offset + count, LARGEST)
        )

    def places(self, offset: int, count: int) -> Iterator[Place]:
        within(self, offset, count)
        yield Place(self._number, offset, count)

    def _block(self, number: int) -> bytes:
        found = self._kept.get(number)
        if found is None:
            start = number * _BLOCK
            found = self._kept[number] = self._fetch(start, min(_BLOCK, self.size - start))
            if len(self._kept) > _BLOCKS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(number)
        return found

    def _fetch(self, offset: int, count: int) -> bytes:
        self._feed.sendall(REQUEST.pack(self._number, offset, count))
        if take(self._feed, 1) != b"\0":
            raise OSError(f"{count} bytes at {offset} of the disk cannot be read")
        return bytes(take(self._feed, count))


class Part(NamedTuple):
    """`length` bytes of `blocks` from `offset`."""

    blocks: Blocks
    offset: int
    length: int


class _Parted:
    """Blocks that are put together of parts of others."""

    def read(self, offset: int, count: int) -> bytes:
        return b"".join(
            part.blocks.read(part.offset, part.length) for part in self._cut(offset, count)
        )

    def places(self, offset: int, count: int) -> Iterator[Place]:
        for part in self._cut(offset, count):
            yield from part.blocks.places(part.offset, part.length)

    def _cut(self, offset: int, count: int) -> Iterator[Part]:
        """The parts that lie there, in order."""
        raise NotImplementedError


class Span(_Parted):
    """Parts, one after the other."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts, self._starts, self.size = parts, [0], 0
        for part in parts:
            within(part.blocks, part.offset, part.length)
            self.size += part.length
            self._starts.append(self.size)

    def _cut(self, offset: int, count: int) -> Iterator[Part]:
        within(self, offset, count)
        number = bisect_right(self._starts, offset) - 1
        while count:
            part, low = self._parts[number], offset - self._starts[number]
            length = min(count, part.length - low)
            yield Part(part.blocks, part.offset + low, length)
            number, offset, count = number + 1, offset + length, count - length


class Stripes(_Parted):
    """Equal columns, `stripe` bytes from each in turn."""

    def __init__(self, columns: Sequence[Part], stripe: int) -> None:
        for column in columns:
            within(column.blocks, column.offset, column.length)
        if stripe <= 0 or len({column.length for column in columns}) != 1:
            raise ValueError("stripes of different sizes")
        self._columns, self._stripe = columns, stripe
        self.size = len(columns) * columns[0].length

    def _cut(self, offset: int, count: int) -> Iterator[Part]:
        within(self, offset, count)
        while count:
            stripe, low = divmod(offset, self._stripe)
            row, column = divmod(stripe, len(self._columns))
            length = min(count, self._stripe - low)
            part = self._columns[column]
            yield Part(part.blocks, part.offset + row * self._stripe + low, length)
            offset, count = offset + length, count - length


def within(blocks: Blocks, offset: int, count: int) -> None:
    """Raises ValueError for bytes that are not there."""
    if offset < 0 or count < 0 or offset + count > blocks.size:
        raise ValueError(f"{count} bytes at {offset} are not within {blocks.size}")
