"""The index of a folder of an NTFS: a tree of blocks with names and references to records."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Iterable, Iterator

from haulback.filesystems.reading.filesystem import DAMAGE
from haulback.filesystems.reading.names import unlike_dots
from haulback.filesystems.reading.ntfs_records import NUMBER, mended

_OWN = 16  # records before are the file system's own files
_DOS = 2  # the name space of 8.3 names whose file has a longer name too
_HAS_BLOCK, _LAST = 1, 2
_utf16 = codecs.getdecoder("utf-16-le")  # found now: later there are no files


def entries(
    root: bytes, used: bytes, count: int, step: int, block: Callable[[int], bytes]
) -> Iterator[tuple[bytes, int]]:
    """Names and references in the index that begins with `root` and goes on in `count` blocks.

    The tree counts blocks in steps of `step`.  Read are the blocks that the tree leads to, and
    those that the map `used` has besides: damage of one hides nothing of the others.  The first
    damage is raised behind all names.
    """
    damage: Exception | None = None
    left, seen, marked = [-1], set[int](), _marked(used, count)
    if count > 8 * len(used):
        damage = ValueError(f"an index of {count} blocks with a map of {8 * len(used)}")
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
    """Name, reference and the block below, of each entry behind the header of a node.

    The last entry has no name.  Raises ValueError behind the entries before the damage.
    """
    at, end = struct.unpack_from("<II", raw)
    if end > len(raw):
        raise ValueError("an index beyond its block")
    while at + 16 <= end:
        reference, length, key, flags = struct.unpack_from("<QHHH", raw, at)
        if length < 16 or at + length > end:
            raise ValueError(f"an index entry of {length} bytes")
        below = None
        if flags & _HAS_BLOCK:
            (below,) = struct.unpack_from("<Q", raw, at + length - 8)
        if flags & _LAST:
            yield b"", 0, below
            return
        name = _name(raw[at + 16 : at + min(length, 16 + key)])
        yield name if reference & NUMBER >= _OWN else b"", reference, below
        at += length
    raise ValueError("an index without an end")


def _name(key: bytes) -> bytes:
    """The name in a key; empty for a DOS name, whose file has a longer name too."""
    count, space = key[64], key[65]
    raw = key[66 : 66 + 2 * count]
    if len(raw) < 2 * count:
        raise ValueError(f"a name of {count} characters in an index entry")
    if space == _DOS:
        return b""
    return unlike_dots(_utf16(raw, "surrogatepass")[0].encode(errors="surrogatepass"))
