"""What every file system offers: nodes by number, and the shape their contents are told in."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from haulback.filesystems.reading.blocks import Blocks
from haulback.filesystems.records import MOST_BYTES, MOST_PATH, Piece
from haulback.units import MIB

MOST_DIRECTORY = 256 * MIB  # bytes of one directory


class Status(NamedTuple):
    """`mode` with the bits of the type; `modified` in epoch milliseconds."""

    mode: int
    size: int
    modified: int
    uid: int = 0
    gid: int = 0

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


class FileSystem(Protocol):
    """A file system of hostile bytes; the methods raise what such bytes make of them.

    Nodes are numbers of the file system's own.  Raises Unsupported for what cannot be read.
    """

    @property
    def root(self) -> int:
        """The node of `/`."""

    def status(self, node: int) -> Status:
        """What a node is."""

    def names(self, node: int) -> Iterator[tuple[bytes, int]]:
        """What a directory holds, in any order; `.` and `..` may be among it."""

    def target(self, node: int) -> bytes:
        """Where a link leads."""

    def pieces(self, node: int, offset: int, count: int) -> Iterator[Piece]:
        """The contents of a file from `offset`; both lie within its size."""


class Run(NamedTuple):
    """`length` bytes of a file from `at`, lying at `offset` of the volume; `None` for zeros."""

    at: int
    length: int
    offset: int | None


def laid(blocks: Blocks, runs: Iterable[Run], offset: int, count: int) -> Iterator[Piece]:
    """Ascending runs as pieces of what was asked; gaps between them are zeros."""
    end = offset + count
    for run in runs:
        if run.offset is None or run.at + run.length <= offset:
            continue
        if run.at >= end:
            break
        yield from zeros(max(0, run.at - offset))
        start = max(run.at, offset)
        stop = min(run.at + run.length, end)
        for place in blocks.places(run.offset + start - run.at, stop - start):
            yield from _cut(place.length, place.disk, place.offset)
        offset = stop
    yield from zeros(end - offset)


def zeros(count: int) -> Iterator[Piece]:
    return _cut(count, -1, 0)


def given(data: bytes, offset: int, count: int) -> Iterator[Piece]:
    """Contents that are at hand, and zeros behind them."""
    data = data[offset : offset + count]
    if data:
        yield Piece(len(data), data=data)
    yield from zeros(count - len(data))


def gathered(blocks: Blocks, runs: Iterable[Run], size: int, most: int = MOST_PATH) -> bytes:
    """All contents of a node that is small.  Raises ValueError when it is not."""
    if size > most:
        raise ValueError(f"{size} bytes where at most {most} may be")
    data = bytearray(size)
    for run in runs:
        if run.offset is not None and run.at < size:
            length = min(run.length, size - run.at)
            data[run.at : run.at + length] = blocks.read(run.offset, length)
    return bytes(data)


def _cut(count: int, disk: int, offset: int) -> Iterator[Piece]:
    for low in range(0, count, MOST_BYTES):
        yield Piece(min(MOST_BYTES, count - low), disk, offset + low if disk >= 0 else 0)
