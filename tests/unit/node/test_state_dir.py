"""A node's state folder: its identity, its staged exports, its finished work."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from haulback.errors import Conflict, Forbidden, Malformed, NotFound, OutOfSpace
from haulback.ids import new_guid
from haulback.node import state_dir as homes
from haulback.node.restore_target import FolderRestore
from haulback.node.state_dir import NodeIdentity, StateDir, write_identity

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def home(tmp_path: Path):
    made = StateDir(tmp_path / "node", [tmp_path / "restores"])
    yield made
    made.close()


def test_an_export_does_not_begin_when_staging_is_full(
    home: StateDir, monkeypatch: pytest.MonkeyPatch
):
    home.check_space()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 99, homes.RESERVE - 1))
    with pytest.raises(OutOfSpace, match="free some space"):
        home.check_space()


def test_before_it_is_enrolled_a_node_says_so(home: StateDir):
    with pytest.raises(NotFound, match="haulback node token"):
        home.identity()
    write_identity(home.folder, NodeIdentity("g", "s"))
    assert home.identity() == NodeIdentity("g", "s")
    assert (home.folder / "identity.json").stat().st_mode & 0o077 == 0


def test_what_was_journaled_is_there_for_the_next_process(home: StateDir):
    guid = new_guid()
    home.journal.write(f"{guid}-3", {"stored": 1})
    home.journal.write(f"{guid}-3", {"stored": 2})
    [entry] = home.journal.entries()
    assert entry == {"task": guid, "attempt": 3, "results": {"stored": 2}}
    home.journal.clear()
    assert home.journal.entries() == []


def test_a_half_written_journal_entry_is_no_entry(home: StateDir):
    (home.folder / "journal" / f".{new_guid()}-1").write_bytes(b"{")
    assert home.journal.entries() == []


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc-1", "a-1", "00000000-0000-4000-8000-000000000000-1/x"]
)
def test_only_attempts_have_staging_folders(home: StateDir, name: str):
    with pytest.raises(Malformed):
        home.staging(name)


def test_a_target_appears_complete_or_not_at_all(home: StateDir):
    attempt = f"{new_guid()}-1"
    root = home.roots[0]
    target = FolderRestore(home, str(root / "a" / "b"), "task", attempt)
    (target.folder / "disk").write_bytes(b"x")
    assert home.leftovers() == [attempt]
    assert not (root / "a").exists()
    assert target.commit() == root / "a" / "b"
    assert home.leftovers() == []
    with pytest.raises(Conflict, match="not empty"):
        FolderRestore(home, str(root / "a" / "b"), "other", attempt)
    assert FolderRestore(home, str(root / "a" / "b"), "task", attempt).made == root / "a" / "b"


def test_a_link_that_came_meanwhile_is_not_followed(home: StateDir, tmp_path: Path):
    root = home.roots[0]
    (root / "a").mkdir(parents=True)
    target = FolderRestore(home, str(root / "a" / "b" / "c"), "task", f"{new_guid()}-1")
    (root / "a").rmdir()
    (tmp_path / "outside").mkdir()
    (root / "a").symlink_to(tmp_path / "outside")
    with pytest.raises((Forbidden, Conflict)):
        target.commit()
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_given_up_target_leaves_nothing(home: StateDir):
    attempt = f"{new_guid()}-1"
    FolderRestore(home, str(home.roots[0] / "x"), "task", attempt)
    home.discard(attempt)
    assert home.leftovers() == []
    assert list(home.roots[0].iterdir()) == []


@pytest.mark.parametrize("path", ["/", "/etc", "{root}", "{root}/../y", "{root}/up/y"])
def test_a_target_lies_below_a_root(home: StateDir, path: str, tmp_path: Path):
    home.roots[0].mkdir()
    os.symlink(tmp_path, home.roots[0] / "up")
    with pytest.raises(Forbidden, match="not below a restore root"):
        FolderRestore(home, path.format(root=home.roots[0]), "task", f"{new_guid()}-1")


def test_one_process_at_a_time(home: StateDir):
    with pytest.raises(Conflict, match="another node process"):
        StateDir(home.folder, [])
