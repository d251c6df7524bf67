"""FAT12, FAT16 and FAT32 reader.

Specification: "Microsoft FAT Specification", 2005.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import repeat

from haulback.filesystems.parsers.blocks import Blocks
from haulback.filesystems.parsers.clusters import FIRST, Chain, Table
from haulback.filesystems.parsers.fat_names import DIRECTORY, SLOT, CodePage, names
from haulback.filesystems.parsers.filesystem import MOST_DIRECTORY, FileAttributes, FileStatus, laid
from haulback.filesystems.records import FilePiece

_READ_ONLY = 0x01
_MOST_12 = 4084  # clusters of a FAT12 at most; a FAT16 has more
_ENDS = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}  # a table entry of at least this value ends a chain
_MIRRORS_NOT, _ACTIVE = 0x80, 0x0F  # flag: only one table is active; mask of its number
_SLOT = struct.Struct("<11x B 8x H HH H I")  # attributes, cluster high, time, date, low, size


class Fat:
    """FAT file system at the start of `blocks`; nodes are offsets of slots with short names."""

    root = 0

    def __init__(self, blocks: Blocks, page: CodePage) -> None:
        self._blocks, self._page, head = blocks, page, blocks.read(0, 512)
        sector, per_cluster, reserved, tables, entries, small = struct.unpack_from(
            "<HBHBHH", head, 11
        )
        short, big, long, flags = struct.unpack_from("<H8xIIH", head, 22)
        total, length = small or big, short or long
        self._fixed = (reserved + tables * length) * sector  # root directory of FAT12 and FAT16
        self._entries = entries if short else 0
        data = reserved + tables * length + -(-self._entries * SLOT // sector)
        count = (total - data) // per_cluster
        bits = (12 if count <= _MOST_12 else 16) if short else 32
        count = min(count, length * sector * 8 // bits - FIRST)
        if count < 1:
            raise ValueError("the FAT volume has no cluster")
        active = flags & _ACTIVE if not short and flags & _MIRRORS_NOT else 0
        at = (reserved + (active if active < tables else 0) * length) * sector
        self._table = Table(blocks, at, bits, count, end=_ENDS[bits])
        self._size = per_cluster * sector
        self._origin = data * sector - FIRST * self._size
        self._first = struct.unpack_from("<I", head, 44)[0] if not short else 0
        self._chain = lru_cache(4)(self._new_chain)

    def status(self, node: int) -> FileStatus:
        if node == self.root:
            return FileStatus(stat.S_IFDIR | 0o755, 0, 0)
        attributes, _, time, date, _, size = _SLOT.unpack(self._blocks.read(node, SLOT))
        rights = 0o555 if attributes & _READ_ONLY else 0o755
        if attributes & DIRECTORY:
            return FileStatus(stat.S_IFDIR | rights, 0, moment(date, time))
        return FileStatus(stat.S_IFREG | rights, size, moment(date, time))

    def names(self, node: int) -> Iterator[tuple[bytes, int]]:
        damage: list[OSError] = []
        yield from names(self._slots(node, damage), self._page)
        if damage:
            raise damage[0]

    def target(self, node: int) -> bytes:
        raise ValueError(f"node {node} is no link: FAT has no links")

    def pieces(self, node: int, offset: int, count: int) -> Iterator[FilePiece]:
        low, high = offset // self._size, -(-(offset + count) // self._size)
        runs = self._chain(self._cluster(node)).runs(low, high, self._size, self._origin)
        return laid(self._blocks, runs, offset, count)

    def stored(self, node: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
        if node != self.root:
            yield offset, size - offset

    def extras(self, node: int) -> FileAttributes:  # noqa: ARG002 - FAT has none
        return FileAttributes()

    def _cluster(self, node: int) -> int:
        """First cluster of a file or directory."""
        _, high, _, _, low, _ = _SLOT.unpack(self._blocks.read(node, SLOT))
        return int(low | (high << 16 if self._first else 0))

    def _new_chain(self, first: int) -> Chain:
        return Chain(self._table, first)

    def _slots(self, node: int, damage: list[OSError]) -> Iterator[tuple[int, bytes]]:
        """Offsets and slots of a directory; errors of unreadable parts are added to `damage`."""
        left = MOST_DIRECTORY // SLOT
        for start, count in self._parts(node):
            try:
                raw = self._blocks.read(start, count * SLOT)
            except OSError as error:
                damage.append(error)
                yield start, b""
                continue
            left -= count
            if left < 0:
                raise ValueError(f"the directory is larger than {MOST_DIRECTORY} bytes")
            for at in range(0, len(raw), SLOT):
                yield start + at, raw[at : at + SLOT]

    def _parts(self, node: int) -> Iterator[tuple[int, int]]:
        """Offsets of the parts of a directory, with the number of slots of each."""
        if node == self.root and not self._first:
            yield self._fixed, self._entries
            return
        cluster = self._first if node == self.root else self._cluster(node)
        if cluster == 0:
            raise ValueError("the directory has no cluster")
        places = (self._origin + one * self._size for one in self._chain(cluster).clusters())
        yield from zip(places, repeat(self._size // SLOT))


def moment(date: int, time: int) -> int:
    """MS-DOS date and time in epoch ms, interpreted as UTC; 0 for an impossible date."""
    year, month, day = 1980 + (date >> 9), date >> 5 & 15, date & 31
    hour, minute, second = time >> 11, time >> 5 & 63, (time & 31) * 2
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        return 0
