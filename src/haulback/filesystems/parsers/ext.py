"""ext2, ext3 and ext4 reader: inodes, directories and attributes.

Specification: https://docs.kernel.org/filesystems/ext4/
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import NamedTuple

from haulback.errors import Unsupported
from haulback.filesystems.parsers.attributes import AttributeCollector
from haulback.filesystems.parsers.blocks import BlockRange, Blocks, Span
from haulback.filesystems.parsers.checksums import DIFFERS
from haulback.filesystems.parsers.ext_attributes import collect, in_block, in_inode, inline_data
from haulback.filesystems.parsers.ext_checksums import ExtChecksums
from haulback.filesystems.parsers.ext_journal import ExtJournal, Replayed
from haulback.filesystems.parsers.ext_maps import ExtentTree, pointers
from haulback.filesystems.parsers.filesystem import (
    DAMAGE,
    FileAttributes,
    FileStatus,
    Run,
    error_text,
    gathered,
    given,
    laid,
    listed,
    ranges,
)
from haulback.filesystems.parsers.superblocks import ext_refused
from haulback.filesystems.records import EntryHint, FilePiece
from haulback.units import GIB, KIB

SUPERBLOCK = 1024
MAGIC = b"\x53\xef"
_RECOVER, _META_BG, _EXTENTS, _64BIT, _INLINE = 0x4, 0x10, 0x40, 0x80, 0x8000
# Features that do not change the layout read here: filetype, mmp, flex_bg, ea_inode, dirdata,
# csum_seed, largedir, encrypt, casefold.
_HARMLESS = 0x2 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x4000 | 0x10000 | 0x20000
_KNOWN = _RECOVER | _META_BG | _EXTENTS | _64BIT | _INLINE | _HARMLESS
_WINDOW = 16 * GIB  # bytes of a file whose block pointers are read for one answer
_COMPRESSED, _ENCRYPTED, _IN_EXTENTS, _IN_INODE = 0x4, 0x800, 0x80000, 0x10000000
_HUGE = 0x40000  # flag: the inode counts blocks of the file system, not of 512 bytes
_INODE = struct.Struct("<HHI8xI4xHHII4x60s4xII4xHHHH")
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_KEPT = "the file is {} by the file system ({})"
_FEATURES = {
    _COMPRESSED: "compression",
    _ENCRYPTED: "encrypt",
    0x100000: "verity",
    0x40000000: "casefold",
    _IN_INODE: "inline_data",
}


class _Inode(NamedTuple):
    mode: int
    uid: int
    size: int
    seconds: int
    extra: int
    gid: int
    links: int
    stored: int  # bytes of its blocks
    flags: int
    block: bytes
    attributes: int  # block of its extended attributes
    tail: bytes  # bytes after the fields, which hold attributes
    checks: ExtChecksums  # checksums of the blocks of this inode
    is_damaged: bool  # the stored checksum differs


class Ext:
    """ext file system at the start of `blocks`; nodes are inode numbers."""

    root = 2

    def __init__(self, blocks: Blocks) -> None:
        self._blocks, raw = blocks, blocks.read(SUPERBLOCK, 1024)
        self._inodes, _, _, _, _, first, shift = struct.unpack_from("<7I", raw)
        self._per_group, revision = _u32(raw, 40), _u32(raw, 76)
        incompatible = _u32(raw, 96)
        if raw[56:58] != MAGIC or shift > 6 or not self._per_group:
            raise ValueError("the superblock is missing")
        if incompatible & ~_KNOWN:
            raise Unsupported(f"ext4 with {ext_refused(incompatible & ~_KNOWN)} cannot be read")
        self._size = SUPERBLOCK << shift
        self._journal = _u32(raw, 224) if incompatible & _RECOVER else 0
        self._inode_size = int.from_bytes(raw[88:90], "little") if revision else 128
        descriptor = int.from_bytes(raw[254:256], "little") if incompatible & _64BIT else 32
        if self._inode_size < 128 or descriptor < 32:
            raise ValueError("the superblock has impossible sizes")
        self._descriptor, self._first = descriptor, first
        self._meta = _u32(raw, 260) if incompatible & _META_BG else 1 << 40
        self._blocks_per_group = _u32(raw, 32)
        self._sparse = bool(_u32(raw, 100) & 1)
        self._checks = ExtChecksums.of(raw)
        self._table = lru_cache(64)(self._find_table)
        self._inode = lru_cache(4096)(self._load)

    @classmethod
    def opened(cls, blocks: Blocks) -> Ext:
        """Open the file system; a journal that needs recovery is applied in memory."""
        result = cls(blocks)
        if not result._journal:
            return result
        inode, parts, end = result._inode(result._journal), [], 0
        for run in result._runs(inode, 0, inode.size):
            if run.offset is None or run.at != end:
                raise ValueError("the journal has holes")
            parts.append(BlockRange(blocks, run.offset, run.length))
            end += run.length
        return cls(Replayed(blocks, ExtJournal.read(Span(parts))))

    def status(self, node: int) -> FileStatus:
        inode = self._inode(node)
        seconds = inode.seconds - (inode.seconds >> 31 << 32)
        seconds += (inode.extra & 3) << 32
        parts, fine = divmod(min(inode.extra >> 2, 999_999_999), 1_000_000)
        modified = seconds * 1000 + parts
        reason = "" if stat.S_ISDIR(inode.mode) else _kept(inode)
        if inode.is_damaged:
            reason = DIFFERS
        hints = EntryHint.INSIDE if inode.flags & _IN_INODE else EntryHint(0)
        if inode.stored < inode.size and not hints:
            hints |= EntryHint.HOLES
        if inode.attributes or any(inode.tail[4:8]):
            hints |= EntryHint.ATTRIBUTES
        ids = inode.uid, inode.gid
        device = _device(inode) if stat.S_IFMT(inode.mode) in _DEVICES else (0, 0)
        return FileStatus(
            inode.mode, inode.size, modified, *ids, reason, inode.links, hints, fine, device
        )

    def names(self, node: int) -> Iterator[tuple[bytes, int]]:
        inode = self._inode(node)
        if inode.flags & _IN_INODE:
            data = self._inline(inode)
            yield from _names(data[4:60])
            yield from _names(data[60:])
        else:
            read = partial(_checked_names, inode.checks)
            yield from listed(self._blocks, self._mapped(inode), self._size, read)
        if inode.is_damaged:
            raise ValueError("the checksum of the folder's inode differs")

    def target(self, node: int) -> bytes:
        inode = self._inode(node)
        if inode.flags & _ENCRYPTED:
            raise Unsupported(_kept(inode))
        if inode.flags & _IN_INODE:
            return self._inline(inode)[: inode.size]
        if inode.size < 60 and not inode.flags & _IN_EXTENTS:
            return inode.block[: inode.size]
        return gathered(self._blocks, self._runs(inode, 0, inode.size), inode.size)

    def pieces(self, node: int, offset: int, count: int) -> Iterator[FilePiece]:
        inode = self._inode(node)
        if inode.flags & _IN_INODE:
            return given(self._inline(inode), offset, count)
        return laid(self._blocks, self._runs(inode, offset, count), offset, count)

    def stored(self, node: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
        inode = self._inode(node)
        if inode.flags & _IN_INODE:
            yield 0, len(self._inline(inode))
            return
        end = size
        if not inode.flags & _IN_EXTENTS:  # each block pointer is checked
            end = min(size, offset + _WINDOW)
        yield from ranges(self._runs(inode, offset, end - offset))
        if end < size:
            yield end, 0

    def extras(self, node: int) -> FileAttributes:
        inode, found = self._inode(node), AttributeCollector()
        collect(found, in_inode(inode.tail), self._value)
        if inode.attributes:
            try:
                block = in_block(self._blocks.read(inode.attributes * self._size, self._size))
                collect(found, block, self._value)
            except DAMAGE as error:
                found.failed(error_text(error))
        return found.extras(tuple(name for bit, name in _FEATURES.items() if inode.flags & bit))

    def _value(self, node: int, size: int) -> bytes:
        """Contents of an inode that holds an extended attribute."""
        inode = self._inode(node)
        if inode.size < size:
            raise ValueError("an extended attribute is longer than its inode")
        return gathered(self._blocks, self._runs(inode, 0, size), size, 64 * KIB)

    def _runs(self, inode: _Inode, offset: int, count: int) -> Iterator[Run]:
        low, high = offset // self._size, -(-(offset + count) // self._size)
        if inode.flags & _IN_EXTENTS:
            tree = ExtentTree(self._blocks, self._size, inode.checks)
            return tree.runs(inode.block, low, high)
        return pointers(self._blocks, self._size, inode.block, low, high)

    def _mapped(self, inode: _Inode) -> Iterator[Run]:
        """Runs of a directory. Raises ValueError after the last run if the directory has holes."""
        size = -(-inode.size // self._size) * self._size
        left = size
        for run in self._runs(inode, 0, inode.size):
            length = min(run.length, size - run.at)
            left -= length if run.offset is not None else 0
            yield run._replace(length=length)
        if left:
            raise ValueError(f"{left} of {size} bytes of the directory are not mapped")

    def _load(self, node: int) -> _Inode:
        if not 0 < node <= self._inodes:
            raise ValueError(f"inode {node} does not exist")
        group, index = divmod(node - 1, self._per_group)
        at = self._table(group) * self._size + index * self._inode_size
        raw = self._blocks.read(at, self._inode_size)
        mode, uid, low, seconds, gid, links, count, flags, block, attributes, high, *highs = (
            _INODE.unpack_from(raw)
        )
        counts, blocks, uids, gids = highs
        used = 128 + int.from_bytes(raw[128:130], "little") if len(raw) > 130 else 128
        extra = _u32(raw, 136) if used >= 140 else 0
        ids = uid | uids << 16, gid | gids << 16
        size = low | high << 32
        unit = self._size if flags & _HUGE else 512
        stored = (count | counts << 32) * unit
        checks = self._checks.of_inode(node, raw)
        return _Inode(
            mode, ids[0], size, seconds, extra, ids[1], links, stored, flags, block,
            attributes | blocks << 32, raw[used:], checks, not checks.inode_matches(raw),
        )  # fmt: skip

    def _find_table(self, group: int) -> int:
        """First block of a group's inode table."""
        per_block = self._size // self._descriptor
        number, index = divmod(group, per_block)
        if number < self._meta:
            block = SUPERBLOCK // self._size + 1 + number
        else:
            start = self._first + number * per_block * self._blocks_per_group
            block = start + self._has_superblock(number * per_block)
            # With bigalloc and blocks of 1 KiB the first data block is 0, but the superblock is in
            # block 1, and the descriptors follow it.
            block = max(block, SUPERBLOCK // self._size + 1)
        raw = self._blocks.read(block * self._size + index * self._descriptor, self._descriptor)
        high = _u32(raw, 40) if self._descriptor >= 64 else 0
        return _u32(raw, 8) | high << 32

    def _has_superblock(self, group: int) -> bool:
        return not self._sparse or group < 2 or any(_power(group, base) for base in (3, 5, 7))

    def _inline(self, inode: _Inode) -> bytes:
        """Inline data of an inode: the space of the block pointers, then an attribute.

        Raises ValueError when it is shorter than the inode's size.
        """
        data = inode.block + inline_data(inode.tail)
        if len(data) < inode.size:
            raise ValueError(f"the inode holds {len(data)} of its {inode.size} bytes")
        return data


def _kept(inode: _Inode) -> str:
    """The reason why the contents of an inode cannot be read; empty if they can."""
    if inode.flags & _ENCRYPTED:
        return _KEPT.format("encrypted", "fscrypt")
    return _KEPT.format("compressed", "e2compr") if inode.flags & _COMPRESSED else ""


def _device(inode: _Inode) -> tuple[int, int]:
    """Numbers of a device, in the first block pointer (8 bits each) or in the second."""
    old, new = struct.unpack_from("<II", inode.block)
    if old:
        return old >> 8 & 0xFF, old & 0xFF
    return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00


def _checked_names(checks: ExtChecksums, block: bytes) -> Iterator[tuple[bytes, int]]:
    """Entries of a directory block. Raises ValueError at its end if its checksum differs."""
    yield from _names(block)
    if not checks.names_match(block):
        raise ValueError("the checksum of a block of the folder differs")


def _names(block: bytes) -> Iterator[tuple[bytes, int]]:
    """Entries of a directory block. Raises ValueError for a damaged entry.

    In blocks of 64 KiB a length of 0 or 65535 means 64 KiB.
    """
    at = 0
    while at + 8 <= len(block):
        node, length, count = struct.unpack_from("<IHB", block, at)
        if length in (0, 0xFFFF) and len(block) == 65536:
            length = 65536
        if length < 8 or at + length > len(block) or (node and count > length - 8):
            raise ValueError(f"a directory entry has an impossible length of {length} bytes")
        if node:
            yield block[at + 8 : at + 8 + count], node
        at += length


def _u32(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")


def _power(number: int, base: int) -> bool:
    while number > 1 and number % base == 0:
        number //= base
    return number == 1
