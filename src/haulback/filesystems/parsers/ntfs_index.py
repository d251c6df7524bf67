"""Folder index of NTFS: a tree of blocks with names and references to file records."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Iterable, Iterator

from haulback.filesystems.parsers.filesystem import DAMAGE
from haulback.filesystems.parsers.names import unlike_dots
from haulback.filesystems.parsers.ntfs_records import NUMBER, mended

_OWN = 16  # records below this number are system files
_DOS = 2  # name space of 8.3 names of files that also have a long name
_HAS_BLOCK, _LAST = 1, 2
_utf16 = codecs.getdecoder("utf-16-le")  # imported now, because the sandbox cannot open files


def entries(
    root: bytes, used: bytes, count: int, step: int, block: Callable[[int], bytes]
) -> Iterator[tuple[bytes, int]]:
    """Names and references in an index with the root node `root` and `count` further blocks.

    The tree numbers its blocks in steps of `step`. Blocks are read that the tree refers to, and
    also those marked in the bitmap `used`, so that a damaged block hides only its own entries. The
    first damage is raised after the last name.
    """
    damage: Exception | None = None
    left, seen, marked = [-1], set[int](), _marked(used, count)
    if count > 8 * len(used):
        damage = ValueError(f"an index of {count} blocks has a bitmap for {8 * len(used)}")
    while (number := left.pop() if left else next(marked, None)) is not None:
        if number in seen:
            continue
        seen.add(number)
        try:
            raw = root if number < 0 else mended(block(number), b"INDX")[24:]
            for name, reference, below in _node(raw):
                if below is not None:
                    left.append(below // step)
                if name:
                    yield name, reference
        except DAMAGE as error:
            damage = damage or error
    if damage:
        raise damage


def _marked(used: bytes, count: int) -> Iterator[int]:
    for number in range(min(count, 8 * len(used))):
        if used[number // 8] >> number % 8 & 1:
            yield number


def _node(raw: bytes) -> Iterable[tuple[bytes, int, int | None]]:
    """Entries of a node: name, reference, and the block below.

    The last entry has an empty name. Raises ValueError after the entries before the damage.
    """
    at, end = struct.unpack_from("<II", raw)
    if end > len(raw):
        raise ValueError("an index node exceeds its block")
    while at + 16 <= end:
        reference, length, key, flags = struct.unpack_from("<QHHH", raw, at)
        if length < 16 or at + length > end:
            raise ValueError(f"an index entry has an impossible length of {length} bytes")
        below = None
        if flags & _HAS_BLOCK:
            (below,) = struct.unpack_from("<Q", raw, at + length - 8)
        if flags & _LAST:
            yield b"", 0, below
            return
        name = _name(raw[at + 16 : at + min(length, 16 + key)])
        yield name if reference & NUMBER >= _OWN else b"", reference, below
        at += length
    raise ValueError("an index node has no last entry")


def _name(key: bytes) -> bytes:
    """Name in an index key; empty for a DOS name, whose file has a long name too."""
    count, space = key[64], key[65]
    raw = key[66 : 66 + 2 * count]
    if len(raw) < 2 * count:
        raise ValueError(f"a name of {count} characters exceeds its index entry")
    if space == _DOS:
        return b""
    return unlike_dots(_utf16(raw, "surrogatepass")[0].encode(errors="surrogatepass"))
