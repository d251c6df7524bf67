"""The stored ranges of a sparse file, in bounded memory, and their form in a tar."""

from __future__ import annotations

import tarfile
from array import array
from collections.abc import Iterator
from typing import NamedTuple

_BLOCK = 4096  # smallest number of bytes of holes that justifies a map
_MOST = 65_536  # ranges that are kept; beyond this number, the smallest gaps count as stored


class Window(NamedTuple):
    """The part of a file from `low` to before `high`, and the stored ranges in it."""

    low: int
    high: int
    ranges: list[tuple[int, int]]


class SparseMap:
    """Ascending ranges of a file of `size` bytes that are stored; the rest reads as zeros."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._starts, self._ends = array("q"), array("q")
        self._gap = 0  # longest gap between two ranges that counts as stored

    @classmethod
    def whole(cls, size: int) -> SparseMap:
        """The map of a file without holes."""
        result = cls(size)
        if size:
            result.add(0, size)
        return result

    def add(self, offset: int, length: int) -> None:
        """Add a range after all others."""
        if self._ends and offset - self._ends[-1] <= self._gap:
            self._ends[-1] = max(self._ends[-1], offset + length)
            return
        self._starts.append(offset)
        self._ends.append(offset + length)
        while len(self._starts) > _MOST:
            self._gap = max(_BLOCK, 2 * self._gap)
            self._join()

    @property
    def stored(self) -> int:
        """Bytes of all ranges."""
        return sum(self._ends) - sum(self._starts)

    @property
    def is_sparse(self) -> bool:
        """Whether a part of the file is not stored."""
        return self.stored < self.size

    def place(self, position: int) -> int:
        """Offset in the file of a position within the stored bytes."""
        for offset, length in self.ranges():
            if position < length:
                return offset + position
            position -= length
        return self.size

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Offset and length of each range."""
        return ((start, end - start) for start, end in zip(self._starts, self._ends, strict=True))

    def windows(self, most: int) -> Iterator[Window]:
        """Parts of the file of up to `most` bytes that cover all ranges."""
        window = Window(0, 0, [])
        for offset, length in self.ranges():
            while length:
                if window.ranges and offset >= window.low + most:
                    yield window
                    window = Window(0, 0, [])
                low = window.low if window.ranges else offset
                count = min(length, low + most - offset)
                window.ranges.append((offset, count))
                offset, length = offset + count, length - count
                window = Window(low, offset, window.ranges)
        if window.ranges:
            yield window

    def encoded(self) -> bytes:
        """The map at the start of a sparse member of a tar: PAX format 1.0 of GNU tar."""
        lines = [f"{offset}\n{length}\n" for offset, length in self.ranges()]
        if not self._ends or self._ends[-1] < self.size:
            lines.append(f"{self.size}\n0\n")  # the file ends with a hole
        text = f"{len(lines)}\n{''.join(lines)}".encode()
        return text + bytes(-len(text) % tarfile.BLOCKSIZE)

    def _join(self) -> None:
        starts, ends = array("q", self._starts[:1]), array("q", self._ends[:1])
        for start, end in zip(self._starts[1:], self._ends[1:], strict=True):
            if start - ends[-1] <= self._gap:
                ends[-1] = end
            else:
                starts.append(start)
                ends.append(end)
        self._starts, self._ends = starts, ends
