"""The system reads ahead in a raw image that is read in order."""

import os
from pathlib import Path

import pytest

from haulback.drivers.source import RawImage
from haulback.units import KIB, MIB


def test_only_reading_in_order_loads_an_image_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, advised = os.urandom(20 * MIB), list[tuple[int, int]]()
    (tmp_path / "disk.raw").write_bytes(data)
    image = RawImage(tmp_path / "disk.raw")
    monkeypatch.setattr(os, "posix_fadvise", lambda _, at, length, __: advised.append((at, length)))
    buffer = memoryview(bytearray(MIB))
    for at in range(0, 20 * MIB, MIB):
        image.read_into(at, buffer)
        assert buffer == data[at : at + MIB]
    ends = [at + length for at, length in advised]
    assert [at for at, _ in advised] == [MIB, *ends[:-1]]  # no byte is requested twice
    assert 4 <= len(advised) <= 6
    advised.clear()
    for at in (12 * MIB, 3 * MIB, 9 * MIB):
        image.read_into(at, buffer[: 64 * KIB])
    assert not advised
    image.close()
