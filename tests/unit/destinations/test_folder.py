"""A folder destination leaves no partly written file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from haulback.destinations.folder import Folder
from haulback.errors import Conflict, Damaged, Malformed, Unavailable


def test_what_is_stored_already_is_refused_and_no_copy_of_it_stays(tmp_path: Path):
    folder = Folder(tmp_path, owner="attempt-2")
    folder.store("manifests/a", b"first")
    with pytest.raises(Conflict):
        folder.store("manifests/a", b"second")
    assert folder.load("manifests/a") == b"first"
    assert not list((tmp_path / ".tmp").iterdir())


def failing(number: int):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EIO, errno.EUCLEAN, errno.EBADMSG])
@pytest.mark.parametrize("call", ["open", "pread"])
def test_an_object_that_the_disk_cannot_read_is_damaged(tmp_path, monkeypatch, call, number):
    folder = Folder(tmp_path)
    folder.store("manifests/a", b"first")
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(Damaged, match="manifests/a"):
        folder.load("manifests/a")


CLOSED = [errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EACCES, errno.EHOSTDOWN]


@pytest.mark.parametrize("number", CLOSED)
@pytest.mark.parametrize("call", ["open", "pread", "scandir"])
def test_a_file_system_that_does_not_answer_is_unavailable(tmp_path, monkeypatch, call, number):
    folder = Folder(tmp_path)
    folder.store("manifests/a", b"first")
    monkeypatch.setattr(os, call, failing(number))
    ask = (lambda: list(folder.list("manifests"))) if call == "scandir" else folder.load
    with pytest.raises(Unavailable, match="mounted"):
        ask(*([] if call == "scandir" else ["manifests/a"]))


@pytest.mark.parametrize("number", [errno.EIO, *CLOSED])
@pytest.mark.parametrize("call", ["link", "mkdir", "fsync"])
def test_what_cannot_be_written_is_unavailable(tmp_path, monkeypatch, call, number):
    folder = Folder(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(number))
        with pytest.raises(Unavailable):
            folder.store("manifests/a", b"first")
    folder.store("manifests/a", b"first")
    monkeypatch.setattr(os, "unlink", failing(number))
    with pytest.raises(Unavailable):
        folder.delete("manifests/a")
    assert folder.load("manifests/a") == b"first"


def test_a_folder_whose_name_no_object_bears_is_not_entered(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.store("packs/ab/cd", b"x")
    for name in (".snapshot", "lost+found", "Old Packs"):
        (tmp_path / "packs" / name / "ab").mkdir(parents=True)
        (tmp_path / "packs" / name / "ab" / "cd").write_bytes(b"x")
    scan, entered = os.scandir, []
    monkeypatch.setattr(
        os, "scandir", lambda path: (entered.append(Path(path).name), scan(path))[1]
    )
    assert [item.name for item in folder.list("packs")] == ["packs/ab/cd"]
    assert entered == ["packs", "ab"]
    assert {name for name, _ in folder.entries("packs")} == {
        "ab",
        ".snapshot",
        "lost+found",
        "Old Packs",
    }


def test_only_the_same_content_may_be_adopted_twice(tmp_path):
    folder = Folder(tmp_path)
    (tmp_path / "new").write_bytes(b"same size")
    folder.adopt("index/a", tmp_path / "new")
    (tmp_path / "new").write_bytes(b"same size")
    folder.adopt("index/a", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "new").write_bytes(b"SAME SIZE")
    with pytest.raises(Conflict):
        folder.adopt("index/a", tmp_path / "new")
    assert (tmp_path / "new").exists()


def test_a_sweep_leaves_files_of_others_alone(tmp_path):
    folder = Folder(tmp_path, owner="attempt-1")
    folder.store("manifests/a", b"x")
    for name in (".nfs001", "readme", "attempt-1.ab", "attempt-2.cd"):
        (tmp_path / ".tmp" / name).write_bytes(b"")
    (tmp_path / ".tmp" / "attempt-3.folder").mkdir()
    assert folder.sweep({"attempt-2"}) == 1
    left = {path.name for path in (tmp_path / ".tmp").iterdir()}
    assert left == {".nfs001", "readme", "attempt-2.cd", "attempt-3.folder"}


def test_a_symlink_to_an_object_has_the_size_of_the_object(tmp_path):
    folder = Folder(tmp_path)
    folder.store("packs/ab/cd", b"x" * 5000)
    (tmp_path / "packs/ab/cd").rename(tmp_path / "moved")
    (tmp_path / "packs/ab/cd").symlink_to(tmp_path / "moved")
    assert [item.size for item in folder.list("packs")] == [5000]


def test_a_file_of_another_file_system_is_copied_in(tmp_path: Path, monkeypatch):
    staged, real = tmp_path / "staged", os.link
    staged.write_bytes(b"pack")

    def link(source, target, **more):
        if Path(source) == staged:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(source, target, **more)

    (tmp_path / "d").mkdir()
    folder = Folder(tmp_path / "d", owner="a")
    monkeypatch.setattr(os, "link", link)
    folder.adopt("packs/00/a", staged)
    assert folder.load("packs/00/a") == b"pack"
    assert not staged.exists()
    assert not list((tmp_path / "d" / ".tmp").iterdir())


def test_a_file_is_adopted_twice_only_with_equal_bytes(tmp_path: Path):
    (tmp_path / "d").mkdir()
    folder = Folder(tmp_path / "d")
    folder.store("packs/00/a", b"pack")
    for content, equal in ((b"pack", True), (b"kcap", False), (b"longer", False)):
        staged = tmp_path / "staged"
        staged.write_bytes(content)
        if equal:
            folder.adopt("packs/00/a", staged)
        else:
            with pytest.raises(Conflict):
                folder.adopt("packs/00/a", staged)
        assert staged.exists() != equal


def test_a_read_beyond_the_end_and_a_wrong_name_are_refused(tmp_path: Path):
    folder = Folder(tmp_path)
    folder.store("manifests/a", b"first")
    with pytest.raises(Damaged, match="truncated"):
        folder.load("manifests/a", 3, 10)
    with pytest.raises(Malformed, match="not an object name"):
        folder.load("../a")
