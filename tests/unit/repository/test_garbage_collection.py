"""Space is freed after deletions, and no present backup is lost."""

import random
import shutil
from unittest.mock import patch

import pytest

from haulback.destinations.add_only import AddOnly
from haulback.destinations.folder import Folder
from haulback.durable_files import DurableFiles
from haulback.errors import BaseGone, Damaged, Fenced, Forbidden, NotFound, Unavailable
from haulback.repository.backup_loss import check_backup
from haulback.repository.compaction import plan_compaction
from haulback.repository.garbage_collection import clean_up
from haulback.repository.index_tiers import due
from haulback.repository.merge import MergePlan, merge
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.scan import scan_completing_index
from haulback.repository.verify import Depth, verify
from haulback.testing.crash import CrashingDisk, PowerLost
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, export, noise, restored

NOBODY = frozenset


class Site:
    """A repository, its present backups, and a short function to clean it up."""

    def __init__(self, root, pool):
        self.root, self.pool = root, pool
        self.present = {}
        (root / "d").mkdir()
        self.repository = Repository.init(Folder(root / "d"), SECRET)

    def back_up(self, disk, base=None, changed=None):
        return self.keep(
            back_up(
                self.repository,
                disk,
                self.root / "s",
                self.pool,
                base.disks[0].map if base else None,
                changed,
                parent=base.backup if base else None,
            ),
            disk,
        )

    def keep(self, manifest, disk):
        self.present[manifest.backup] = (manifest, bytes(disk.data))
        return manifest

    def forget(self, manifest):
        self.repository.forget(manifest.backup)
        self.present.pop(manifest.backup, None)

    def clean(self, pins=NOBODY, io=None, **more):
        folder = self.root / "clean"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        opened = Repository.open(Folder(self.root / "d", io), SECRET)
        resources = Resources(self.pool, io or DurableFiles(), **more)
        cleaned = clean_up(opened, folder, pins, resources)
        assert list(folder.iterdir()) == []
        return cleaned

    def bytes(self):
        names = ("packs", "index", "manifests", "graves")
        return sum(i.size for name in names for i in self.repository.destination.list(name))

    def names(self, folder):
        """Object names; the revision object stays in `graves/` permanently."""
        found = {item.name for item in self.repository.destination.list(folder)}
        return {name for name in found if "needs-haulback" not in name}

    def assert_whole(self):
        opened = Repository.open(Folder(self.root / "d"), SECRET)
        for manifest, data in self.present.values():
            check_backup(opened, manifest.backup, thorough=False)
            assert restored(opened, manifest, self.pool) == data
        report = verify(opened, Depth.DATA, Resources(self.pool))
        assert report.ok, report.findings

    def assert_tight(self):
        """Check that every pack has a live group, no delete is pending, and the index names no
        other pack.
        """
        look = scan_completing_index(self.repository, self.root / "clean", Resources(self.pool))
        assert look.packs.keys() == look.index.packs()
        assert not plan_compaction(look.mark).dead.any()
        assert len(self.names("index")) == len(look.index.segments)
        assert self.names("graves") == set()


@pytest.fixture
def site(tmp_path, pool):
    return Site(tmp_path, pool)


@pytest.fixture
def thinned(site):
    """Two machines in shared packs; little data of the first machine is still needed."""
    disk = MemoryDisk(noise(8 * MIB))
    first = site.back_up(disk)
    for at in range(0, 8 * MIB, MIB):
        if at % (2 * MIB):
            disk.write_at(at, noise(MIB, at))
        else:
            disk.write_at(at + 200 * KIB, noise(MIB - 200 * KIB, at))
    second = site.back_up(disk, first, disk.changed())
    site.forget(first)
    return site, second, disk


