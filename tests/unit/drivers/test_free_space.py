"""The free space for new disks, by file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from haulback.drivers import free_space
from haulback.drivers.free_space import FreeSpace, free_bytes, free_spaces
from haulback.mount_table import FileSystemMount


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file system has 100 free blocks of 4 KiB, of which 60 are for any user."""
    space = os.statvfs_result((4096, 4096, 1000, 100, 60, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda place: space)


@pytest.mark.parametrize(("user", "count"), [(0, 100), (1000, 60)])
def test_the_reserve_of_a_file_system_is_free_for_its_administrator_only(
    blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, count: int
):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert free_bytes(tmp_path) == count * 4096


def test_folders_of_one_file_system_share_its_space(tmp_path: Path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    [space] = free_spaces([("vda", first), ("vdb", second)])
    assert (space.where, space.disks) == (str(first), ("vda", "vdb"))


def test_folders_of_one_device_with_quotas_are_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first, second = tmp_path / "a", tmp_path / "b"
    sizes = {first: 1000, second: 9000}

    def space(folder: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, sizes[folder], 100, 100, 0, 0, 0, 0, 255))

    for folder in sizes:
        folder.mkdir()
    monkeypatch.setattr(os, "statvfs", space)
    spaces = free_spaces([("vda", first), ("vdb", second)])
    assert [space.disks for space in spaces] == [("vda",), ("vdb",)]


def test_a_folder_that_is_missing_has_no_known_space(tmp_path: Path):
    assert free_spaces([("vda", tmp_path / "none")]) == []


KINDS = {"zfs": False, "btrfs": False, "nfs4": False, "fuse.sshfs": False, "xfs": True}


@pytest.mark.parametrize(("kind", "is_known"), KINDS.items())
def test_a_file_system_that_may_compress_has_no_known_space(
    blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_known: bool
):
    mount = FileSystemMount("/", kind, "pool")
    monkeypatch.setattr(free_space, "mount_of", lambda path: mount)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    expected = [FreeSpace(str(tmp_path), 409_600, ("vda",))] if is_known else []
    assert free_spaces([("vda", tmp_path)]) == expected
