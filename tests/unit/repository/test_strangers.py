"""Foreign files in a repository's folders block nothing, and are reported once each."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from haulback.destinations.folder import Folder
from haulback.errors import Conflict, Damaged, HaulbackError, NotFound, Unavailable
from haulback.repository.config import is_repository
from haulback.repository.names import FOLDERS
from haulback.repository.pack import name_of
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import Depth, verify
from tests.conftest import SECRET
from tests.unit.repository.damaged_site import Site, limits, make

LONG = "y" * 255


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pool_of_two) -> Site:
    return make(tmp_path_factory.mktemp("whole") / "r", pool_of_two)


@pytest.fixture
def site(whole, tmp_path):
    with limits(1):
        yield whole.copy(tmp_path / "r")


def litter(folder: Path) -> list[str]:
    """At least ten kinds of foreign files in one folder; their printable names."""
    objects = [path for path in sorted(folder.iterdir()) if path.is_file()]
    for name in (".nfs0000000000a1", ".DS_Store", "Thumbs.db", "x.tmp", LONG):
        (folder / name).write_bytes(b"no object")
    (folder / ".snapshot").mkdir()
    for path in objects[:3]:
        shutil.copy(path, folder / ".snapshot")
        shutil.copy(path, folder / f"{path.name}.bak")
        shutil.copy(path, folder / f"{path.name} (copy)")
    (folder / "lost+found").mkdir()
    (folder / "empty").mkdir()
    with open(os.fsencode(folder) + b"/caf\xe9", "wb"):
        pass
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    here = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{here}/sock")
    os.close(here)
    (folder / "ABCDEF01").write_bytes(b"")
    files = [".nfs0000000000a1", ".DS_Store", "Thumbs.db", "x.tmp", LONG, "ABCDEF01", "caf\\udce9"]
    files += [f"{path.name}{end}" for path in objects[:3] for end in (".bak", " (copy)")]
    rest = [".snapshot/", "lost+found/", "empty/", "dangling/", "pipe/", "sock/"]
    return files + rest


def everything(site: Site) -> None:
    """Run every operation on a repository."""
    assert len(list(site.open().backups())) == len(site.held)
    assert site.restores(site.increment(seed=5))
    assert site.restores(site.full())
    gone = next(iter(site.held))
    site.open().forget(gone)
    del site.held[gone]
    for _ in range(2):
        site.clean()
    assert site.repair().losses == []
    assert site.restoring() == set(site.held)


@pytest.mark.parametrize("where", ["", *FOLDERS, "packs/a1"])
def test_strangers_in_any_folder_stop_nothing_and_are_reported_once(site, where):
    site.path(where).mkdir(exist_ok=True)
    names = [f"{where}/{name}" if where else name for name in litter(site.path(where))]
    report = verify(site.open(), Depth.DATA, Resources(site.pool))
    assert report.ok, report.findings
    assert sorted(report.strangers) == sorted(names)
    everything(site)
    assert set(site.verify().strangers) >= set(names)


@pytest.mark.parametrize("folder", ["manifests", "index", "graves", "tombstones"])
def test_a_folder_named_like_an_object_is_a_stranger(site, folder):
    leaf = {"index": "ab" * 20, "graves": "ab" * 16}.get(
        folder, "0" * 8 + "-0000-4000-8000-" + "0" * 12
    )
    (site.path(folder) / leaf / "deep").mkdir(parents=True)
    (site.path(folder) / leaf / "deep" / "file").write_bytes(b"x")
    assert site.verify().strangers == [f"{folder}/{leaf}/"]
    everything(site)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "pipe", "symlink"])
@pytest.mark.parametrize("folder", ["damage", "rolls", "rolls-copy"])
def test_what_takes_the_next_number_is_stepped_over(site, folder, kind):
    number = max(int(name.rpartition("/")[2]) for name in site.names(folder)) + 1
    path = site.path(f"{folder}/{number:08d}")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    pack = min(site.open().objects.packs())
    site.open().damage_log.add("a test", 1, [], ())
    everything(site)
    site.path(name_of(pack)).unlink(missing_ok=True)
    site.verify(record=True)
    site.clean()


def test_a_file_where_a_folder_of_packs_should_be_is_named_when_it_is_in_the_way(site, tmp_path):
    taken = {path.name for path in site.path("packs").iterdir()}
    free = next(f"{i:02x}" for i in range(256) if f"{i:02x}" not in taken)
    site.path(f"packs/{free}").write_bytes(b"a file")
    assert site.verify().strangers == [f"packs/{free}"]
    everything(site)
    with pytest.raises(Unavailable, match=f"packs/{free} is in the way"):
        site.open().destination.store(f"packs/{free}/{free}{'0' * 30}", b"")


@pytest.mark.parametrize("name", ["graves", "tombstones", "damage"])
def test_a_file_in_the_place_of_a_folder_is_reported(site, name):
    shutil.rmtree(site.path(name))
    site.path(name).write_bytes(b"")
    assert site.verify().strangers == [name]
    assert site.restoring() == set(site.held)
    with pytest.raises(Unavailable, match=f"{name} is in the way"):
        site.open().destination.store(f"{name}/{'0' * 32}", b"")


def test_a_repository_beside_strangers_is_made_and_one_beside_another_is_not(tmp_path):
    litter(tmp_path)
    Repository.init(Folder(tmp_path), SECRET)
    assert is_repository(Folder(tmp_path))
    with pytest.raises(Conflict):
        Repository.init(Folder(tmp_path), SECRET)


@pytest.mark.parametrize("kind", ["folder", "pipe", "symlink"])
def test_an_object_that_is_no_file_is_damaged_or_missing_and_never_waited_for(site, kind):
    for place in ("packs", "index", "manifests"):
        name = site.names(place)[0]
        site.path(name).unlink()
        if kind == "folder":
            site.path(name).mkdir()
        elif kind == "pipe":
            os.mkfifo(site.path(name))
        else:
            site.path(name).symlink_to("nowhere")
        with pytest.raises((Damaged, NotFound)):
            site.open().destination.load(name)
        with pytest.raises((Damaged, NotFound)):
            site.open().destination.info(name)
        report = site.verify()
        assert not report.ok
        assert report.strangers
        for operation in (site.full, site.clean, site.repair):
            with suppress(HaulbackError):
                operation()