def test_space_comes_back_to_within_a_tenth_of_a_repository_with_only_the_kept_backups(
    thinned, tmp_path, pool
):
    site, _, disk = thinned
    before = site.bytes()
    cleaned = site.clean()
    site.assert_whole()
    site.assert_tight()
    (tmp_path / "fresh").mkdir()
    fresh = Site(tmp_path / "fresh", pool)
    fresh.back_up(disk)
    assert site.bytes() < fresh.bytes() * 1.1
    assert before - site.bytes() > 0.9 * (before - fresh.bytes())
    assert (cleaned.backups, cleaned.damaged, cleaned.packs_waiting) == (1, [], 0)
    assert cleaned.groups_rewritten > 0
    assert cleaned.bytes_freed > 6 * MIB


def test_what_is_deleted_whole_leaves_nothing_behind(site):
    for seed in range(3):
        site.back_up(MemoryDisk(noise(2 * MIB, seed)))
    for manifest, _ in list(site.present.values()):
        site.forget(manifest)
        site.forget(manifest)  # a missing object is no error
    site.clean()
    assert (site.names("packs"), site.names("graves")) == (set(), set())
    assert site.bytes() < KIB
    site.back_up(MemoryDisk(noise(2 * MIB)))
    site.assert_whole()


def test_where_nothing_is_dead_nothing_is_touched(site):
    disk = MemoryDisk(noise(3 * MIB))
    first = site.back_up(disk)
    disk.write_at(0, noise(64 * KIB, 3))
    site.back_up(disk, first, disk.changed())
    before = {name: site.names(name) for name in ("packs", "index", "graves")}
    cleaned = site.clean()
    assert (cleaned.backups, cleaned.packs_deleted, cleaned.groups_rewritten) == (2, 0, 0)
    assert before == {name: site.names(name) for name in before}


def test_a_second_clean_up_finds_nothing_to_do(thinned):
    site, _, _ = thinned
    site.clean()
    before = {name: site.names(name) for name in ("packs", "index", "graves")}
    assert site.clean().packs_deleted == 0
    assert before == {name: site.names(name) for name in before}


def test_an_increment_on_a_backup_whose_groups_were_rewritten_restores(thinned):
    """The map of the increment keeps hints that the clean-up has made stale."""
    site, second, disk = thinned
    site.clean()
    disk.write_at(300 * KIB, noise(4096, 77))
    third = site.back_up(disk, second, disk.changed())
    site.assert_whole()
    site.forget(second)
    site.clean()
    site.assert_whole()
    assert third.stored < MIB


def test_a_reader_follows_chunks_that_moved_into_other_groups(thinned):
    site, second, _ = thinned
    groups = {group for s in site.repository.index().segments for group, _ in s.groups()}
    site.clean()
    left = {group for s in site.repository.index().segments for group, _ in s.groups()}
    assert left - groups, "some group was encoded anew"
    assert left & groups, "some group was copied as it is"
    assert restored(site.repository, second, site.pool) == site.present[second.backup][1]


def test_dead_packs_stay_until_what_was_alive_when_they_died_has_ended(site):
    gone = site.back_up(MemoryDisk(noise(2 * MIB, 1)))
    site.back_up(MemoryDisk(noise(MIB, 2)))
    packs = site.names("packs")
    site.forget(gone)
    assert site.clean(lambda: {"export"}).packs_waiting == 2
    assert site.names("packs") == packs
    assert site.clean(lambda: {"export", "another"}).packs_waiting == 2
    assert site.clean(lambda: {"another"}).packs_deleted == 2
    assert (len(site.names("packs")), site.names("graves")) == (2, set())
    site.assert_whole()


def test_a_store_that_reuses_what_was_dropped_has_to_export_again(site, tmp_path):
    disk = MemoryDisk(noise(2 * MIB, 1))
    gone = site.back_up(disk)
    draft = export(site.repository, disk, tmp_path / "x", site.pool)
    site.forget(gone)
    site.clean(lambda: {"x"})
    with pytest.raises(BaseGone, match="back up again"):
        site.repository.publish(tmp_path / "x", draft)
    assert site.names("manifests") == set()
    again = export(site.repository, disk, tmp_path / "x", site.pool)
    site.keep(site.repository.publish(tmp_path / "x", again), disk)
    site.assert_whole()
    site.clean()
    site.assert_whole()


