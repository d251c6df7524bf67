"""Cutting a disk by content: FastCDC inside aligned 1 MiB segments, 64 KiB on average."""

from __future__ import annotations

from pyfastcdc import FastCDC

from haulback.units import KIB, MIB

SEGMENT_BYTES = MIB
CHUNK_BYTES_MIN, CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX = 16 * KIB, 64 * KIB, 256 * KIB

_fastcdc = FastCDC(avg_size=CHUNK_BYTES_AVERAGE, min_size=CHUNK_BYTES_MIN, max_size=CHUNK_BYTES_MAX)


def cut(data: memoryview) -> list[memoryview]:
    """The chunks of `data` in order, without gaps; equal data is cut in the same way."""
    pieces, start = [], 0
    for piece in _fastcdc.cut_buf(data):
        end = start + piece.length
        pieces.append(data[start:end])
        start = end
    return pieces
