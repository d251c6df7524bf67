"""CRC-32C (Castagnoli), the checksum of the metadata of ext4 and XFS.

The standard library has no such function; the tables make four bytes a step, which takes about
6 microseconds for an inode.
"""

from __future__ import annotations

import struct
from array import array
from functools import cache
from typing import Final

_POLYNOMIAL, START = 0x82F63B78, 0xFFFFFFFF
DIFFERS: Final = "the file system is damaged: the checksum of its inode differs from its contents"


def crc32c(data: bytes, start: int = START) -> int:
    """The register after `data`; the checksum of XFS is its complement, that of ext4 is this."""
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
    """Registers after four bytes, by the low and by the high half; after one byte, by the byte."""
    single = array("I", [_shifted(value) for value in range(256)])

    def after_two(value: int) -> int:
        value = single[value & 0xFF] ^ value >> 8
        return single[value & 0xFF] ^ value >> 8

    high = array("I", map(after_two, range(1 << 16)))
    low = array("I", (after_two(after) for after in high))
    return low, high, single


def _shifted(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value
