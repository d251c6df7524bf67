"""ext2, ext3 and ext4: inodes, directories and attributes.

(The words of the format: https://docs.kernel.org/filesystems/ext4/)
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from haulback.errors import Unsupported
from haulback.filesystems.reading.blocks import Blocks, Part, Span
from haulback.filesystems.reading.ext_journal import Journal, Replayed
from haulback.filesystems.reading.ext_maps import extents, pointers
from haulback.filesystems.reading.filesystem import Run, Status, gathered, given, laid, listed
from haulback.filesystems.records import Piece

SUPERBLOCK = 1024
MAGIC = b"\x53\xef"
_RECOVER, _META_BG, _EXTENTS, _64BIT, _INLINE = 0x4, 0x10, 0x40, 0x80, 0x8000
# file types, multi-mount protection, flexible groups, inodes for attributes and their
# data, seeds, large directories, encryption, case folding
_HARMLESS = 0x2 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x4000 | 0x10000 | 0x20000
_KNOWN = _RECOVER | _META_BG | _EXTENTS | _64BIT | _INLINE | _HARMLESS
_COMPRESSED, _ENCRYPTED, _IN_EXTENTS, _IN_INODE = 0x4, 0x800, 0x80000, 0x10000000
_INODE = struct.Struct("<HHI8xI4xH6xI4x60s8xI8xHH")
_KEPT = "the file is encrypted or compressed in its file system"
_ATTRIBUTE = struct.Struct("<BBHIII")
_ATTRIBUTES = b"\0\0\2\xea"


class _Inode(NamedTuple):
    mode: int
    uid: int
    size: int
    seconds: int
    extra: int
    gid: int
    flags: int
    block: bytes
    tail: bytes  # behind the fields: attributes


class Ext:
    """A file system of the ext family; `blocks` begins with it."""

    root = 2

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, raw = blocks, blocks.read(SUPERBLOCK, 1024)
        self._inodes, _, _, _, _, first, shift = struct.unpack_from("<7I", raw)
        self._per_group, revision = _u32(raw, 40), _u32(raw, 76)
        incompatible = _u32(raw, 96)
        if raw[56:58] != MAGIC or shift > 6 or not self._per_group:
            raise ValueError("no superblock")
        if incompatible & ~_KNOWN:
            raise Unsupported(f"ext4 with features {incompatible & ~_KNOWN:#x} cannot be read")
        self._size = SUPERBLOCK << shift
        self._journal = _u32(raw, 224) if incompatible & _RECOVER else 0
        self._inode_size = int.from_bytes(raw[88:90], "little") if revision else 128
        descriptor = int.from_bytes(raw[254:256], "little") if incompatible & _64BIT else 32
        if self._inode_size < 128 or descriptor < 32:
            raise ValueError("impossible sizes in the superblock")
        self._descriptor, self._first = descriptor, first
        self._meta = _u32(raw, 260) if incompatible & _META_BG else 1 << 40
        self._blocks_per_group = _u32(raw, 32)
        self._sparse = bool(_u32(raw, 100) & 1)
        self._table = lru_cache(64)(self._find_table)
        self._inode = lru_cache(4096)(self._load)

    @classmethod
    def opened(cls, blocks: Blocks) -> Ext:
        """With what its journal has to add, when it was in use."""
        found = cls(blocks)
        if not found._journal:
            return found
        inode, parts, end = found._inode(found._journal), [], 0
        for run in found._runs(inode, 0, inode.size):
            if run.offset is None or run.at != end:
                raise ValueError("a journal with holes")
            parts.append(Part(blocks, run.offset, run.length))
            end += run.length
        return cls(Replayed(blocks, Journal.read(Span(parts))))

    def status(self, node: int) -> Status:
        inode = self._inode(node)
        seconds = inode.seconds - (inode.seconds >> 31 << 32)
        seconds += (inode.extra & 3) << 32
        modified = seconds * 1000 + min(inode.extra >> 2, 999_999_999) // 1_000_000
        kept = inode.flags & (_ENCRYPTED | _COMPRESSED)
        reason = _KEPT if kept and not stat.S_ISDIR(inode.mode) else ""
        return Status(inode.mode, inode.size, modified, inode.uid, inode.gid, reason)

    def names(self, node: int) -> Iterator[tuple[bytes, int]]:
        inode = self._inode(node)
        if inode.flags & _IN_INODE:
            data = self._inline(inode)
            yield from _names(data[4:60])
            yield from _names(data[60:])
            return
        yield from listed(self._blocks, self._mapped(inode), self._size, _names)

    def target(self, node: int) -> bytes:
        inode = self._inode(node)
        if inode.flags & _ENCRYPTED:
            raise Unsupported(_KEPT)
        if inode.flags & _IN_INODE:
            return self._inline(inode)[: inode.size]
        if inode.size < 60 and not inode.flags & _IN_EXTENTS:
            return inode.block[: inode.size]
        return gathered(self._blocks, self._runs(inode, 0, inode.size), inode.size)

    def pieces(self, node: int, offset: int, count: int) -> Iterator[Piece]:
        inode = self._inode(node)
        if inode.flags & _IN_INODE:
            return given(self._inline(inode), offset, count)
        return laid(self._blocks, self._runs(inode, offset, count), offset, count)

    def _runs(self, inode: _Inode, offset: int, count: int) -> Iterator[Run]:
        low, high = offset // self._size, -(-(offset + count) // self._size)
        mapped = extents if inode.flags & _IN_EXTENTS else pointers
        return mapped(self._blocks, self._size, inode.block, low, high)

    def _mapped(self, inode: _Inode) -> Iterator[Run]:
        """The runs of a directory, which has no holes.  Raises ValueError behind the last."""
        size = -(-inode.size // self._size) * self._size
        left = size
        for run in self._runs(inode, 0, inode.size):
            length = min(run.length, size - run.at)
            left -= length if run.offset is not None else 0
            yield run._replace(length=length)
        if left:
            raise ValueError(f"{left} of the {size} bytes of a directory are nowhere")

    def _load(self, node: int) -> _Inode:
        if not 0 < node <= self._inodes:
            raise ValueError(f"there is no inode {node}")
        group, index = divmod(node - 1, self._per_group)
        at = self._table(group) * self._size + index * self._inode_size
        raw = self._blocks.read(at, self._inode_size)
        mode, uid, low, seconds, gid, flags, block, high, uids, gids = _INODE.unpack_from(raw)
        used = 128 + int.from_bytes(raw[128:130], "little") if len(raw) > 130 else 128
        extra = _u32(raw, 136) if used >= 140 else 0
        ids = uid | uids << 16, gid | gids << 16
        size = low | high << 32
        return _Inode(mode, ids[0], size, seconds, extra, ids[1], flags, block, raw[used:])

    def _find_table(self, group: int) -> int:
        """The first block of a group's inodes."""
        per_block = self._size // self._descriptor
        number, index = divmod(group, per_block)
        if number < self._meta:
            block = SUPERBLOCK // self._size + 1 + number
        else:
            start = self._first + number * per_block * self._blocks_per_group
            block = start + self._has_superblock(number * per_block)
            block = max(block, SUPERBLOCK // self._size + 1)  # with clusters of 1 KiB blocks
        raw = self._blocks.read(block * self._size + index * self._descriptor, self._descriptor)
        high = _u32(raw, 40) if self._descriptor >= 64 else 0
        return _u32(raw, 8) | high << 32

    def _has_superblock(self, group: int) -> bool:
        return not self._sparse or group < 2 or any(_power(group, base) for base in (3, 5, 7))

    def _inline(self, inode: _Inode) -> bytes:
        """The contents that an inode holds itself: where pointers would be, and an attribute.

        Raises ValueError where they are fewer than the inode says.
        """
        data = inode.block + self._attribute(inode, 7, b"data")
        if len(data) < inode.size:
            raise ValueError(f"{len(data)} bytes in an inode of {inode.size}")
        return data

    def _attribute(self, inode: _Inode, wanted: int, called: bytes) -> bytes:
        """An extended attribute that lies within an inode; empty when there is none."""
        tail = inode.tail
        if tail[:4] != _ATTRIBUTES:
            return b""
        at = 4
        while at + _ATTRIBUTE.size <= len(tail) and tail[at]:
            length, index, offset, _, size, _ = _ATTRIBUTE.unpack_from(tail, at)
            name = tail[at + _ATTRIBUTE.size :][:length]
            if (index, name) == (wanted, called):
                return tail[4 + offset : 4 + offset + size]
            at += _ATTRIBUTE.size + (length + 3 & ~3)
        return b""


def _names(block: bytes) -> Iterator[tuple[bytes, int]]:
    """The entries of one block; a length of 0 or 65535 means 64 KiB.  Raises ValueError."""
    at = 0
    while at + 8 <= len(block):
        node, length, count = struct.unpack_from("<IHB", block, at)
        if length in (0, 0xFFFF) and len(block) == 65536:
            length = 65536
        if length < 8 or at + length > len(block) or (node and count > length - 8):
            raise ValueError(f"a directory entry of {length} bytes")
        if node:
            yield block[at + 8 : at + 8 + count], node
        at += length


def _u32(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")


def _power(number: int, base: int) -> bool:
    while number > 1 and number % base == 0:
        number //= base
    return number == 1
