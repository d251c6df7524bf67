"""Random access to bytes: of a disk, of a part of a disk, of several parts combined."""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from haulback.errors import Unsupported
from haulback.filesystems.block_protocol import LARGEST, REQUEST
from haulback.framing import take
from haulback.units import KIB

_BLOCK = 64 * KIB  # bytes of a cached block
_BLOCKS_KEPT = 512  # cached blocks per disk: 32 MiB


class BeyondEndError(ValueError):
    """A range outside a volume: its metadata are damaged, or its end is missing."""


class BlockLocation(NamedTuple):
    """A range of `length` bytes from `offset` on disk number `disk`."""

    disk: int
    offset: int
    length: int


class Blocks(Protocol):
    """Random access to bytes. Reading outside the size raises ValueError."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    def read(self, offset: int, count: int) -> bytes:
        """Read exactly `count` bytes from `offset`."""

    def places(self, offset: int, count: int) -> Iterator[BlockLocation]:
        """Ranges on the disks that hold these bytes, in order."""


class ParentDisk:
    """A disk served by the parent, with a cache of recent blocks.

    Reading raises OSError for unreadable bytes.
    """

    def __init__(self, feed: socket.socket, number: int, size: int) -> None:
        self.size, self._feed, self._number = size, feed, number
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def read(self, offset: int, count: int) -> bytes:
        within(self, offset, count)
        if not count:
            return b""
        try:
            return self._by_blocks(offset, count)
        except OSError:  # the unreadable bytes may be outside the requested range
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

    def places(self, offset: int, count: int) -> Iterator[BlockLocation]:
        within(self, offset, count)
        yield BlockLocation(self._number, offset, count)

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


class BlockRange(NamedTuple):
    """A range of `length` bytes of `blocks` from `offset`."""

    blocks: Blocks
    offset: int
    length: int


class _Parted:
    """Blocks that are composed of parts of other blocks."""

    def read(self, offset: int, count: int) -> bytes:
        return b"".join(
            part.blocks.read(part.offset, part.length) for part in self._cut(offset, count)
        )

    def places(self, offset: int, count: int) -> Iterator[BlockLocation]:
        for part in self._cut(offset, count):
            yield from part.blocks.places(part.offset, part.length)

    def _cut(self, offset: int, count: int) -> Iterator[BlockRange]:
        """Parts that hold this range, in order."""
        raise NotImplementedError


class Span(_Parted):
    """Parts that follow each other."""

    def __init__(self, parts: Sequence[BlockRange]) -> None:
        self._parts, self._starts, self.size = parts, [0], 0
        for part in parts:
            within(part.blocks, part.offset, part.length)
            self.size += part.length
            self._starts.append(self.size)

    def _cut(self, offset: int, count: int) -> Iterator[BlockRange]:
        within(self, offset, count)
        number = bisect_right(self._starts, offset) - 1
        while count:
            part, low = self._parts[number], offset - self._starts[number]
            length = min(count, part.length - low)
            yield BlockRange(part.blocks, part.offset + low, length)
            number, offset, count = number + 1, offset + length, count - length


class Stripes(_Parted):
    """Striped columns of equal length; each stripe has `stripe` bytes."""

    def __init__(self, columns: Sequence[BlockRange], stripe: int) -> None:
        for column in columns:
            within(column.blocks, column.offset, column.length)
        if stripe <= 0 or len({column.length for column in columns}) != 1:
            raise ValueError("the stripes have different sizes")
        self._columns, self._stripe = columns, stripe
        self.size = len(columns) * columns[0].length

    def _cut(self, offset: int, count: int) -> Iterator[BlockRange]:
        within(self, offset, count)
        while count:
            stripe, low = divmod(offset, self._stripe)
            row, column = divmod(stripe, len(self._columns))
            length = min(count, self._stripe - low)
            part = self._columns[column]
            yield BlockRange(part.blocks, part.offset + row * self._stripe + low, length)
            offset, count = offset + length, count - length


class TruncatedBlocks(_Parted):
    """Blocks with a declared size, of which the end may be missing.

    Reading raises OSError for missing bytes.
    """

    def __init__(self, blocks: Blocks, size: int) -> None:
        self._blocks, self.size = blocks, size

    def _cut(self, offset: int, count: int) -> Iterator[BlockRange]:
        within(self, offset, count)
        if offset + count > self._blocks.size:
            raise OSError(f"{count} bytes at {offset} lie past the end of the disk")
        yield BlockRange(self._blocks, offset, count)


class Metered:
    """Blocks with a limit on reading.

    `read` raises Unsupported after `most` bytes or `times` reads.
    """

    def __init__(self, blocks: Blocks, most: int, times: int) -> None:
        self._blocks, self._left, self._times = blocks, most, times
        self.size = blocks.size

    def read(self, offset: int, count: int) -> bytes:
        self._left -= count
        self._times -= 1
        if min(self._left, self._times) < 0:
            raise Unsupported("the file system takes too long to open")
        return self._blocks.read(offset, count)

    def places(self, offset: int, count: int) -> Iterator[BlockLocation]:
        return self._blocks.places(offset, count)


def within(blocks: Blocks, offset: int, count: int) -> None:
    """Raises BeyondEndError for a range outside the blocks."""
    if offset < 0 or count < 0 or offset + count > blocks.size:
        raise BeyondEndError(f"{count} bytes at {offset} lie past the end ({blocks.size} bytes)")
