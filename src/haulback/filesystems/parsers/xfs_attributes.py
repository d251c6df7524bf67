"""Extended attributes of XFS: in the inode, or in the leaves of a tree in the attribute fork."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from haulback.errors import HaulbackError, Unsupported
from haulback.filesystems.parsers.attributes import AttributeCollector, long_acl
from haulback.filesystems.parsers.filesystem import DAMAGE, error_text

_LOCAL, _ROOT, _SECURE, _PARENT, _INCOMPLETE = 0x01, 0x02, 0x04, 0x08, 0x80
_LISTS = {b"SGI_ACL_FILE": "access", b"SGI_ACL_DEFAULT": "default"}
_NODE_4, _NODE_5, _LEAF_4, _LEAF_5 = 0xFEBE, 0x3EBE, 0xFBEE, 0x3BEE
_REMOTE = b"XARM"
_REMOTE_HEADER = 56  # bytes at the start of each block of a value, in version 5
_DEEPEST, _MOST_VALUE, _MOST_LEAVES = 5, 64 * 1024, 2048


class XfsAttribute(NamedTuple):
    """An attribute and its value, in the name space that `flags` select."""

    flags: int
    name: bytes
    value: bytes


class AttributeBlocks(NamedTuple):
    """The attribute fork: `read` returns the block with a number; blocks have `size` bytes."""

    read: Callable[[int], bytes]
    size: int
    version_5: bool


def collect(into: AttributeCollector, attributes: Iterator[XfsAttribute]) -> None:
    """Collect attributes under their names in Linux."""
    try:
        for item in attributes:
            if item.flags & (_PARENT | _INCOMPLETE):
                continue
            if item.flags & _ROOT and item.name in _LISTS:
                into.add_list(_LISTS[item.name], long_acl(item.value))
                continue
            prefix = b"trusted." if item.flags & _ROOT else b"user."
            into.add((b"security." if item.flags & _SECURE else prefix) + item.name, item.value)
    except (HaulbackError, *DAMAGE) as error:
        into.failed(error_text(error))


def short(raw: bytes) -> Iterator[XfsAttribute]:
    """Attributes in the inode itself."""
    total, count = struct.unpack_from(">HB", raw)
    at = 4
    for _ in range(count):
        length, size, flags = raw[at : at + 3]
        end = at + 3 + length + size
        if end > min(total, len(raw)):
            raise ValueError("the extended attributes exceed their inode")
        yield XfsAttribute(flags, raw[at + 3 : at + 3 + length], raw[at + 3 + length : end])
        at = end


def in_blocks(fork: AttributeBlocks) -> Iterator[XfsAttribute]:
    """Attributes in the leaves, from the first on."""
    number, seen = _first_leaf(fork), set[int]()
    while True:
        if len(seen) == _MOST_LEAVES:
            raise Unsupported(f"its extended attributes take more than {_MOST_LEAVES} blocks")
        if number in seen:
            raise ValueError("the extended attributes lead into themselves")
        seen.add(number)
        raw = fork.read(number)
        if _magic(raw) not in (_LEAF_4, _LEAF_5):
            raise ValueError("a block of extended attributes has a wrong magic number")
        yield from _in_leaf(fork, raw)
        (number,) = struct.unpack_from(">I", raw)
        if not number:
            return


def _first_leaf(fork: AttributeBlocks) -> int:
    number = 0
    for _ in range(_DEEPEST):
        raw = fork.read(number)
        if _magic(raw) not in (_NODE_4, _NODE_5):
            return number
        start = 64 if _magic(raw) == _NODE_5 else 16
        (number,) = struct.unpack_from(">I", raw, start + 4)
    raise ValueError("the tree of extended attributes is too deep")


def _magic(raw: bytes) -> int:
    return int.from_bytes(raw[8:10], "big")


def _in_leaf(fork: AttributeBlocks, raw: bytes) -> Iterator[XfsAttribute]:
    at, head = (56, 80) if _magic(raw) == _LEAF_5 else (12, 32)
    (count,) = struct.unpack_from(">H", raw, at)
    for number in range(count):
        place, flags = struct.unpack_from(">HB", raw, head + 8 * number + 4)
        if flags & _LOCAL:
            size, length = struct.unpack_from(">HB", raw, place)
            name = raw[place + 3 : place + 3 + length]
            value = raw[place + 3 + length : place + 3 + length + size]
        else:
            block, size, length = struct.unpack_from(">IIB", raw, place)
            name = raw[place + 9 : place + 9 + length]
            if size > _MOST_VALUE:
                raise ValueError(f"an extended attribute has an impossible size of {size} bytes")
            is_wanted = not flags & (_PARENT | _INCOMPLETE)
            value = _remote(fork, block, size) if is_wanted else bytes(size)
        if len(name) < length or len(value) < size:
            raise ValueError("an extended attribute exceeds its block")
        yield XfsAttribute(flags, name, value)


def _remote(fork: AttributeBlocks, block: int, size: int) -> bytes:
    """A value in separate blocks."""
    result = bytearray()
    while len(result) < size:
        raw = fork.read(block)
        if fork.version_5:
            if raw[:4] != _REMOTE:
                raise ValueError("the value of an extended attribute is damaged")
            raw = raw[_REMOTE_HEADER:]
        result += raw[: size - len(result)]
        block += 1
    return bytes(result)
