"""Cluster chains of FAT and exFAT: a table holds the successor of each cluster."""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from haulback.errors import Unsupported
from haulback.filesystems.parsers.blocks import Blocks
from haulback.filesystems.parsers.filesystem import Run
from haulback.units import KIB

FIRST: Final = 2  # clusters are numbered from 2
_PIECE = 16 * KIB  # entries of the table that are read at once; even, as FAT12 packs pairs
_PIECES_KEPT = 64  # cached pieces of the table
_MOST_RUNS = 4_000_000  # runs of a chain, a limit on memory


class Table:
    """File allocation table at `offset` of a volume for `count` clusters.

    `bits` is the width of an entry (12, 16 or 32); values from `end` on mark the end of a chain.
    The upper four bits of a FAT32 entry are reserved and ignored.
    """

    def __init__(self, blocks: Blocks, offset: int, bits: int, count: int, *, end: int) -> None:
        self._blocks, self._offset, self._bits = blocks, offset, bits
        self._stop, self._end = FIRST + count, end
        self._mask = 0x0FFFFFFF if end == 0x0FFFFFF8 else 0xFFFFFFFF
        self.count = count
        self._piece = lru_cache(_PIECES_KEPT)(self._load)

    def follower(self, cluster: int) -> int | None:
        """Successor of a cluster; None at the end of a chain. Raises ValueError for a bad entry."""
        number, index = divmod(cluster, _PIECE)
        found = self._piece(number)[index] & self._mask
        if found >= self._end:
            return None
        return self.checked(found)

    def checked(self, cluster: int) -> int:
        """Return the cluster if the volume has it. Raises ValueError."""
        if not FIRST <= cluster < self._stop:
            raise ValueError(f"a cluster chain leads to {cluster:#x}, which does not exist")
        return cluster

    def _load(self, number: int) -> array[int]:
        low = number * _PIECE
        count = min(_PIECE, self._stop - low)
        if self._bits == 12:
            return self._load_12(low, count)
        size = self._bits // 8
        table = array("H" if size == 2 else "I")
        table.frombytes(self._blocks.read(self._offset + low * size, count * size))
        if sys.byteorder == "big":
            table.byteswap()
        return table

    def _load_12(self, low: int, count: int) -> array[int]:
        """Decode 12-bit entries: two entries share three bytes, and `low` must be even."""
        size = -(-count * 3 // 2)
        raw = self._blocks.read(self._offset + low * 3 // 2, size) + b"\0"
        found = array("H", bytes(2 * count))
        for index in range(count):
            at, odd = divmod(index * 3, 2)
            pair = raw[at] | raw[at + 1] << 8
            found[index] = pair >> 4 if odd else pair & 0xFFF
        return found


class Chain:
    """Cluster chain of a file that starts at `first`; it is followed lazily.

    Raises ValueError where the chain leads to a missing cluster or into itself.
    """

    def __init__(self, table: Table, first: int) -> None:
        self._table, self._last = table, table.checked(first)
        self._seen = bytearray((table.count + FIRST) // 8 + 1)
        self._starts, self._ats = array("Q", [first]), array("Q", [0])
        self._length = 1
        self._mark(first)

    def clusters(self) -> Iterator[int]:
        """All clusters in order; an error is raised after the clusters before the damage."""
        at = 0
        while self._reaches(at + 1):
            run = bisect_right(self._ats, at) - 1
            yield self._starts[run] + at - self._ats[run]
            at += 1

    def runs(self, low: int, high: int, size: int, origin: int) -> Iterator[Run]:
        """Runs of the clusters from `low` to before `high`.

        `size` is the cluster size in bytes, `origin` the offset of the notional cluster 0. Raises
        ValueError for a shorter chain.
        """
        if not self._reaches(high):
            raise ValueError(f"a chain of {self._length} clusters is too short, {high} are needed")
        for index in range(bisect_right(self._ats, low) - 1, len(self._ats)):
            at, end = self._ats[index], self._length
            if at >= high:
                return
            if index + 1 < len(self._ats):
                end = self._ats[index + 1]
            yield Run(at * size, (end - at) * size, origin + self._starts[index] * size)

    def _reaches(self, count: int) -> bool:
        """Whether the chain has at least `count` clusters."""
        while self._length < count:
            following = self._table.follower(self._last)
            if following is None:
                return False
            self._mark(following)
            if following != self._last + 1:
                if len(self._ats) == _MOST_RUNS:
                    raise Unsupported(f"the file has more than {_MOST_RUNS} fragments")
                self._starts.append(following)
                self._ats.append(self._length)
            self._last = following
            self._length += 1
        return True

    def _mark(self, cluster: int) -> None:
        byte, bit = cluster >> 3, 1 << (cluster & 7)
        if self._seen[byte] & bit:
            raise ValueError(f"a cluster chain leads into itself at {cluster:#x}")
        self._seen[byte] |= bit
