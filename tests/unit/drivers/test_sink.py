"""Raw images and packs are written in small pieces."""

import os
from pathlib import Path

import pytest

from haulback.drivers.sink import RawFile
from haulback.durable_files import DurableFiles
from haulback.units import KIB, MIB


def test_a_raw_image_is_written_in_pieces_of_at_most_256_kib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, pwrite = list[int](), os.pwrite

    def noted(handle: int, data: memoryview, offset: int) -> int:
        written.append(len(data))
        return pwrite(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", noted)
    sink, data = RawFile(tmp_path / "disk.raw", 2 * MIB), os.urandom(MIB + 5)
    sink.write_at(MIB - 5, data)
    sink.close()
    assert max(written) <= 256 * KIB
    assert (tmp_path / "disk.raw").read_bytes() == bytes(MIB - 5) + data


def test_a_durable_file_is_written_in_pieces_of_at_most_256_kib(tmp_path: Path) -> None:
    written = list[int]()

    class Noted:
        name = "pack"

        def write(self, data: memoryview) -> int:
            written.append(len(data))
            return min(len(data), 100 * KIB)  # like a signal that cuts a write short

    DurableFiles().write(Noted(), bytes(MIB))  # type: ignore[arg-type]
    assert max(written) <= 256 * KIB
    assert len(written) == 11
