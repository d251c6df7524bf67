"""Canonical Huffman codes, and streams of bits in words of 16 bits, as XPRESS and LZX use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Code(NamedTuple):
    """A code as a table: `width` bits of the stream are the index of an entry.

    An entry is the symbol times 32, plus the length of its code word.
    """

    width: int
    table: list[int]


def code(lengths: Sequence[int]) -> Code:
    """The code whose symbols have code words of these lengths; 0 for an absent symbol.

    Raises ValueError for an incomplete or overfull code, unless the code is empty.
    """
    width = max(lengths, default=0)
    if not width:
        return Code(0, [])
    if sum(1 << width - length for length in lengths if length) != 1 << width:
        raise ValueError("compressed data has an impossible Huffman code")
    used = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    table: list[int] = []
    for length, symbol in used:
        table += [symbol << 5 | length] * (1 << width - length)
    return Code(width, table)


class Bits:
    """A stream of bits: words of 16 bits, little endian, the highest bit of each word first.

    Beyond the end of the data the stream has zeros.
    """

    def __init__(self, raw: bytes, at: int = 0) -> None:
        self.raw, self.at = raw + bytes(4), at
        self.buffer, self.held = 0, 0

    def need(self, count: int) -> None:
        """Hold at least `count` bits (up to 16)."""
        if self.held < count:
            low = self.raw[self.at : self.at + 2]
            self.buffer = (self.buffer & (1 << self.held) - 1) << 16 | int.from_bytes(low, "little")
            self.at += 2
            self.held += 16

    def take(self, count: int) -> int:
        """The next `count` bits, up to 17."""
        if count > 16:
            return self.take(16) << count - 16 | self.take(count - 16)
        self.need(count)
        self.held -= count
        return self.buffer >> self.held & (1 << count) - 1

    def symbol(self, tree: Code) -> int:
        """The next symbol of a code. Raises LookupError for an empty code."""
        self.need(tree.width)
        entry = tree.table[self.buffer >> self.held - tree.width & (1 << tree.width) - 1]
        self.held -= entry & 31
        return entry >> 5

    def byte(self) -> int:
        """The next byte after the words that were taken into the buffer."""
        self.at += 1
        return self.raw[self.at - 1] if self.at <= len(self.raw) else 0


def copied(result: bytearray, back: int, length: int, most: int) -> None:
    """Append `length` bytes from `back` bytes before the end. Raises ValueError for a distance
    beyond the start.
    """
    start = len(result) - back
    if start < 0 or back <= 0 or len(result) + length > most:
        raise ValueError("compressed data has a reference outside its chunk")
    if back >= length:
        result += result[start : start + length]
    else:
        result += (result[start:] * (length // back + 1))[:length]