class Meddled(Folder):
    """A folder that runs another action before its n-th call, and then checks every call."""

    def __init__(self, root, at, what, watch=lambda: None):
        super().__init__(root)
        self.calls, self.at, self.what, self.watch = 0, at, what, watch

    def meddle(self):
        self.calls += 1
        if self.calls == self.at:
            self.what()
        self.watch()

    def store(self, name, data):
        self.meddle()
        super().store(name, data)

    def adopt(self, name, path):
        self.meddle()
        super().adopt(name, path)

    def list(self, prefix):
        self.meddle()
        return super().list(prefix)

    def info(self, name):
        self.meddle()
        return super().info(name)

    def delete(self, name):
        self.meddle()
        super().delete(name)


def reusing(site, name):
    """An export that reuses a backup which is deleted afterwards, besides new data."""
    disk = MemoryDisk(noise(MIB, 1))
    gone = site.back_up(disk)
    disk.data += noise(MIB, 2)
    draft = export(site.repository, disk, site.root / name, site.pool)
    site.forget(gone)
    return disk, draft


def reusing_nothing(site, name):
    gone = site.back_up(MemoryDisk(noise(MIB, 1)))
    disk = MemoryDisk(noise(MIB, 2))
    draft = export(site.repository, disk, site.root / name, site.pool)
    site.forget(gone)
    return disk, draft


def publish(site, folder, name, disk, draft):
    """Whether publishing succeeded; the only other result is BaseGone."""
    opened = Repository.open(folder, SECRET)
    try:
        site.keep(opened.publish(site.root / name, draft), disk)
    except BaseGone:
        return False
    return True


def sites(tmp_path, pool):
    """A new site for each moment, until there are no more moments."""
    for at in range(2, 100):
        root = tmp_path / str(at)
        root.mkdir()
        yield at, Site(root, pool)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("story", "outcomes"), [(reusing, {True, False}), (reusing_nothing, {True})]
)
def test_a_clean_up_at_any_moment_of_a_store_costs_at_most_another_export(
    tmp_path, pool, story, outcomes
):
    """The other export is needed only when dead data was reused."""
    result = set()
    for at, site in sites(tmp_path, pool):
        disk, draft = story(site, "x")
        meddled = Meddled(site.root / "d", at, lambda site=site: site.clean(lambda: {"x"}))
        result.add(publish(site, meddled, "x", disk, draft))
        if meddled.calls < at:
            break
        site.assert_whole()
        site.clean()
        site.assert_whole()
        assert site.clean().damaged == []
        site.assert_tight()
    assert at > 8
    assert result == outcomes


@pytest.mark.slow
@pytest.mark.parametrize("story", [reusing, reusing_nothing])
@pytest.mark.parametrize("pin", ["x", "another's"])
def test_a_store_at_any_moment_of_a_clean_up_stays_restorable_from_then_on_or_is_told(
    tmp_path, pool, story, pin
):
    """The rule holds even for a store that the server considered dead and that pins nothing."""
    result = set()
    for at, site in sites(tmp_path, pool):
        done = []
        disk, draft = story(site, "x")
        reader = Repository.open(Folder(site.root / "d"), SECRET)

        def store(site=site, disk=disk, draft=draft, done=done):
            done.append(publish(site, Folder(site.root / "d"), "x", disk, draft))

        def watch(site=site, reader=reader):
            for backup in site.present:
                check_backup(reader, backup, thorough=False)

        (site.root / "c").mkdir()
        opened = Repository.open(Meddled(site.root / "d", at, store, watch), SECRET)
        clean_up(
            opened, site.root / "c", lambda done=done: set() if done else {pin}, Resources(pool)
        )
        if not done:
            break
        result.update(done)
        site.assert_whole()
        site.clean()
        site.assert_whole()
        site.clean()
        site.assert_tight()
    assert at > 10
    assert True in result
    assert (False in result) == (story is reusing)


