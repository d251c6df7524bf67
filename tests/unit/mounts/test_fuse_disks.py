"""Disks of a backup are files of a mount folder."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from haulback.drivers.nbd import connect
from haulback.drivers.nbd_server import NbdServer
from haulback.errors import Damaged
from tests.unit.repository.scene import MemoryDisk, noise

try:
    import mfusepy

    from haulback.mounts.fuse_disks import DiskFileSystem
except OSError:  # libfuse is not installed
    pytest.skip("needs libfuse", allow_module_level=True)

SIZE = 256 * 1024


class Broken(MemoryDisk):
    """A disk whose data cannot be read."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        raise Damaged("packs/07 is missing")


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[DiskFileSystem]:
    disks = {"vda": MemoryDisk(noise(SIZE)), "bad": Broken(bytes(b"x" * SIZE))}
    with NbdServer(tmp_path / "nbd", disks):
        exports = {name: connect(str(tmp_path / "nbd"), name) for name in disks}
        yield DiskFileSystem(exports)
        for export in exports.values():
            export.close()


def test_each_disk_is_a_file_that_nobody_can_write(shown: DiskFileSystem):
    assert shown.readdir("/", 0) == [".", "..", "vda", "bad"]
    assert stat.S_ISDIR(shown.getattr("/")["st_mode"])
    disk = shown.getattr("/vda")
    assert (disk["st_mode"], disk["st_size"]) == (stat.S_IFREG | 0o444, SIZE)


@pytest.mark.parametrize(
    ("offset", "count"), [(0, 10), (5000, 70_000), (SIZE - 5, 100), (SIZE, 1), (SIZE + 9, 1)]
)
def test_any_range_of_a_disk_is_read_and_its_end_is_the_end(
    shown: DiskFileSystem, offset: int, count: int
):
    assert shown.read("/vda", count, offset, 0) == noise(SIZE)[offset : offset + count]


def test_a_missing_disk_and_a_damaged_one_are_errors_of_their_file(shown: DiskFileSystem):
    with pytest.raises(mfusepy.FuseOSError) as error:
        shown.getattr("/vdc")
    assert error.value.errno == errno.ENOENT
    with pytest.raises(mfusepy.FuseOSError) as error:
        shown.read("/bad", 10, 0, 0)
    assert error.value.errno == errno.EIO
    assert len(shown.read("/vda", 10, 0, 0)) == 10
