"""LZX, a compression of Windows, in its form with independent chunks of 32 KiB.

Specification: MS-PATCH, section 2, with the differences of WIM files: a chunk may have blocks of
the default size, and calls are translated as in a file of 12,000,000 bytes.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from haulback.filesystems.parsers.huffman import Bits, Code, code, copied
from haulback.units import KIB

_VERBATIM, _ALIGNED, _STORED = 1, 2, 3
_SLOTS = 30  # ranges of distances within 32 KiB
_MAIN, _LENGTHS = 256 + 8 * _SLOTS, 249  # numbers of symbols in the codes
_EXTRA = [0, 0, 0, 0, *(slot // 2 - 1 for slot in range(4, _SLOTS))]
_BASES = [sum(1 << extra for extra in _EXTRA[:slot]) - 2 for slot in range(_SLOTS)]
_TRANSLATED = 12_000_000
_CALL = 0xE8


class _Block(NamedTuple):
    """A compressed block: its end in the chunk, and its codes."""

    end: int
    main: Code
    lengths: Code
    aligned: Code | None


def unpacked(raw: bytes, size: int) -> bytes:
    """Decompress a chunk to `size` bytes. Raises ValueError, LookupError."""
    chunk = _Chunk(raw, size)
    while len(chunk.result) < size:
        chunk.block()
    return _calls_restored(chunk.result)


class _Chunk:
    """A chunk that is being decompressed; a block stores code lengths as differences from the last
    block.
    """

    def __init__(self, raw: bytes, size: int) -> None:
        self._bits, self._size = Bits(raw), size
        self._main, self._lengths = [0] * _MAIN, [0] * _LENGTHS
        self._recent = [1, 1, 1]
        self.result = bytearray()

    def block(self) -> None:
        """Decompress the next block."""
        bits = self._bits
        kind = bits.take(3)
        size = 32 * KIB if bits.take(1) else bits.take(16)
        end = len(self.result) + size
        if not size or end > self._size or bits.at > len(bits.raw):
            raise ValueError("compressed data has a block of an impossible size")
        if kind == _STORED:
            self._stored(size)
        elif kind in (_VERBATIM, _ALIGNED):
            aligned = code([bits.take(3) for _ in range(8)]) if kind == _ALIGNED else None
            self._read_lengths(self._main, 0, 256)
            self._read_lengths(self._main, 256, _MAIN)
            self._read_lengths(self._lengths, 0, _LENGTHS)
            self._compressed(_Block(end, code(self._main), code(self._lengths), aligned))
        else:
            raise ValueError(f"compressed data has a block of the unknown type {kind}")

    def _stored(self, size: int) -> None:
        bits = self._bits
        bits.need(1)
        at = bits.at
        bits.held = bits.buffer = 0
        self._recent = list(struct.unpack_from("<3I", bits.raw, at))
        part = bits.raw[at + 12 : at + 12 + size]
        if len(part) < size or at + 12 + size > len(bits.raw) - 4:
            raise ValueError("compressed data ends within a block")
        self.result += part
        bits.at = at + 12 + size + size % 2

    def _read_lengths(self, lengths: list[int], low: int, high: int) -> None:
        """Read the changes of the code lengths from `low` to before `high`."""
        bits = self._bits
        tree, at = code([bits.take(4) for _ in range(20)]), low
        while at < high:
            symbol, count = bits.symbol(tree), 1
            if symbol == 17:
                count, value = 4 + bits.take(4), 0
            elif symbol == 18:
                count, value = 20 + bits.take(5), 0
            elif symbol == 19:
                count = 4 + bits.take(1)
                value = (lengths[at] - bits.symbol(tree)) % 17
            else:
                value = (lengths[at] - symbol) % 17
            if at + count > high:
                raise ValueError("compressed data has too many code lengths")
            lengths[at : at + count] = [value] * count
            at += count

    def _compressed(self, block: _Block) -> None:
        bits, result, (width, table) = self._bits, self.result, block.main
        mask, end = (1 << width) - 1, block.end
        while len(result) < end:
            bits.need(width)
            entry = table[bits.buffer >> bits.held - width & mask]
            bits.held -= entry & 31
            symbol = entry >> 5
            if symbol < 256:
                result.append(symbol)
                continue
            length = symbol & 7
            if length == 7:
                length += bits.symbol(block.lengths)
            back = self._back(symbol - 256 >> 3, block.aligned)
            copied(result, back, length + 2, end)

    def _back(self, slot: int, aligned: Code | None) -> int:
        """Distance of a match: one of the last three, or read from the stream."""
        recent, bits = self._recent, self._bits
        if slot < 3:
            recent[0], recent[slot] = recent[slot], recent[0]
            return recent[0]
        extra, back = _EXTRA[slot], _BASES[slot]
        if aligned and extra >= 3:
            back += bits.take(extra - 3) << 3
            back += bits.symbol(aligned)
        else:
            back += bits.take(extra)
        recent[:] = back, recent[0], recent[1]
        return back


def _calls_restored(data: bytearray) -> bytes:
    """Undo the translation of x86 calls, whose targets were made absolute."""
    at = data.find(_CALL)
    while 0 <= at < len(data) - 10:
        (target,) = struct.unpack_from("<i", data, at + 1)
        if -at <= target < 0:
            struct.pack_into("<i", data, at + 1, target + _TRANSLATED)
        elif 0 <= target < _TRANSLATED:
            struct.pack_into("<i", data, at + 1, target - at)
        at = data.find(_CALL, at + 5)
    return bytes(data)
