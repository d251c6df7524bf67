"""Disks that are mounted as files are read-only, whole, and end where the disk ends."""

from __future__ import annotations

import errno
import stat

import pytest

from haulback.errors import NotFound, Unavailable
from tests.unit.repository.scene import MemoryDisk

try:
    import mfusepy

    from haulback.filesystems.records import EntryType, FileEntry
    from haulback.mounts.fuse import Folders, told
    from haulback.mounts.fuse_disks import DiskFileSystem
except OSError:  # libfuse is not installed
    pytest.skip("needs libfuse", allow_module_level=True)


def failed(call, *given):
    with pytest.raises(mfusepy.FuseOSError) as caught:
        call(*given)
    return caught.value.errno


@pytest.fixture
def disks():
    return DiskFileSystem({"vda.raw": MemoryDisk(b"0123456789")})


def test_a_disk_is_a_read_only_file_in_one_folder(disks):
    assert disks.readdir("/", 0) == [".", "..", "vda.raw"]
    assert disks.getattr("/") == {"st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2}
    assert disks.getattr("/vda.raw")["st_size"] == 10
    assert disks.getattr("/vda.raw")["st_mode"] == stat.S_IFREG | 0o444


def test_any_part_of_a_disk_is_read_and_nothing_behind_its_end(disks):
    assert disks.read("/vda.raw", 4, 3, 0) == b"3456"
    assert disks.read("/vda.raw", 100, 8, 0) == b"89"
    assert disks.read("/vda.raw", 100, 10, 0) == b""
    assert disks.read("/vda.raw", 100, 20, 0) == b""


def test_a_disk_that_is_not_mounted_does_not_exist(disks):
    assert failed(disks.getattr, "/vdb.raw") == errno.ENOENT
    assert failed(disks.read, "/vdb.raw", 1, 0, 0) == errno.ENOENT


def test_errors_of_a_backup_are_error_numbers():
    def raising(error):
        def call():
            raise error

        return call

    assert failed(told, raising(NotFound("gone"))) == errno.ENOENT
    assert failed(told, raising(Unavailable("away"))) == errno.EIO


class Files:
    """A browser of one volume: a long folder, a link and a file."""

    def entry(self, volume, path):
        kind = EntryType.SYMLINK if path == "/link" else EntryType.REGULAR_FILE
        target = "file" if path == "/link" else None
        return FileEntry(path[1:], kind, 4, 0, 0o4644, 1, 2, target)

    def read(self, volume, path, offset, count):
        return f"{volume}{path}".encode()


def test_volumes_are_folders_and_paths_lead_into_them():
    folders = Folders(Files(), {"vda1": "vda1", "vg0-root": "vg0/root"})
    assert folders.readdir("/", 0) == [".", "..", "vda1", "vg0-root"]
    assert stat.S_ISDIR(folders.getattr("/")["st_mode"])
    assert folders.read("/vg0-root/etc/hosts", 9, 0, 0) == b"vg0/root/etc/hosts"
    assert failed(folders.read, "/", 1, 0, 0) == errno.EISDIR
    assert failed(folders.getattr, "/vdz/file") == errno.ENOENT


def test_links_are_read_and_special_bits_are_dropped():
    folders = Folders(Files(), {"": "vda"})
    assert folders.readlink("/link") == "file"
    assert failed(folders.readlink, "/file") == errno.EINVAL
    assert folders.getattr("/file")["st_mode"] == stat.S_IFREG | 0o644
    assert stat.S_ISLNK(folders.getattr("/link")["st_mode"])
