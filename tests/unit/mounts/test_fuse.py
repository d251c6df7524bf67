"""Unreadable files of a volume are I/O errors for programs that use a mount folder."""

import errno
import os
import stat
import struct

import pytest

from haulback.filesystems.browser import Browser
from tests.unit.repository.scene import MemoryDisk
from tests.volumes import ext, needs_ext

try:
    import mfusepy

    from haulback.mounts.fuse import Folders
except OSError:  # libfuse is not installed
    pytest.skip("needs libfuse", allow_module_level=True)

pytestmark = needs_ext


def failed(call, *given):
    with pytest.raises(mfusepy.FuseOSError) as told:
        call(*given)
    return told.value.errno


def test_a_damaged_file_or_folder_is_an_input_output_error_and_no_pipe(tmp_path):
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "bad").write_bytes(b"x")
    (tmp_path / "tree" / "good").write_bytes(b"good")
    (tmp_path / "tree" / "sub" / "inner").write_bytes(b"inner")
    os.mkfifo(tmp_path / "tree" / "pipe")
    raw = bytearray(
        ext(tmp_path / "image", tmp_path / "tree", "-t", "ext4", size=4 << 20).read_bytes()
    )
    struct.pack_into("<I", raw, raw.index(b"\3\1bad") - 6, 1 << 30)
    struct.pack_into("<H", raw, raw.index(b"\5\1inner") - 2, 3)
    with Browser({"vda": MemoryDisk(bytes(raw))}) as result:
        folders = Folders(result, {"": "vda"})
        assert {"bad", "good", "pipe", "sub"} < set(folders.readdir("/", 0))
        assert failed(folders.getattr, "/bad") == errno.EIO
        assert stat.S_ISFIFO(folders.getattr("/pipe")["st_mode"])
        assert folders.read("/good", 10, 0, 0) == b"good"
        assert failed(folders.read, "/bad", 10, 0, 0) == errno.EIO
        assert failed(folders.readdir, "/sub", 0) == errno.EIO
        assert failed(folders.getattr, "/nothing") == errno.ENOENT
