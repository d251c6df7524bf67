"""Extended attributes of ext: in the inode, in a separate block, and in separate inodes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from haulback.errors import HaulbackError
from haulback.filesystems.parsers.attributes import AttributeCollector, short_acl
from haulback.filesystems.parsers.filesystem import DAMAGE, error_text

_ENTRY = struct.Struct("<BBHIII")
_MAGIC: Final = b"\0\0\2\xea"  # 0xEA020000
_BLOCK_HEADER = 32
_PREFIXES: Final = {1: b"user.", 4: b"trusted.", 6: b"security.", 8: b"system.richacl"}
_ACCESS, _DEFAULT, _SYSTEM = 2, 3, 7
_INLINE: Final = (_SYSTEM, b"data")  # contents of a file within its inode
_MOST_VALUE = 64 * 1024  # bytes of a value in a separate inode


class ExtAttribute(NamedTuple):
    """An attribute; its value is in `value`, or in the contents of an `inode`."""

    space: int  # number of the name space
    name: bytes
    size: int
    value: bytes
    inode: int


def in_inode(tail: bytes) -> Iterator[ExtAttribute]:
    """Attributes in the bytes of an inode after its fields."""
    return _entries(tail[4:], 0) if tail[:4] == _MAGIC else iter(())


def in_block(raw: bytes) -> Iterator[ExtAttribute]:
    """Attributes in a block. Raises ValueError for a block without its magic number."""
    if raw[:4] != _MAGIC:
        raise ValueError("the block of extended attributes is damaged")
    return _entries(raw, _BLOCK_HEADER)


def inline_data(tail: bytes) -> bytes:
    """Contents of a file that are kept as an attribute; empty if there are none."""
    for item in in_inode(tail):
        if (item.space, item.name) == _INLINE:
            return item.value
    return b""


def collect(
    into: AttributeCollector, found: Iterator[ExtAttribute], contents: Callable[[int, int], bytes]
) -> None:
    """Collect attributes; `contents` returns bytes of an inode, by its number and their count."""
    try:
        for item in found:
            if (item.space, item.name) != _INLINE:
                _collect_one(into, item, contents)
    except (HaulbackError, *DAMAGE) as error:
        into.failed(error_text(error))


def _collect_one(
    into: AttributeCollector, item: ExtAttribute, contents: Callable[[int, int], bytes]
) -> None:
    value = item.value
    if item.inode:
        if item.size > _MOST_VALUE:
            raise ValueError(f"an extended attribute has an impossible size of {item.size} bytes")
        value = contents(item.inode, item.size)
    if item.space in (_ACCESS, _DEFAULT):
        into.add_list("access" if item.space == _ACCESS else "default", short_acl(value))
    elif item.space in _PREFIXES:
        into.add(_PREFIXES[item.space] + item.name, value)
    else:
        into.failed(f"an extended attribute of the unknown name space {item.space} is left out")


def _entries(raw: bytes, at: int) -> Iterator[ExtAttribute]:
    """Entries from `at` on; values are placed relative to the start of `raw`."""
    while at + _ENTRY.size <= len(raw) and raw[at : at + 4] != bytes(4):
        length, space, offset, inode, size, _ = _ENTRY.unpack_from(raw, at)
        name = raw[at + _ENTRY.size :][:length]
        if not inode and offset + size > len(raw):
            raise ValueError("an extended attribute exceeds its block")
        yield ExtAttribute(space, name, size, raw[offset : offset + size], inode)
        at += _ENTRY.size + (length + 3 & ~3)
