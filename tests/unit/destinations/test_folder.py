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


def on_another_file_system(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    """Let the kernel refuse hard links of a file, as it does between file systems."""
    link = os.link

    def refused(first, second, **more):
        if Path(first) == source:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(first))
        link(first, second, **more)

    monkeypatch.setattr(os, "link", refused)


def test_a_file_of_another_file_system_is_adopted_as_a_copy(tmp_path, monkeypatch):
    (tmp_path / "destination").mkdir()
    folder, staged = Folder(tmp_path / "destination"), tmp_path / "staged"
    on_another_file_system(monkeypatch, staged)
    content = os.urandom(3 * 1024 * 1024 + 5)
    staged.write_bytes(content)
    folder.adopt("packs/ab/cd", staged)
    assert folder.load("packs/ab/cd") == content
    assert not staged.exists()
    assert not list((folder.root / ".tmp").iterdir())


def test_a_file_of_another_file_system_replaces_no_object(tmp_path, monkeypatch):
    (tmp_path / "destination").mkdir()
    folder, staged = Folder(tmp_path / "destination"), tmp_path / "staged"
    on_another_file_system(monkeypatch, staged)
    folder.store("packs/ab/cd", b"first")
    staged.write_bytes(b"second")
    with pytest.raises(Conflict):
        folder.adopt("packs/ab/cd", staged)
    assert folder.load("packs/ab/cd") == b"first"
    assert staged.read_bytes() == b"second"
    assert not list((folder.root / ".tmp").iterdir())


def test_a_link_that_fails_for_another_reason_is_unavailable(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    (tmp_path / "staged").write_bytes(b"x")
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    with pytest.raises(Unavailable):
        folder.adopt("packs/ab/cd", tmp_path / "staged")
    assert (tmp_path / "staged").exists()


def test_content_of_another_length_is_not_adopted(tmp_path):
    folder = Folder(tmp_path)
    folder.store("index/a", b"short")
    (tmp_path / "new").write_bytes(b"longer content")
    with pytest.raises(Conflict):
        folder.adopt("index/a", tmp_path / "new")
    assert folder.load("index/a") == b"short"


def test_a_file_whose_link_was_made_before_a_death_is_adopted_again(tmp_path):
    folder = Folder(tmp_path)
    (tmp_path / "new").write_bytes(b"content")
    (tmp_path / "index").mkdir()
    os.link(tmp_path / "new", tmp_path / "index" / "a")
    folder.adopt("index/a", tmp_path / "new")
    assert folder.load("index/a") == b"content"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["", "/etc/passwd", "packs/../x", "Packs/a", "packs//a", ".tmp/a"])
def test_a_name_that_no_object_bears_is_refused(tmp_path, name):
    folder = Folder(tmp_path)
    for call in (folder.load, folder.info, folder.delete, lambda n: folder.store(n, b"x")):
        with pytest.raises(Malformed, match="object name"):
            call(name)


def test_an_object_that_is_read_in_parts_is_whole(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.store("packs/a", b"0123456789")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda handle, count, at: pread(handle, min(count, 3), at))
    assert folder.load("packs/a") == b"0123456789"
    assert folder.load("packs/a", 2, 5) == b"23456"
    with pytest.raises(Damaged, match="truncated at byte 10"):
        folder.load("packs/a", 8, 5)


def test_a_root_that_does_not_answer_is_gone(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.store("packs/a", b"x")
    monkeypatch.setattr(Path, "is_dir", failing(errno.ESTALE))
    with pytest.raises(Unavailable, match="is gone"):
        list(folder.list("packs"))
    with pytest.raises(Unavailable, match="is gone"):
        folder.load("packs/b")
    with pytest.raises(Unavailable, match="does not exist"):
        Folder(tmp_path)


class Entry:
    """An entry of a folder whose status is an error."""

    def __init__(self, entry: os.DirEntry[str], number: int) -> None:
        self.name, self.path, self.stat = entry.name, entry.path, failing(number)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EIO])
def test_a_vanished_or_unreadable_entry_is_not_listed(tmp_path, monkeypatch, number):
    folder = Folder(tmp_path)
    folder.store("packs/a", b"x")
    scan = folder._scan
    monkeypatch.setattr(folder, "_scan", lambda path: [Entry(one, number) for one in scan(path)])
    assert list(folder.list("packs")) == []
    assert list(folder.entries("packs")) == [("a", False)]


def test_an_entry_whose_status_does_not_answer_is_unavailable(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.store("packs/a", b"x")
    scan = folder._scan
    monkeypatch.setattr(
        folder, "_scan", lambda path: [Entry(one, errno.ESTALE) for one in scan(path)]
    )
    with pytest.raises(Unavailable, match=r"status of .*packs/a cannot be read"):
        list(folder.list("packs"))
