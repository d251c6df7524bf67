"""XPRESS with Huffman codes, a compression of Windows. Specification: MS-XCA, section 2.2."""

from __future__ import annotations

from haulback.filesystems.parsers.huffman import Bits, code, copied

_TABLE = 256  # bytes of the code lengths, four bits each


def unpacked(raw: bytes, size: int) -> bytes:
    """Decompress a chunk to `size` bytes. Raises ValueError, LookupError."""
    if len(raw) < _TABLE:
        raise ValueError("compressed data is too short for its code")
    lengths = [nibble for byte in raw[:_TABLE] for nibble in (byte & 15, byte >> 4)]
    width, table = code(lengths)
    bits, result, mask = Bits(raw, _TABLE), bytearray(), (1 << width) - 1
    while len(result) < size:
        bits.need(16)
        entry = table[bits.buffer >> bits.held - width & mask]
        bits.held -= entry & 31
        symbol = entry >> 5
        if symbol < 256:
            result.append(symbol)
            continue
        bits.need(16)
        length = symbol & 15
        far = symbol >> 4 & 15
        bits.held -= far
        back = 1 << far | bits.buffer >> bits.held & (1 << far) - 1
        if length == 15:
            length += bits.byte()
            if length == 270:
                length = bits.byte() | bits.byte() << 8
        copied(result, back, length + 3, size)
    return bytes(result)
