"""Power may fail at every write, fsync, link and rename of a backup."""

import random

import pytest

from haulback.destinations.folder import Folder
from haulback.errors import Damaged, NotFound
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import Depth, verify
from haulback.testing.crash import CrashingDisk, PowerLost
from haulback.units import MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, export, noise, restored

BACKUP = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def story(tmp_path, pool):
    """Make a first backup on a working disk, then another one through `io`."""
    (tmp_path / "d").mkdir()
    repository = Repository.init(Folder(tmp_path / "d"), SECRET)
    disk = MemoryDisk(noise(3 * MIB))
    first = back_up(repository, disk, tmp_path / "s", pool)
    before = bytes(disk.data)
    disk.write_at(MIB, noise(MIB, 9))
    changed = disk.changed()

    def second(io):
        opened = Repository.open(Folder(tmp_path / "d", io), SECRET)
        base = first.disks[0].map
        return back_up(opened, disk, tmp_path / "s", pool, base, changed, io, BACKUP)

    return repository, first, before, disk, second


def test_a_backup_is_there_whole_or_not_at_all_wherever_power_fails(
    story, pool, tmp_path, record_property
):
    _, first, before, disk, second = story
    seed = random.randrange(1 << 32)
    record_property("seed", seed)
    failed, done = 0, False
    while not done:
        io = CrashingDisk(fail_at=failed + 1, seed=seed + failed)
        try:
            second(io)
            done = True
        except PowerLost:
            failed += 1
            io.drop_unsynced()
        result = Repository.open(Folder(tmp_path / "d"), SECRET)
        assert restored(result, first, pool) == before, f"seed {seed}, operation {failed}"
        try:
            manifest = result.manifest(BACKUP)
        except NotFound:
            assert not done
        else:
            assert restored(result, manifest, pool) == disk.data, f"seed {seed}, op {failed}"
            done = True
        report = verify(result, Depth.DATA, Resources(pool))
        assert report.ok, (seed, failed, report.findings)
    assert failed > 20


def test_merging_and_sweeping_the_index_lose_no_entry_wherever_power_fails(
    tmp_path, pool, record_property
):
    (tmp_path / "d").mkdir()
    (tmp_path / "m").mkdir()
    repository = Repository.init(Folder(tmp_path / "d"), SECRET)
    disk, stored = MemoryDisk(noise(MIB)), {}
    for number in range(8):
        disk.write_at(number * 65536, noise(65536, 100 + number))
        manifest = back_up(repository, disk, tmp_path / "s", pool)
        stored[manifest.backup] = (manifest, bytes(disk.data))
    seed = random.randrange(1 << 32)
    record_property("seed", seed)
    failed, done = 0, False
    while not done:
        io = CrashingDisk(fail_at=failed + 1, seed=seed + failed)
        opened = Repository.open(Folder(tmp_path / "d", io), SECRET)
        try:
            opened.merge_index(tmp_path / "m", io)
            opened.sweep_index()
            done = True
        except PowerLost:
            failed += 1
            io.drop_unsynced()
        result = Repository.open(Folder(tmp_path / "d"), SECRET)
        for manifest, data in stored.values():
            assert restored(result, manifest, pool) == data, f"seed {seed}, operation {failed}"
    assert len(list(result.destination.list("index"))) == 1
    assert failed >= 8


@pytest.fixture
def half_stored(folder, repository, tmp_path, pool, monkeypatch):
    """A store that died directly before its manifest; its draft, and the disk."""
    monkeypatch.setattr("haulback.repository.index_tiers.FAN_IN", 2)
    disk = MemoryDisk(noise(MIB))
    draft = export(repository, disk, tmp_path / "dead", pool, backup=BACKUP)
    with monkeypatch.context() as patch:
        store = folder.store

        def until_the_manifest(name, data):
            if name.startswith("manifests/"):
                raise PowerLost
            store(name, data)

        patch.setattr(folder, "store", until_the_manifest)
        with pytest.raises(PowerLost):
            repository.publish(tmp_path / "dead", draft)
    return draft, disk


def test_a_store_is_repeated_after_others_merged_and_swept_what_it_had_stored(
    half_stored, repository, tmp_path, pool
):
    draft, disk = half_stored
    for seed in (1, 2):  # after the second sweep no index file names the first one
        back_up(repository, MemoryDisk(noise(MIB, seed)), tmp_path / "s", pool)
        assert (repository.merge_index(tmp_path), repository.sweep_index()) == (1, 2)
    assert restored(repository, repository.publish(tmp_path / "dead", draft), pool) == disk.data
    assert verify(repository, Depth.DATA, Resources(pool)).ok


def test_a_repeated_store_whose_index_is_lost_makes_it_anew_from_its_packs(
    half_stored, folder, repository, tmp_path, pool
):
    draft, disk = half_stored
    for item in list(folder.list("index")):
        folder.delete(item.name)
    assert restored(repository, repository.publish(tmp_path / "dead", draft), pool) == disk.data
    assert verify(repository, Depth.DATA, Resources(pool)).ok


def test_a_repeated_store_whose_packs_are_lost_fails(half_stored, folder, repository, tmp_path):
    for item in list(folder.list("packs")):
        folder.delete(item.name)
    with pytest.raises(Damaged, match="disappeared"):
        repository.publish(tmp_path / "dead", half_stored[0])
    with pytest.raises(NotFound):
        repository.manifest(BACKUP)
