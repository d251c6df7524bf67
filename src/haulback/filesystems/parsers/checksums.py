"""CRC-32C (Castagnoli), the checksum of the metadata of ext4 and XFS.

The standard library has no such function; the tables process four bytes in a step, so that an inode
takes about 6 microseconds.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from functools import cache
from typing import Final

_POLYNOMIAL, START = 0x82F63B78, 0xFFFFFFFF
DIFFERS: Final = "the file system is damaged: the checksum of its inode differs from its contents"


def crc32c(data: bytes, start: int = START) -> int:
    """The register after `data`, which is the checksum of ext4; the checksum of XFS is its
    complement.
    """
    low, high, single = _tables()
    register = start
    for word in struct.unpack_from(f"<{len(data) // 4}I", data):
        register ^= word
        register = low[register & 0xFFFF] ^ high[register >> 16]
    for byte in data[len(data) & ~3 :]:
        register = single[(register ^ byte) & 0xFF] ^ register >> 8
    return register


@cache
def _tables() -> tuple[array[int], array[int], array[int]]:
    """Tables of registers: for the low and the high half of four bytes, and for a single byte."""
    single = _linear([_shifted(1 << bit, 8) for bit in range(8)])
    low = _linear([_shifted(1 << bit, 32) for bit in range(16)])
    high = _linear([_shifted(1 << bit, 16) for bit in range(16)])
    return low, high, single


def _linear(units: Sequence[int]) -> array[int]:
    """The registers of all values, from the registers of their bits.

    The register of the XOR of two values is the XOR of their registers, so each bit doubles the
    table by one XOR of a long number; a loop over the values would delay the first answer of a
    reader by 20 ms.
    """
    size = array("I").itemsize
    table = bytes(size)
    for unit in units:
        summand = unit.to_bytes(size, sys.byteorder) * (len(table) // size)
        doubled = int.from_bytes(table, "little") ^ int.from_bytes(summand, "little")
        table += doubled.to_bytes(len(table), "little")
    return array("I", table)


def _shifted(value: int, bits: int) -> int:
    for _ in range(bits):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value