def test_a_backup_stored_between_the_scans_makes_the_clean_up_scan_again(site, tmp_path):
    disk, draft = reusing(site, "x")
    looks, real = [], scan_completing_index

    def look(repository, *args):
        looks.append(real(repository, *args))
        if len(looks) == 1:
            assert publish(site, Folder(site.root / "d"), "x", disk, draft)
        return looks[-1]

    with patch("haulback.repository.garbage_collection.scan_completing_index", look):
        site.clean()
    assert looks[0].backups == []
    assert looks[1].backups == [draft.manifest.backup]
    site.assert_whole()
    site.assert_tight()


def test_a_backup_whose_store_skipped_its_check_gets_its_dropped_packs_back(site):
    """An older program publishes without this check."""
    disk, draft = reusing(site, "x")
    with patch.object(Repository, "_uphold"):
        site.clean(lambda: {"x"})
        site.repository.publish(site.root / "x", draft)
    with pytest.raises(Damaged, match="in no index file"):
        check_backup(site.repository, draft.manifest.backup, thorough=False)
    assert restored(site.repository, draft.manifest, site.pool) == disk.data
    site.keep(draft.manifest, disk)
    assert site.clean().damaged == []
    site.assert_whole()
    site.clean()
    site.assert_tight()


def test_a_merge_that_outlasts_a_clean_up_only_delays_it(site, monkeypatch):
    monkeypatch.setattr("haulback.repository.index_tiers.FAN_IN", 2)
    gone = site.back_up(MemoryDisk(noise(MIB, 1)))
    site.back_up(MemoryDisk(noise(MIB, 2)))
    site.forget(gone)
    segments = due(site.repository.index().segments)
    names = [segment.name for segment in segments]
    path = merge(MergePlan(segments, names), site.root, site.repository.keys, DurableFiles())
    assert site.clean(lambda: {"store"}).packs_waiting == 2
    site.repository.destination.adopt(f"index/{path.stem}", path)
    site.assert_whole()
    site.back_up(MemoryDisk(noise(MIB, 1)))
    site.assert_whole()
    site.clean()
    site.assert_whole()
    site.clean()
    site.assert_tight()


def test_a_live_chunk_that_the_index_lost_is_found_in_its_pack_again(site):
    site.back_up(MemoryDisk(noise(20 * MIB, 1)))
    for item in list(site.repository.destination.list("index")):
        site.repository.destination.delete(item.name)
    cleaned = site.clean()
    assert (cleaned.packs_deleted, cleaned.damaged) == (0, [])
    site.assert_whole()


def test_a_broken_backup_is_named_and_stops_nothing(site):
    broken = site.back_up(MemoryDisk(noise(20 * MIB, 1)))
    lost = site.names("packs")
    gone = site.back_up(MemoryDisk(noise(MIB, 2)))
    site.back_up(MemoryDisk(noise(MIB, 3)))
    data = max(lost, key=lambda name: site.repository.destination.info(name).size)
    site.repository.destination.delete(data)
    site.present.pop(broken.backup)
    site.forget(gone)
    cleaned = site.clean()
    assert (cleaned.damaged, cleaned.packs_deleted) == ([broken.backup], 2)
    assert lost - {data} <= site.names("packs"), "what it can still reach is kept"
    site.repository.forget(broken.backup)
    assert site.clean().damaged == []
    site.assert_whole()


def test_an_unreadable_manifest_or_page_holds_everything_back(site):
    """The data below cannot be distinguished from dead data, but the clean-up succeeds."""
    first, second = (site.back_up(MemoryDisk(noise(MIB, seed))) for seed in (1, 2))
    site.forget(first)
    before = site.names("packs")
    path = site.repository.destination.root / f"manifests/{second.backup}"
    sealed = path.read_bytes()
    path.unlink()
    path.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    cleaned = site.clean()
    assert (cleaned.held, cleaned.unreadable) == (True, [second.backup])
    assert site.names("packs") == before
    path.write_bytes(sealed)
    place = site.repository.index().place(second.disks[0].map.group)
    pack = site.repository.destination.root / f"packs/{place.pack.hex()[:2]}/{place.pack.hex()}"
    raw = bytearray(pack.read_bytes())
    raw[place.offset + 30] ^= 1
    pack.write_bytes(raw)
    cleaned = site.clean()
    assert (cleaned.held, cleaned.damaged) == (True, [second.backup])
    assert site.names("packs") == before


