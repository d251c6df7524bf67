"""A mount folder is checked before it is made, and its failure names the folder."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from haulback.contract.mount import Visible
from haulback.errors import Conflict, Forbidden, Unavailable, Unsupported
from haulback.mounts import folders


def test_a_folder_outside_the_roots_is_forbidden(tmp_path: Path):
    root = tmp_path / "root"
    for path in (tmp_path / "other", root, root / ".." / "other"):
        with pytest.raises(Forbidden, match="is not below"):
            folders.check([Visible(str(path))], [root])
    folders.check([Visible(str(root / "new"))], [root])


def test_a_folder_in_use_is_a_conflict(tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "full" / "inner").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    folders.check([Visible(str(tmp_path / "empty"))], [tmp_path])
    for name in ("file", "full"):
        with pytest.raises(Conflict, match="exists and is not an empty folder"):
            folders.check([Visible(str(tmp_path / name))], [tmp_path])


def test_a_folder_that_does_not_answer_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def dead(_: Path) -> bool:
        raise OSError("transport endpoint is not connected")

    (tmp_path / "dead").mkdir()
    monkeypatch.setattr(Path, "exists", dead)
    with pytest.raises(Conflict):
        folders.check([Visible(str(tmp_path / "dead"))], [tmp_path])


def test_a_folder_that_cannot_be_made_is_a_conflict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(Conflict, match="is not writable"):
        folders.check([Visible(str(tmp_path / "new"))], [tmp_path])


def test_missing_folders_are_recorded_from_the_deepest_on(tmp_path: Path):
    wanted = [Visible(str(tmp_path / "a" / "b")), Visible(str(tmp_path / "a"))]
    assert folders.to_make(wanted) == [str(tmp_path / "a" / "b"), str(tmp_path / "a")]


def test_a_node_without_fuse_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    with ExitStack() as held, pytest.raises(Unsupported, match="install fuse3"):
        folders.show(tmp_path / "nbd", ["vda"], [Visible(str(tmp_path / "m"))], held)


@pytest.mark.parametrize("disks", [[], ["vda"]])
def test_a_mount_whose_process_ends_is_unavailable_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disks: list[str]
):
    monkeypatch.setattr("ctypes.util.find_library", lambda _: "libfuse3.so")
    wanted = [Visible(str(tmp_path / "m"), disks=disks)]
    with ExitStack() as held, pytest.raises(Unavailable, match="cannot be mounted: "):
        folders.show(tmp_path / "no socket", ["vda"], wanted, held)
    assert list((tmp_path / "m").iterdir()) == []
