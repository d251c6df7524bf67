"""Mount folders are checked before a mount, and a failed mount leaves no folders."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from ctypes.util import find_library
from pathlib import Path

import pytest

from haulback.contract.mount import PublishedFolder
from haulback.errors import Conflict, Forbidden, Unavailable, Unsupported
from haulback.mounts import folders
from haulback.mounts.spec import MountState


@pytest.mark.parametrize("path", ["/etc", "/mnt/haulback", "/mnt/haulback/../x", "relative"])
def test_a_folder_outside_the_allowed_roots_is_refused(path: str):
    with pytest.raises(Forbidden, match="not below /mnt/haulback"):
        folders.check([PublishedFolder(path)], folders.ROOTS)


def test_only_a_new_or_empty_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "a").mkdir(parents=True)
    (tmp_path / "file").touch()
    folders.check(
        [PublishedFolder(f"{tmp_path}/{name}") for name in ("empty", "new/below")], [tmp_path]
    )
    for name in ("full", "file"):
        with pytest.raises(Conflict, match="not an empty folder"):
            folders.check([PublishedFolder(f"{tmp_path}/{name}")], [tmp_path])
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(Conflict, match="the node cannot write"):
        folders.check([PublishedFolder(f"{tmp_path}/new/below")], [tmp_path])


def test_a_folder_of_a_mount_whose_process_died_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def gone(path: Path) -> bool:
        raise OSError(107, "Transport endpoint is not connected")

    (tmp_path / "dead").mkdir()
    monkeypatch.setattr(Path, "is_dir", gone)
    with pytest.raises(Conflict, match="not an empty folder"):
        folders.check([PublishedFolder(f"{tmp_path}/dead")], [tmp_path])


def test_missing_folders_are_planned_deepest_first(tmp_path: Path):
    wanted = [PublishedFolder(f"{tmp_path}/a/b/c"), PublishedFolder(f"{tmp_path}/a/d")]
    made = folders.to_make(wanted)
    assert (made[0], made[-1]) == (f"{tmp_path}/a/b/c", f"{tmp_path}/a")
    assert sorted(made[1:3]) == [f"{tmp_path}/a/b", f"{tmp_path}/a/d"]


def test_a_node_without_fuse_refuses_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(folders.ctypes.util, "find_library", lambda name: None)
    with ExitStack() as held, pytest.raises(Unsupported, match="install fuse3"):
        folders.show(tmp_path / "nbd", ["vda"], [PublishedFolder(f"{tmp_path}/m")], held)
    assert not (tmp_path / "m").exists()


def program(text: str) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-S", "-c", text], **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import sys; sys.exit('no such device')", "no such device"),
        ("", "no reason given"),
        (
            "import sys; sys.exit('fuse: failed to open /dev/fuse: Permission denied')",
            "fuse: failed to open /dev/fuse: Permission denied; the user of the node needs",
        ),
    ],
)
def test_a_mount_that_fails_names_the_reason_of_its_process(tmp_path: Path, text: str, reason: str):
    child = program(text)
    with pytest.raises(Unavailable, match=f"cannot be mounted: {reason}"):
        folders._wait(child, str(tmp_path))
    folders._end(child)


def test_a_mount_that_does_not_appear_is_given_up_and_its_process_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    child = program("import time; time.sleep(60)")
    monkeypatch.setattr(folders, "_SECONDS", 0.05)
    with pytest.raises(Unavailable, match="was not mounted within"):
        folders._wait(child, str(tmp_path))
    folders._end(child)
    assert child.poll() is not None


def test_a_folder_that_others_put_files_in_stays(tmp_path: Path):
    for name in ("used", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "used" / "file").touch()
    folders.hide(MountState(made=[f"{tmp_path}/used", f"{tmp_path}/empty", f"{tmp_path}/none"]))
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


@pytest.mark.skipif(not find_library("fuse3"), reason="needs FUSE")
def test_the_last_words_of_a_mount_that_fails_are_those_of_libfuse():
    text = "import mfusepy; from haulback.mounts.fuse import serve; "
    text += "serve(mfusepy.Operations(), '/no/such/folder')"
    with subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr
        told = child.stderr.read().splitlines()  # ends although standard input stays open
    assert (child.returncode, told[-1][:5]) == (1, "fuse:")
