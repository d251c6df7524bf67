"""Protocol of file system readers: nodes by number, and contents as pieces."""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from haulback.errors import HaulbackError, Unsupported
from haulback.filesystems.parsers.blocks import BeyondEndError, Blocks
from haulback.filesystems.records import MOST_BYTES, MOST_PATH, EntryHint, FilePiece
from haulback.units import MIB

MOST_DIRECTORY = 256 * MIB  # bytes of one directory
# Errors that hostile bytes can cause in a parser.
DAMAGE = (ArithmeticError, LookupError, ValueError, OSError, struct.error, RecursionError)


def error_text(error: Exception) -> str:
    """The message of an error for users."""
    if isinstance(error, HaulbackError):
        return error.message
    if isinstance(error, OSError):
        return str(error)
    if isinstance(error, BeyondEndError):
        return f"the file system is damaged or cut off: {error}"
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__} "
    return f"the file system is damaged: {kind}{error}"


class FileStatus(NamedTuple):
    """Metadata of a node; `mode` includes the type bits, `modified` is in epoch milliseconds.

    `reason` says why the contents cannot be read; it is empty for readable files. `links` is the
    number of names, `fine` the nanoseconds after `modified`, `device` the numbers (major, minor) of
    a device.
    """

    mode: int
    size: int
    modified: int
    uid: int = 0
    gid: int = 0
    reason: str = ""
    links: int = 1
    hints: EntryHint = EntryHint(0)
    fine: int = 0
    device: tuple[int, int] = (0, 0)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


class FileAttributes(NamedTuple):
    """Extended attributes by name, access control lists as text, and features by name.

    `reason` says why attributes are missing.
    """

    attributes: Mapping[bytes, bytes] = MappingProxyType({})
    access: str = ""
    default: str = ""
    features: tuple[str, ...] = ()
    reason: str = ""


class FileSystem(Protocol):
    """Reader of a file system; nodes are numbers of its own choice.

    Methods raise Unsupported for features that cannot be read, and the errors in DAMAGE for damaged
    data.
    """

    @property
    def root(self) -> int:
        """Node of the root directory."""

    def status(self, node: int) -> FileStatus:
        """Metadata of a node."""

    def names(self, node: int) -> Iterator[tuple[bytes, int]]:
        """Entries of a directory in any order, possibly with `.` and `..`.

        Damage is raised after the last readable entry.
        """

    def target(self, node: int) -> bytes:
        """Target of a symbolic link."""

    def pieces(self, node: int, offset: int, count: int) -> Iterator[FilePiece]:
        """Pieces of `count` bytes of a file from `offset`; the range lies within the file.

        Not called for a file whose status has a reason.
        """

    def stored(self, node: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
        """Ascending ranges (offset, length) of a file of `size` bytes that are stored, from
        `offset`; the rest reads as zeros.

        A range of length 0 means that the answer ends at its offset, and that a further request is
        needed.
        """

    def extras(self, node: int) -> FileAttributes:
        """Extended attributes and features of a node."""


class Run(NamedTuple):
    """`length` bytes at `at` of a file, stored at `offset` of the volume; None for zeros."""

    at: int
    length: int
    offset: int | None


def laid(blocks: Blocks, runs: Iterable[Run], offset: int, count: int) -> Iterator[FilePiece]:
    """Pieces of `count` bytes from `offset`, by ascending runs; gaps between runs are zeros."""
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


def ranges(runs: Iterable[Run]) -> Iterator[tuple[int, int]]:
    """The ranges of a file that its runs store."""
    return ((run.at, run.length) for run in runs if run.offset is not None)


def zeros(count: int) -> Iterator[FilePiece]:
    """Pieces of `count` zeros."""
    return _cut(count, -1, 0)


def given(data: bytes, offset: int, count: int) -> Iterator[FilePiece]:
    """Pieces of data in memory, followed by zeros."""
    data = data[offset : offset + count]
    if data:
        yield FilePiece(len(data), data=data)
    yield from zeros(count - len(data))


def listed(
    blocks: Blocks,
    runs: Iterable[Run],
    unit: int,
    names: Callable[[bytes], Iterable[tuple[bytes, int]]],
) -> Iterator[tuple[bytes, int]]:
    """Entries of a directory that is parsed in units of `unit` bytes by `names`; holes are skipped.

    A damaged unit yields the entries before its damage. The first damage is raised after the last
    unit.
    """
    read, damage = 0, None
    try:
        for places in _units(runs, unit):
            read += unit
            if read > MOST_DIRECTORY:
                raise Unsupported(f"the directory is larger than {MOST_DIRECTORY} bytes")
            try:
                yield from names(b"".join(blocks.read(*place) for place in places))
            except DAMAGE as error:
                damage = damage or error
    except DAMAGE as error:  # the list of runs is damaged, so that later runs are unknown
        damage = damage or error
    if damage:
        raise damage


def _units(runs: Iterable[Run], unit: int) -> Iterator[list[tuple[int, int]]]:
    """Offsets and lengths of the parts of each unit."""
    places: list[tuple[int, int]] = []
    current = -1
    for run in runs:
        at, end = run.at, run.at + run.length
        while run.offset is not None and at < end:
            number = at // unit
            if number != current and places:
                yield places
                places = []
            current, length = number, min((number + 1) * unit, end) - at
            places.append((run.offset + at - run.at, length))
            at += length
    if places:
        yield places


def gathered(blocks: Blocks, runs: Iterable[Run], size: int, most: int = MOST_PATH) -> bytes:
    """All contents of a small node. Raises ValueError for more than `most` bytes."""
    if size > most:
        raise ValueError(f"{size} bytes exceed the limit of {most}")
    data = bytearray(size)
    for run in runs:
        if run.offset is not None and run.at < size:
            length = min(run.length, size - run.at)
            data[run.at : run.at + length] = blocks.read(run.offset, length)
    return bytes(data)


def _cut(count: int, disk: int, offset: int) -> Iterator[FilePiece]:
    for low in range(0, count, MOST_BYTES):
        yield FilePiece(min(MOST_BYTES, count - low), disk, offset + low if disk >= 0 else 0)
