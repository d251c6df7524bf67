"""Files that Windows compresses as a whole (CompactOS, `compact /exe`): the overlay filter WOF.

The contents are in the stream `WofCompressedData`: offsets of all chunks except the first, then the
chunks; a chunk that compression does not shrink is stored unchanged.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from haulback.errors import Unsupported
from haulback.filesystems.parsers import lzx, xpress
from haulback.units import KIB

STREAM: Final = "WofCompressedData".encode("utf-16-le")
TAG: Final = 0x80000017
_FILE = 2  # provider that keeps the contents in the file itself
_WIDE = 1 << 32  # size in bytes from which on offsets have 8 bytes


class Format(NamedTuple):
    """A compression: its name, the bytes of a chunk, and the function that decompresses a chunk."""

    name: str
    chunk: int
    unpacked: Callable[[bytes, int], bytes]


_FORMATS: Final = {
    0: Format("XPRESS4K", 4 * KIB, xpress.unpacked),
    1: Format("LZX", 32 * KIB, lzx.unpacked),
    2: Format("XPRESS8K", 8 * KIB, xpress.unpacked),
    3: Format("XPRESS16K", 16 * KIB, xpress.unpacked),
}


def format_of(reparse: bytes) -> Format:
    """The compression that a reparse point names. Raises Unsupported, struct.error."""
    version, provider = struct.unpack_from("<II", reparse, 8)
    if (version, provider) == (1, 1):
        raise Unsupported("its contents are in a WIM archive")
    if (version, provider) != (1, _FILE):
        raise Unsupported(f"the provider {provider} is unknown")
    own, algorithm = struct.unpack_from("<II", reparse, 16)
    if own != 1 or algorithm not in _FORMATS:
        raise Unsupported(f"the compression {algorithm} is unknown")
    return _FORMATS[algorithm]


class WofStream(NamedTuple):
    """Compressed contents: `read` returns bytes of the stream, `size` is that of the file."""

    format: Format
    size: int
    read: Callable[[int, int], bytes]

    def chunk(self, number: int) -> bytes:
        """Contents of a chunk. Raises ValueError, LookupError."""
        size = self.format.chunk
        count = -(-self.size // size)
        length = min(size, self.size - number * size)
        wide = 8 if self.size >= _WIDE else 4
        table = (count - 1) * wide
        low = self._offset(number - 1, wide) if number else 0
        if number + 1 < count:
            packed = self._offset(number, wide) - low
            if not 0 < packed <= size:
                raise ValueError(f"a compressed chunk has an impossible length of {packed} bytes")
            raw = self.read(table + low, packed)
            if len(raw) != packed:
                raise ValueError("the compressed stream ends within a chunk")
        else:
            raw = self.read(table + low, length)  # the last chunk ends with the stream
        return raw if len(raw) == length else self.format.unpacked(raw, length)

    def _offset(self, number: int, wide: int) -> int:
        raw = self.read(number * wide, wide)
        if len(raw) != wide:
            raise ValueError("the compressed stream lacks offsets of its chunks")
        return int.from_bytes(raw, "little")