def test_a_destination_that_is_gone_is_not_an_empty_one(site):
    site.back_up(MemoryDisk(noise(MIB)))
    opened = Repository.open(Folder(site.root / "d"), SECRET)
    (site.root / "d").rename(site.root / "away")
    for _ in range(2):
        with pytest.raises((Unavailable, NotFound)):
            clean_up(opened, site.root, NOBODY, Resources(site.pool))
        (site.root / "d").mkdir(exist_ok=True)


def test_a_damaged_thin_pack_is_left_as_it_is(thinned):
    site, _, _ = thinned
    big = max(site.repository.destination.list("packs"), key=lambda item: item.size)
    path = site.repository.destination.root / big.name
    raw = bytearray(path.read_bytes())
    for at in range(40, len(raw), 100_000):
        raw[at] ^= 1
    path.write_bytes(raw)
    assert site.clean().groups_rewritten == 0
    assert big.name in site.names("packs")


def test_an_attempt_that_is_over_deletes_nothing(thinned):
    site, _, _ = thinned
    before = site.names("packs")

    def over():
        raise Fenced("another attempt has the task")

    with pytest.raises(Fenced):
        site.clean(confirm=over)
    assert site.names("packs") == before


def test_who_may_only_add_cannot_clean_up_nor_forget(thinned):
    site, second, _ = thinned
    only = Repository.open(AddOnly(Folder(site.root / "d")), SECRET)
    with pytest.raises(Forbidden, match="may not delete objects"):
        only.forget(second.backup)
    (site.root / "c").mkdir()
    with pytest.raises(Forbidden):
        clean_up(only, site.root / "c", NOBODY, Resources(site.pool))
    assert only.destination.sweep(set()) == 0
    site.assert_whole()
    site.clean()
    site.assert_whole()


def test_who_may_only_add_backs_up_and_is_told_what_is_gone(site, tmp_path):
    only = Repository.open(AddOnly(Folder(site.root / "d")), SECRET)
    disk, draft = reusing(site, "x")
    after = Repository.open(Folder(site.root / "d"), SECRET)
    manifest = after.destination
    real = AddOnly.store

    def store(self, name, data):
        real(self, name, data)
        if name.startswith("manifests"):
            for item in list(manifest.list("packs")):
                manifest.delete(item.name)

    with patch.object(AddOnly, "store", store), pytest.raises(BaseGone):
        only.publish(tmp_path / "x", draft)
    assert len(site.names("manifests")) == 1, "it could not be taken back"
    assert site.clean().damaged == [draft.manifest.backup]
    assert disk.size


@pytest.mark.slow
def test_wherever_power_fails_in_a_clean_up_the_next_one_completes_it(
    tmp_path, pool, record_property
):
    seed = random.randrange(1 << 32)
    record_property("seed", seed)
    site = Site(tmp_path, pool)
    disk = MemoryDisk(noise(2 * MIB))
    first = site.back_up(disk)
    disk.write_at(200 * KIB, noise(1700 * KIB, 1))
    site.back_up(disk, first, disk.changed())
    orphan = export(site.repository, MemoryDisk(noise(MIB, 5)), tmp_path / "o", pool)
    site.repository.destination.adopt(
        f"packs/{orphan.packs[0][:2]}/{orphan.packs[0][:-5]}", tmp_path / "o" / orphan.packs[0]
    )
    site.forget(first)
    shutil.copytree(tmp_path / "d", tmp_path / "aside")
    failed, done = 0, False
    while not done:
        shutil.rmtree(tmp_path / "d")
        shutil.copytree(tmp_path / "aside", tmp_path / "d")
        io = CrashingDisk(fail_at=failed + 1, seed=seed + failed)
        try:
            site.clean(io=io)
            done = True
        except PowerLost:
            failed += 1
            io.drop_unsynced()
        site.assert_whole()
        site.clean()
        site.assert_whole()
        site.assert_tight()
    assert failed > 40
