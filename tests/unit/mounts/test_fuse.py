"""Unreadable files of a volume are I/O errors for programs that use a mount folder."""

import errno
import os
import stat
import struct

import pytest

from haulback.filesystems.browser import Browser
from tests.unit.repository.scene import MemoryDisk
from tests.volumes import browser, ext, needs_ext

try:
    import mfusepy

    from haulback.mounts import fuse
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
        ext(
            tmp_path / "image",
            tmp_path / "tree",
            "-t",
            "ext4",
            "-O",
            "^metadata_csum",
            size=4 << 20,
        ).read_bytes()
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


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    tree = tmp_path_factory.mktemp("fuse") / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "hostname").write_bytes(b"web\n")
    (tree / "etc" / "hostname").chmod(0o4755)
    (tree / "link").symlink_to("etc/hostname")
    (tree / "lost").symlink_to("nowhere")
    for number in range(7):
        (tree / "etc" / f"file{number}").touch()
    return ext(tree.parent / "image", tree, "-t", "ext4", size=4 << 20)


@pytest.fixture
def shown(image):
    """Two volumes, each in a separate sub-folder."""
    with browser(image, image) as volumes:
        yield Folders(volumes, {"vda": "vda", "vg-data": "vdb"})


def test_each_volume_is_a_folder_of_the_mount(shown):
    assert shown.readdir("/", 0) == [".", "..", "vda", "vg-data"]
    assert shown.getattr("/") == {"st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2}
    assert stat.S_ISDIR(shown.getattr("/vda")["st_mode"])
    assert {"etc", "link", "lost"} < set(shown.readdir("/vg-data", 0))
    assert shown.read("/vg-data/etc/hostname", 100, 1, 0) == b"eb\n"
    assert failed(shown.getattr, "/vdc") == errno.ENOENT
    assert failed(shown.getattr, "/vdc/etc") == errno.ENOENT
    assert failed(shown.read, "/", 10, 0, 0) == errno.EISDIR
    assert failed(shown.readlink, "/") == errno.ENOENT


def test_a_file_has_its_size_and_its_rights_without_those_of_another_user(shown):
    found = shown.getattr("/vda/etc/hostname")
    assert found["st_mode"] == stat.S_IFREG | 0o755
    assert found["st_size"] == 4
    assert found["st_mtime"] % 1_000_000 == 0


def test_a_link_leads_where_it_led_in_the_machine(shown):
    assert stat.S_ISLNK(shown.getattr("/vda/link")["st_mode"])
    assert stat.S_ISLNK(shown.getattr("/vda/lost")["st_mode"])
    assert shown.readlink("/vda/link") == "etc/hostname"
    assert shown.readlink("/vda/lost") == "nowhere"
    assert failed(shown.readlink, "/vda/etc") == errno.EINVAL


def test_a_folder_of_many_entries_is_read_page_by_page(shown, monkeypatch):
    whole = shown.readdir("/vda/etc", 0)
    assert len(whole) == 10
    for page in (1, 3, 4, 8):
        monkeypatch.setattr(fuse, "_PAGE", page)
        assert shown.readdir("/vda/etc", 0) == whole
