"""exFAT reader.

A file is described by an entry set of up to 19 slots of 32 bytes: its type, its location, and its
name in parts of 15 characters; a checksum covers the set. Specification: "exFAT file system
specification", Microsoft, sections 6 and 7.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple

from haulback.filesystems.parsers.blocks import Blocks
from haulback.filesystems.parsers.clusters import FIRST, Chain, Table
from haulback.filesystems.parsers.fat import moment
from haulback.filesystems.parsers.fat_names import DIRECTORY, SLOT, units
from haulback.filesystems.parsers.filesystem import (
    MOST_DIRECTORY,
    FileAttributes,
    FileStatus,
    Run,
    laid,
    zeros,
)
from haulback.filesystems.parsers.names import unlike_dots
from haulback.filesystems.records import EntryHint, FilePiece

_END, _FILE, _PLACE, _NAME, _LABEL = 0x00, 0x85, 0xC0, 0xC1, 0x83
_SECONDARY = 0xC0  # bits set in the type of all slots of a set but the first
_UNCHAINED = 0x02  # flag NoFatChain: the clusters are contiguous
_READ_ONLY = 0x01
_LAST = 0xFFFFFFF8  # a table entry of at least this value ends a chain


class _Set(NamedTuple):
    """An entry set; `reason` is set if its slots are inconsistent."""

    name: bytes
    attributes: int
    modified: int
    size: int
    written: int  # valid data length in bytes; zeros follow
    cluster: int
    is_chained: bool
    reason: str = ""


class ExFat:
    """exFAT file system at the start of `blocks`.

    A node is twice the offset of a set's first slot; one is added for the sets of a contiguous
    directory, because no chain tells where such a set continues.
    """

    root = 0

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, head = blocks, blocks.read(0, 512)
        table, length, heap, count, self._first = struct.unpack_from("<5I", head, 80)
        (flags,) = struct.unpack_from("<H", head, 106)
        sector, per_cluster, tables = head[108], head[109], head[110]
        if not 9 <= sector <= 12 or per_cluster > 25 - sector or tables not in (1, 2):
            raise ValueError("the boot sector has impossible sizes")
        self._size: int = 1 << sector + per_cluster
        self._origin: int = (heap << sector) - FIRST * self._size
        count = min(count, (length << sector) // 4 - FIRST, blocks.size // self._size)
        if count < 1:
            raise ValueError("the exFAT volume has no cluster")
        at = table + (length if flags & 1 and tables == 2 else 0)
        self._table = Table(blocks, at << sector, 32, count, end=_LAST)
        self._chain = lru_cache(4)(self._new_chain)
        self._set = lru_cache(4096)(self._load)

    @property
    def label(self) -> str:
        """Volume label; may be empty."""
        for _, slot in self._slots(self.root, []):
            if slot[0] == _END:
                break
            if slot[0] == _LABEL:
                return units(slot[2 : 2 + 2 * min(slot[1], 11)]).decode(errors="replace")
        return ""

    def status(self, node: int) -> FileStatus:
        if node == self.root:
            return FileStatus(stat.S_IFDIR | 0o755, 0, 0)
        found = self._set(node)
        kind = stat.S_IFDIR if found.attributes & DIRECTORY else stat.S_IFREG
        rights = 0o555 if found.attributes & _READ_ONLY else 0o755
        hints = EntryHint.HOLES if found.written < found.size else EntryHint(0)
        numbers = found.size, found.modified
        return FileStatus(kind | rights, *numbers, reason=found.reason, hints=hints)

    def names(self, node: int) -> Iterator[tuple[bytes, int]]:
        damage: list[OSError] = []
        mark = int(node != self.root and not self._set(node).is_chained)
        for offset, slot in self._slots(node, damage):
            if slot[0] == _END:
                break
            if slot[0] == _FILE:
                child = 2 * offset + mark
                yield self._name(child), child
        if damage:
            raise damage[0]

    def target(self, node: int) -> bytes:
        raise ValueError(f"node {node} is no link: exFAT has no links")

    def pieces(self, node: int, offset: int, count: int) -> Iterator[FilePiece]:
        found = self._set(node)
        written = max(0, min(count, found.written - offset))
        if written:
            yield from laid(self._blocks, self._runs(found, offset, written), offset, written)
        yield from zeros(count - written)

    def stored(self, node: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
        written = min(size, self._set(node).written)
        if offset < written:
            yield offset, written - offset

    def extras(self, node: int) -> FileAttributes:  # noqa: ARG002 - exFAT has none
        return FileAttributes()

    def _name(self, node: int) -> bytes:
        try:
            return unlike_dots(self._set(node).name)
        except (ValueError, OSError):  # the node's status reports the reason
            return unlike_dots(b"")

    def _runs(self, found: _Set, offset: int, count: int) -> Iterator[Run]:
        low, high = offset // self._size, -(-(offset + count) // self._size)
        if found.is_chained:
            yield from self._chain(found.cluster).runs(low, high, self._size, self._origin)
            return
        self._table.checked(found.cluster)
        self._table.checked(found.cluster + high - 1)
        at = self._origin + found.cluster * self._size
        yield Run(low * self._size, (high - low) * self._size, at + low * self._size)

    def _new_chain(self, first: int) -> Chain:
        return Chain(self._table, first)

    def _slots(self, node: int, damage: list[OSError]) -> Iterator[tuple[int, bytes]]:
        """Offsets and slots of a directory; errors of unreadable clusters are added to `damage`."""
        left = MOST_DIRECTORY
        for start in self._places(node):
            left -= self._size
            if left < 0:
                raise ValueError(f"the directory is larger than {MOST_DIRECTORY} bytes")
            try:
                raw = self._blocks.read(start, self._size)
            except OSError as error:
                damage.append(error)
                continue
            for at in range(0, len(raw), SLOT):
                yield start + at, raw[at : at + SLOT]

    def _places(self, node: int) -> Iterator[int]:
        """Offsets of the clusters of a directory."""
        if node == self.root:
            first, is_chained, size = self._first, True, 0
        else:
            entry_set = self._set(node)
            if entry_set.reason:
                raise ValueError(entry_set.reason)
            first, is_chained, size = entry_set.cluster, entry_set.is_chained, entry_set.size
        if is_chained:
            clusters = self._chain(first).clusters()
        else:
            clusters = map(self._table.checked, range(first, first + -(-size // self._size)))
        for cluster in clusters:
            yield self._origin + cluster * self._size

    def _load(self, node: int) -> _Set:
        raw = self._raw(node)
        attributes, time, zone = raw[4] | raw[5] << 8, struct.unpack_from("<HH", raw, 12), raw[23]
        modified = moment(time[1], time[0]) + min(raw[21], 199) * 10
        if zone & 0x80 and modified:
            # Signed, 7 bits, in units of 15 minutes.
            modified -= ((zone & 0x7F ^ 0x40) - 0x40) * 15 * 60_000
        length, written, cluster, size = struct.unpack_from("<3xB4xQ4xIQ", raw, SLOT)
        parts = (raw[at + 2 : at + SLOT] for at in range(2 * SLOT, len(raw), SLOT)
                 if raw[at] == _NAME)  # fmt: skip
        named = b"".join(parts)
        name, reason = units(named[: 2 * length]), ""
        if raw[SLOT] != _PLACE or len(named) < 2 * length or not length:
            reason = "its directory entry is incomplete"
        elif struct.unpack_from("<H", raw, 2)[0] != _checksum(raw):
            reason = "its directory entry has a wrong checksum"
        elif written > size:
            reason = f"its valid length of {written} bytes exceeds its size of {size}"
        is_chained = not raw[SLOT + 1] & _UNCHAINED
        return _Set(name, attributes, modified, min(size, 1 << 62), written, cluster, is_chained,
                    reason and f"the file system is damaged: {reason}")  # fmt: skip

    def _raw(self, node: int) -> bytes:
        """Slots of a set, up to the count in its first slot or the start of another set."""
        offset, mark = divmod(node, 2)
        slots = self._blocks.read(offset, SLOT)
        count = slots[1]
        for _ in repeat(None, min(count, 18)):
            offset = self._following(offset, bool(mark))
            slot = self._blocks.read(offset, SLOT)
            if slot[0] & _SECONDARY != _SECONDARY:
                break
            slots += slot
        return slots if len(slots) > SLOT else slots + bytes(SLOT)

    def _following(self, offset: int, is_unchained: bool) -> int:
        """Offset of the next slot of the directory."""
        place = offset + SLOT - self._origin
        cluster, within = place // self._size, place % self._size
        if within:
            return offset + SLOT
        if is_unchained:
            return self._origin + self._table.checked(cluster) * self._size
        following = self._table.follower(cluster - 1)
        if following is None:
            raise ValueError("the directory ends within an entry")
        return self._origin + following * self._size


def _checksum(raw: bytes) -> int:
    """Checksum of an entry set, without the two bytes of the checksum itself."""
    found = 0
    for at, byte in enumerate(raw):
        if at not in (2, 3):
            found = ((found & 1) << 15 | found >> 1) + byte & 0xFFFF
    return found
