"""The restart pages of an NTFS log tell whether the volume was in use."""

from __future__ import annotations

import struct

import pytest

from haulback.filesystems.parsers.journal_state import ntfs_is_stale

EMPTY = b"\xff" * 8192
NOBODY, CLEAN = 0xFFFF, 2


def page(written: int, client: int, flags: int, area: int = 48) -> bytes:
    head = b"RSTR".ljust(24, b"\0") + struct.pack("<H", area)
    raw = head.ljust(area, b"\0") + struct.pack("<Q4xHH", written, client, flags)
    return raw[:4096].ljust(4096, b"\0")


@pytest.mark.parametrize(
    ("log", "stale"),
    [
        (EMPTY, False),
        (page(5, NOBODY, 0) + page(4, 0, 0), False),
        (page(5, 0, CLEAN) + page(5, 0, CLEAN), False),
        (page(5, 0, 0) + page(4, NOBODY, 0), True),
        (page(4, NOBODY, 0) + page(5, 0, 0), True),
        (bytes(4096) + page(5, 0, 0), True),
        (bytes(8192), True),
        (page(5, 0, 0, area=4090), True),
        (b"RSTR", True),
        (b"", True),
    ],
)
def test_the_newest_page_decides(log: bytes, stale: bool):
    assert ntfs_is_stale(log) is stale
