"""XFS reader, versions 4 and 5.

Specification: "XFS Algorithms & Data Structures", xfs_filesystem_structure.pdf
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import NamedTuple

from haulback.errors import Unsupported
from haulback.filesystems.parsers.attributes import AttributeCollector
from haulback.filesystems.parsers.blocks import Blocks
from haulback.filesystems.parsers.checksums import DIFFERS, START, crc32c
from haulback.filesystems.parsers.filesystem import (
    FileAttributes,
    FileStatus,
    Run,
    gathered,
    given,
    laid,
    listed,
    ranges,
)
from haulback.filesystems.parsers.superblocks import xfs_refused
from haulback.filesystems.parsers.xfs_attributes import AttributeBlocks, collect, in_blocks, short
from haulback.filesystems.records import EntryHint, FilePiece

# Incompatible features that are read: ftype, sparse inodes, meta uuid, bigtime, nrext64,
# exchange-range, parent pointers.
_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80
_NEEDS_REPAIR = 0x10
_DEVICE, _LOCAL, _EXTENTS, _TREE = 0, 1, 2, 3
_REALTIME, _BIG_TIME, _MANY_EXTENTS = 0x1, 0x8, 0x10
_INODE = struct.Struct(">2sHBBHIII4xQ8xQ8xQQ4xIHBB6xH")
# Offset in a directory from which on the blocks hold hashes and no entries.
_DIRECTORY_END = 32 << 30
_DEEPEST = 9  # levels of a B+tree: XFS's own limit
_SINGLE = (b"XD2B", b"XDB3")
_MANY = (b"XD2D", b"XDD3")


class _Fork(NamedTuple):
    """The map of contents or of attributes in an inode."""

    format: int
    extents: int
    raw: bytes


class _Inode(NamedTuple):
    mode: int
    uid: int
    gid: int
    links: int
    time: int  # as stored; its format depends on the bigtime flag
    size: int
    blocks: int
    flags: int
    flags2: int
    data: _Fork
    attributes: _Fork | None
    is_damaged: bool  # the stored checksum differs


class _Branch(NamedTuple):
    """A branch node of an extent tree: `held` keys from byte `at` on, with room for `most`."""

    raw: bytes
    at: int
    most: int
    level: int
    held: int


class Xfs:
    """XFS at the start of `blocks`; nodes are inode numbers."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, raw = blocks, blocks.read(0, 512)
        self._size, self.root = _u32(raw, 4), _u64(raw, 56)
        self._group = _u32(raw, 84)
        version, _, self._inode_size = struct.unpack_from(">HHH", raw, 100)
        self._inode_log, self._group_log = raw[123], raw[124]
        self._directory = self._size << raw[192]
        self._v5 = version & 0xF == 5
        incompatible = _u32(raw, 216) if self._v5 else 0
        if incompatible & _NEEDS_REPAIR:
            raise Unsupported("the XFS is marked as needing a repair")
        if incompatible & ~_KNOWN:
            raise Unsupported(f"XFS with {xfs_refused(incompatible & ~_KNOWN)} cannot be read")
        if raw[:4] != b"XFSB" or version & 0xF not in (4, 5):
            raise ValueError("the superblock is missing")
        if not 512 <= self._size <= 65536 or not 256 <= self._inode_size <= 2048 or raw[192] > 7:
            raise ValueError("the superblock has impossible sizes")
        self._typed = bool(incompatible & 1 if self._v5 else _u32(raw, 200) & 0x200)
        self._inode = lru_cache(4096)(self._load)

    def status(self, node: int) -> FileStatus:
        inode = self._inode(node)
        if inode.flags2 & _BIG_TIME:
            modified, fine = divmod(inode.time, 1_000_000)
            modified -= (1 << 31) * 1000
        else:
            seconds, nanoseconds = struct.unpack(">ii", inode.time.to_bytes(8, "big"))
            parts, fine = divmod(nanoseconds, 1_000_000)
            modified = seconds * 1000 + parts
        reason = "the file is on a realtime device" if inode.flags & _REALTIME else ""
        if inode.is_damaged:
            reason = DIFFERS
        hints = EntryHint.ATTRIBUTES if inode.attributes else EntryHint(0)
        if inode.blocks * self._size < inode.size and inode.data.format != _LOCAL:
            hints |= EntryHint.HOLES
        ids = inode.uid, inode.gid
        device = (0, 0)
        if inode.data.format == _DEVICE:
            number = _u32(inode.data.raw, 0)
            device = number >> 18, number & 0x3FFFF
        return FileStatus(
            inode.mode, inode.size, modified, *ids, reason, inode.links, hints, fine, device
        )

    def names(self, node: int) -> Iterator[tuple[bytes, int]]:
        inode = self._inode(node)
        if inode.data.format == _LOCAL:
            yield from self._short(inode.data.raw[: inode.size])
        else:
            runs = self._runs(inode.data, 0, _DIRECTORY_END)
            yield from listed(self._blocks, runs, self._directory, self._block)
        if inode.is_damaged:
            raise ValueError("the checksum of the folder's inode differs")

    def target(self, node: int) -> bytes:
        inode = self._inode(node)
        if inode.data.format == _LOCAL:
            return inode.data.raw[: inode.size]
        # Version 5 starts each block of a link with a header of 56 bytes.
        blocks, length = 1 + inode.size // (self._size - 56), self._size
        runs = self._runs(inode.data, 0, blocks * length)
        raw = gathered(self._blocks, runs, blocks * length, 65536)
        if self._v5:
            raw = b"".join(raw[at + 56 : at + length] for at in range(0, len(raw), length))
        return raw[: inode.size]

    def pieces(self, node: int, offset: int, count: int) -> Iterator[FilePiece]:
        inode = self._inode(node)
        if inode.data.format == _LOCAL:
            return given(inode.data.raw, offset, count)
        return laid(self._blocks, self._runs(inode.data, offset, count), offset, count)

    def stored(self, node: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
        data = self._inode(node).data
        if data.format == _LOCAL:
            return iter([(0, size)])
        return ranges(self._runs(data, offset, size - offset))

    def extras(self, node: int) -> FileAttributes:
        inode, found = self._inode(node), AttributeCollector()
        fork = inode.attributes
        if fork and fork.format == _LOCAL:
            collect(found, short(fork.raw))
        elif fork:
            read = partial(self._attribute_block, fork)
            collect(found, in_blocks(AttributeBlocks(read, self._size, self._v5)))
        return found.extras(("realtime",) if inode.flags & _REALTIME else ())

    def _attribute_block(self, fork: _Fork, number: int) -> bytes:
        for run in self._runs(fork, number * self._size, self._size):
            if run.offset is not None:
                return self._blocks.read(run.offset + number * self._size - run.at, self._size)
        raise ValueError("a block of extended attributes is missing")

    def _load(self, node: int) -> _Inode:
        per_group = self._inode_log + self._group_log
        group, within = node >> per_group, node & (1 << per_group) - 1
        block, index = within >> self._inode_log, within & (1 << self._inode_log) - 1
        at = (group * self._group + block) * self._size + index * self._inode_size
        raw = self._blocks.read(at, self._inode_size)
        magic, mode, version, form, old_links, uid, gid, links, many, time, size, blocks, *rest = (
            _INODE.unpack_from(raw)
        )
        few, attributes, fork, other_form, flags = rest
        if magic != b"IN":
            raise ValueError(f"inode {node} does not exist")
        start, flags2 = (176, _u64(raw, 120)) if version == 3 else (100, 0)
        end = start + fork * 8 if fork else self._inode_size
        if flags2 & _MANY_EXTENTS:
            few, attributes = many, few
        data = _Fork(form, few, raw[start:end])
        other = _Fork(other_form, attributes, raw[end:]) if fork else None
        if other and other.format == _EXTENTS and not other.extents:
            other = None
        links = links if version > 1 else old_links
        damaged = version == 3 and not _matches(raw, 100)
        return _Inode(
            mode, uid, gid, links, time, size, blocks, flags, flags2, data, other, damaged
        )

    def _runs(self, fork: _Fork, offset: int, count: int) -> Iterator[Run]:
        """Ascending runs of a fork that overlap the range."""
        low, high = offset // self._size, -(-(offset + count) // self._size)
        if fork.format == _EXTENTS:
            return self._records(fork.raw, 0, fork.extents, low, high)
        if fork.format != _TREE:
            raise ValueError(f"the inode has the unknown format {fork.format}")
        level, count = struct.unpack_from(">HH", fork.raw)
        if not 0 < level <= _DEEPEST:
            raise ValueError("the extent tree has an impossible depth")
        room = (len(fork.raw) - 4) // 16
        return self._below(_Branch(fork.raw, 4, room, level, count), low, high)

    def _records(self, raw: bytes, at: int, count: int, low: int, high: int) -> Iterator[Run]:
        if at + 16 * count > len(raw):
            raise ValueError("there are more extents than their block can hold")
        for one, two in struct.iter_unpack(">QQ", raw[at : at + 16 * count]):
            start, length = one >> 9 & (1 << 54) - 1, two & (1 << 21) - 1
            if start >= high:
                return
            if start + length > low:
                place = None if one >> 63 else self._byte((one & 0x1FF) << 43 | two >> 21)
                yield Run(start * self._size, length * self._size, place)

    def _below(self, branch: _Branch, low: int, high: int) -> Iterator[Run]:
        """Runs below a branch node that overlap the blocks from `low` to before `high`."""
        raw, at, most, level, count = branch
        if count > most:
            raise ValueError("there are more branches than their block can hold")
        keys = struct.unpack_from(f">{count}Q", raw, at)
        children = struct.unpack_from(f">{count}Q", raw, at + 8 * most)
        for number, child in enumerate(children):
            following = keys[number + 1] if number + 1 < count else 1 << 54
            if keys[number] >= high or following <= low:
                continue
            node = self._blocks.read(self._byte(child), self._size)
            below, records = struct.unpack_from(">HH", node, 4)
            if node[:4] not in (b"BMAP", b"BMA3") or below != level - 1:
                raise ValueError("the extent tree has a damaged branch")
            header = 72 if node[:4] == b"BMA3" else 24
            if header == 72 and not _matches(node, 64):
                raise ValueError("the checksum of a block of the extent tree differs")
            if below == 0:
                yield from self._records(node, header, records, low, high)
            else:
                room = (self._size - header) // 16
                inner = _Branch(node, header, room, below, records)
                yield from self._below(inner, low, high)

    def _byte(self, block: int) -> int:
        group, within = block >> self._group_log, block & (1 << self._group_log) - 1
        return (group * self._group + within) * self._size

    def _short(self, raw: bytes) -> Iterator[tuple[bytes, int]]:
        """Entries of a short-form directory, which is stored in its inode."""
        width = 8 if raw[1] else 4
        at = 2 + width
        for _ in range(raw[0]):
            end = at + 3 + raw[at]
            if end + self._typed + width > len(raw):
                raise ValueError("the directory exceeds its inode")
            name = raw[at + 3 : end]
            end += self._typed
            yield name, int.from_bytes(raw[end : end + width], "big")
            at = end + width

    def _block(self, raw: bytes) -> Iterator[tuple[bytes, int]]:
        magic, end = raw[:4], len(raw)
        if magic in _SINGLE:
            end -= 8 + 8 * _u32(raw, end - 8)
        elif magic not in _MANY:
            raise ValueError("a directory block has a wrong magic number")
        at = 64 if self._v5 else 16
        if end < at:
            raise ValueError("the hashes of a directory block exceed the block")
        while at + 12 <= end:
            if raw[at : at + 2] == b"\xff\xff":
                length = int.from_bytes(raw[at + 2 : at + 4], "big")
                if length < 8:
                    raise ValueError("a free entry of a directory has no length")
                at += length
                continue
            count = raw[at + 8]
            if not count or at + 9 + count > end:
                raise ValueError(
                    f"a directory entry has an impossible name length of {count} bytes"
                )
            yield raw[at + 9 : at + 9 + count], _u64(raw, at)
            at += 8 + 1 + count + self._typed + 2 + 7 & ~7
        if self._v5 and not _matches(raw, 4):
            raise ValueError("the checksum of a block of the folder differs")


def _matches(raw: bytes, at: int) -> bool:
    """Whether the CRC at byte `at` of an inode or a block of version 5 is right."""
    blank = raw[:at] + bytes(4) + raw[at + 4 :]
    return crc32c(blank) ^ START == int.from_bytes(raw[at : at + 4], "little")


def _u32(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "big")


def _u64(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 8], "big")
