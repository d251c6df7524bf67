"""LZNT1, the compression of NTFS: chunks of 4 KiB, each compressed separately or stored.

Specification: MS-XCA, section 2.5.
"""

from __future__ import annotations

from typing import Final

CHUNK: Final = 4096
_PACKED = 0x8000  # header bit of a compressed chunk


def unpacked(raw: bytes, size: int) -> bytes:
    """Decompress data and fill it with zeros to `size` bytes. Raises ValueError, LookupError."""
    result, at = bytearray(), 0
    while at + 2 <= len(raw) and len(result) < size:
        header = raw[at] | raw[at + 1] << 8
        if not header:
            break
        chunk = raw[at + 2 : at + 3 + (header & 0xFFF)]
        if len(chunk) <= header & 0xFFF:
            raise ValueError("compressed data ends within a chunk")
        result += _chunk(chunk) if header & _PACKED else chunk
        result += bytes(-len(result) % CHUNK)
        at += 2 + len(chunk)
    return bytes(result[:size].ljust(size, b"\0"))


def _chunk(raw: bytes) -> bytes:
    """Decompress a chunk: groups of eight items, each group preceded by a byte of flags.

    A set flag marks a back reference, a clear one a literal byte.
    """
    result, at = bytearray(), 0
    while at < len(raw):
        flags = raw[at]
        at += 1
        if not flags:
            result += raw[at : at + 8]
            at += 8
            continue
        for bit in range(8):
            if at >= len(raw):
                break
            if flags >> bit & 1:
                _copy(result, raw[at] | raw[at + 1] << 8)
                at += 2
            else:
                result.append(raw[at])
                at += 1
    if len(result) > CHUNK:
        raise ValueError("a chunk of compressed data is too long")
    return bytes(result)


def _copy(result: bytearray, token: int) -> None:
    """Append the bytes of a back reference.

    The number of distance bits grows with the position in the chunk.
    """
    bits = max(4, (len(result) - 1).bit_length())
    back, length = (token >> 16 - bits) + 1, (token & (1 << 16 - bits) - 1) + 3
    start = len(result) - back
    if start < 0 or len(result) + length > CHUNK:
        raise ValueError("compressed data has a reference outside its chunk")
    if back >= length:
        result += result[start : start + length]
    else:
        result += (result[start:] * (length // back + 1))[:length]
