"""File records of NTFS: attributes, and the runs of an attribute.

Specification: https://flatcap.github.io/linux-ntfs/ntfs/, and layout.h of ntfs-3g.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from haulback.errors import Unsupported
from haulback.filesystems.parsers.filesystem import Run

STANDARD, LIST, FILE_NAME, VOLUME_NAME, DATA = 0x10, 0x20, 0x30, 0x60, 0x80
INDEX_ROOT, INDEX, BITMAP, REPARSE = 0x90, 0xA0, 0xB0, 0xC0
COMPRESSED, ENCRYPTED, SPARSE = 0x00FF, 0x4000, 0x8000
NUMBER: Final = (1 << 48) - 1  # the bits of a reference that number a record
_SECTOR = 512  # unit of fix-ups, independent of the disk's sector size
_IN_USE, _FOLDER = 1, 2
_END = 0xFFFFFFFF
_MOST_RUNS = 4_000_000  # runs of an attribute, a limit on memory
_HOLE = -1


class Attribute(NamedTuple):
    """A part of an attribute: a resident `value`, or (with None) the mapping `pairs` of its runs.

    `first` is the number of the first cluster in `pairs`. Sizes are in bytes and valid only in the
    part with `first` 0. Bytes from `written` on read as zeros.
    """

    type: int
    name: bytes
    flags: int
    value: bytes | None
    first: int = 0
    unit: int = 0  # clusters of a compression unit, as a power of two
    size: int = 0
    written: int = 0
    pairs: bytes = b""


class MftRecord(NamedTuple):
    """A file record; `base` refers to the base record of an extension record, 0 otherwise."""

    is_used: bool
    is_folder: bool
    sequence: int
    base: int
    attributes: list[Attribute]


def parsed(raw: bytes) -> MftRecord:
    """Parse a record of the master file table. Raises ValueError, struct.error."""
    raw = mended(raw, b"FILE")
    sequence, _, first, flags = struct.unpack_from("<HHHH", raw, 16)
    (base,) = struct.unpack_from("<Q", raw, 32)
    result, at = list[Attribute](), first
    while at + 8 <= len(raw):
        kind, length = struct.unpack_from("<II", raw, at)
        if kind == _END:
            break
        if length < 16 or at + length > len(raw):
            raise ValueError(f"an attribute has an impossible length of {length} bytes")
        result.append(_attribute(kind, raw[at : at + length]))
        at += length
    return MftRecord(bool(flags & _IN_USE), bool(flags & _FOLDER), sequence, base, result)


def mended(raw: bytes, magic: bytes) -> bytes:
    """Check a record's magic number and fix-ups, and restore the last two bytes of each sector.

    Raises ValueError for a torn write.
    """
    if raw[:4] != magic:
        raise ValueError(f"a record begins with {raw[:4]!r} instead of {magic!r}")
    start, count = struct.unpack_from("<HH", raw, 4)
    if not 0 < count - 1 <= len(raw) // _SECTOR or start + 2 * count > len(raw):
        raise ValueError("a record has no valid fix-ups")
    result, mark = bytearray(raw), raw[start : start + 2]
    for number in range(1, count):
        end = number * _SECTOR
        if result[end - 2 : end] != mark:
            raise ValueError("a record was written in parts (torn write)")
        result[end - 2 : end] = raw[start + 2 * number : start + 2 * number + 2]
    return bytes(result)


def _attribute(kind: int, raw: bytes) -> Attribute:
    apart, count, at, flags = struct.unpack_from("<BBHH", raw, 8)
    name = raw[at : at + 2 * count]
    if not apart:
        size, start = struct.unpack_from("<IH", raw, 16)
        if start + size > len(raw):
            raise ValueError("a value exceeds its attribute")
        return Attribute(kind, name, flags, raw[start : start + size], 0, 0, size, size)
    first, _, pairs, unit = struct.unpack_from("<QQHB", raw, 16)
    size, written = struct.unpack_from("<QQ", raw, 48) if first == 0 else (0, 0)
    return Attribute(kind, name, flags, None, first, unit, size, written, raw[pairs:])


class Runs:
    """Runs of an attribute, decoded from the mapping pairs of all its parts."""

    def __init__(self, parts: Iterable[Attribute], cluster: int) -> None:
        """Decode the parts; `cluster` is the cluster size in bytes. Raises ValueError for a gap."""
        self._cluster = cluster
        self._ats, self._starts, self._end = array("Q"), array("q"), 0
        for part in sorted(parts, key=lambda one: one.first):
            if part.first != self._end:
                raise ValueError(f"the list of runs lacks clusters {self._end} to {part.first}")
            self._add(part.pairs)

    @property
    def size(self) -> int:
        """Size in bytes, including holes."""
        return self._end * self._cluster

    def between(self, offset: int, count: int) -> Iterator[Run]:
        """Ascending runs that overlap the range. Raises ValueError for a range beyond the end."""
        if offset + count > self.size:
            raise ValueError(f"the list of runs ends at {self.size} bytes")
        index = bisect_right(self._ats, offset // self._cluster) - 1
        while 0 <= index < len(self._ats) and self._ats[index] * self._cluster < offset + count:
            at, start = self._ats[index], self._starts[index]
            end = self._ats[index + 1] if index + 1 < len(self._ats) else self._end
            place = None if start == _HOLE else start * self._cluster
            yield Run(at * self._cluster, (end - at) * self._cluster, place)
            index += 1

    def _add(self, pairs: bytes) -> None:
        at, place = 0, 0
        while at < len(pairs) and pairs[at]:
            size, step = pairs[at] & 15, pairs[at] >> 4
            middle, at = at + 1 + size, at + 1 + size + step
            length = int.from_bytes(pairs[middle - size : middle], "little", signed=True)
            if at > len(pairs) or length <= 0 or self._end + length >= 1 << 63:
                raise ValueError(f"a run has an impossible length of {length} clusters")
            place += int.from_bytes(pairs[middle:at], "little", signed=True)
            if step and not 0 <= place < 1 << 62:
                raise ValueError(f"a run is at the impossible cluster {place}")
            if len(self._ats) == _MOST_RUNS:
                raise Unsupported(f"the file has more than {_MOST_RUNS} fragments")
            self._ats.append(self._end)
            self._starts.append(place if step else _HOLE)
            self._end += length
