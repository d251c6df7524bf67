"""Raw images are written past the page cache where possible, images and packs in small pieces."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.drivers import direct_writes
from haulback.drivers.sink import RawFile
from haulback.durable_files import DurableFiles
from haulback.errors import OutOfSpace
from haulback.units import KIB, MIB

_LENGTH = st.integers(0, 100).map(lambda number: number * 4 * KIB) | st.integers(0, 400 * KIB)
_LENGTHS = st.lists(st.tuples(_LENGTH, _LENGTH), max_size=5)  # gaps and runs


@pytest.fixture
def as_if_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Direct writers through the page cache, which every file system offers."""

    def opened(path: Path, handle: int) -> direct_writes.DirectWriter:
        return direct_writes.DirectWriter(os.open(path, os.O_WRONLY), handle)

    monkeypatch.setattr(direct_writes.DirectWriter, "of", opened)


def test_a_raw_image_is_written_in_pieces_of_at_most_256_kib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_writes, "_KINDS", frozenset())
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


@settings(max_examples=40)
@given(lengths=_LENGTHS, is_direct=st.booleans())
def test_an_image_has_the_written_bytes_wherever_they_begin_and_end(
    lengths: list[tuple[int, int]], is_direct: bool
) -> None:
    wanted, at = bytearray(4 * MIB + 17), 0
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if not is_direct:
            patch.setattr(direct_writes, "_KINDS", frozenset())
        path = Path(folder) / "disk.raw"
        sink = RawFile(path, len(wanted))
        for gap, length in lengths:
            data = os.urandom(length)
            sink.write_at(at + gap, data)
            wanted[at + gap : at + gap + length] = data
            at += gap + length
        sink.close()
        sink.close()
        assert path.read_bytes() == wanted


def test_whole_pages_are_written_past_the_page_cache_on_a_local_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "probe").write_bytes(bytes(4 * KIB))
    if not direct_writes.is_suitable(tmp_path / "probe"):
        pytest.skip("the folder of the tests lies on another type of file system")
    lengths, pwrite = list[int](), os.pwrite

    def noted(handle: int, data: memoryview, offset: int) -> int:
        lengths.append(len(data))
        return pwrite(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", noted)
    sink = RawFile(tmp_path / "disk.raw", 2 * MIB)
    sink.write_at(MIB - 5, os.urandom(MIB + 5))
    sink.close()
    assert sorted(lengths) == [5, MIB]


@pytest.mark.usefixtures("as_if_direct")
def test_a_device_that_refuses_direct_writes_gets_the_data_through_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, pwrite = list[int](), os.pwrite

    def refusing(handle: int, data: memoryview, offset: int) -> int:
        if len(data) > 256 * KIB:
            refused.append(offset)
            raise OSError(errno.EINVAL, "Invalid argument")
        return pwrite(handle, data, offset)

    monkeypatch.setattr(os, "pwrite", refusing)
    sink, data = RawFile(tmp_path / "disk.raw", 4 * MIB), os.urandom(2 * MIB)
    for offset in (0, 2 * MIB):
        sink.write_at(offset, data)
    sink.close()
    assert sorted(refused) == [0, MIB, 2 * MIB, 3 * MIB]
    assert (tmp_path / "disk.raw").read_bytes() == data * 2


@pytest.mark.usefixtures("as_if_direct")
def test_a_direct_write_that_is_cut_short_is_completed_or_names_the_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite, is_full = os.pwrite, False

    def short(handle: int, data: memoryview, offset: int) -> int:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(handle, data[:5000], offset)

    monkeypatch.setattr(os, "pwrite", short)
    sink, data = RawFile(tmp_path / "disk.raw", MIB), os.urandom(MIB)
    sink.write_at(0, data)
    sink.close()
    assert (tmp_path / "disk.raw").read_bytes() == data
    is_full = True
    sink = RawFile(tmp_path / "other.raw", MIB)
    sink.write_at(0, data)
    with pytest.raises(OutOfSpace, match=r"other\.raw"):
        sink.close()


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
