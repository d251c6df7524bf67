"""Conversion of QEMU's screenshots to PNG."""

from __future__ import annotations

import re
import struct
import zlib

_PNG = b"\x89PNG\r\n\x1a\n"
_PPM = re.compile(rb"P6\s+([0-9]{1,5})\s+([0-9]{1,5})\s+255\s")


def png(picture: bytes, kind: str) -> bytes | None:
    """The picture as PNG; None for a format other than PNG and binary PPM (P6)."""
    if picture.startswith(_PNG):
        return picture
    ppm = _PPM.match(picture)
    if not ppm or "png" in kind:
        return None
    width, height = int(ppm[1]), int(ppm[2])
    pixels = picture[ppm.end() :]
    if len(pixels) != width * height * 3 or not pixels:
        return None
    row = width * 3
    lines = b"".join(b"\0" + pixels[at : at + row] for at in range(0, len(pixels), row))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return _PNG + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    checked = name + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))
