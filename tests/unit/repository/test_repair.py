"""A damaged repository is repaired: nothing is deleted, and sound backups restore."""

import shutil

import pytest

from haulback.destinations.folder import Folder
from haulback.errors import Damaged, Missing, NotFound, RepositoryError
from haulback.repository.backup_loss import check_backup
from haulback.repository.config import CONFIG, CONFIG_COPY
from haulback.repository.garbage_collection import CleanupOrder, clean_up
from haulback.repository.keys import Keys
from haulback.repository.repair import RepairContext, repair
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import CheckOrder, Depth, verify
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise, restored


class Patient:
    """A repository with two machines, which the tests damage."""

    def __init__(self, root, pool):
        self.root, self.pool = root, pool
        (root / "d").mkdir()
        made = Repository.init(Folder(root / "d"), SECRET)
        self.kit = made.keys.kit(made.guid)
        self.held = {}
        for seed in (1, 2):
            disk = MemoryDisk(noise(3 * MIB, seed))
            manifest = back_up(made, disk, root / "s", pool)
            self.held[manifest.backup] = (manifest, bytes(disk.data))

    def open(self, secret=SECRET):
        return Repository.open(Folder(self.root / "d"), secret)

    def path(self, name):
        return self.root / "d" / name

    def names(self, folder):
        return sorted(item.name for item in Folder(self.root / "d").list(folder))

    def flip(self, name, at=-20):
        raw = bytearray(self.path(name).read_bytes())
        raw[at] ^= 1
        self.path(name).unlink()
        self.path(name).write_bytes(raw)

    def repair(self, apply=True, secret=SECRET, secrets=()):
        folder = self.root / "w"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        context = RepairContext(folder, Resources(self.pool), lambda: ("a test", 1), secrets)
        return repair(self.open(secret), context, apply=apply)

    def clean(self, **orders):
        folder = self.root / "w"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return clean_up(
            self.open(), folder, frozenset, Resources(self.pool), orders=CleanupOrder(**orders)
        )

    def data_pack(self, backup):
        """The name of the largest pack with a first chunk of a backup."""
        repository = self.open()
        index = repository.index()
        disk = self.held[backup][0].disks[0].map
        pages = {index.place(disk.group).pack}
        session = disk.group[:8]
        groups = {g: p for s in index.segments for g, p in s.groups() if g.startswith(session)}
        found = {p.pack for p in groups.values()} - pages
        return f"packs/{next(iter(found)).hex()[:2]}/{next(iter(found)).hex()}"

    def restores(self, backup):
        manifest, data = self.held[backup]
        return restored(self.open(), manifest, self.pool) == data


@pytest.fixture
def patient(tmp_path, pool):
    return Patient(tmp_path, pool)


def test_a_dry_run_changes_nothing_and_says_what_would_be_done(patient):
    first, _ = patient.held
    patient.flip(patient.data_pack(first), 1000)
    before = {name: patient.names(name) for name in ("packs", "index", "manifests", "damage")}
    done = patient.repair(apply=False)
    assert done.actions
    assert [loss.backup for loss in done.losses] == [first]
    assert {n: patient.names(n) for n in before} == before
    assert patient.names("aside") == []


def test_sound_groups_leave_a_damaged_pack_and_only_the_damaged_group_is_lost(patient, pool):
    first, second = patient.held
    pack = patient.data_pack(first)
    patient.flip(pack, 1000)
    done = patient.repair()
    [loss] = done.losses
    assert (loss.backup, 0 < loss.bytes <= MIB) == (first, True)
    assert patient.names("aside") == [f"aside/{pack}"]
    assert patient.restores(second)
    with pytest.raises(RepositoryError):
        patient.restores(first)
    with pytest.raises(Damaged, match="disk0"):
        check_backup(patient.open(), first)
    again = patient.repair()
    assert again.actions == []


def test_after_a_repair_a_new_full_heals_the_old_backup(patient, pool):
    first, _ = patient.held
    patient.flip(patient.data_pack(first), 1000)
    patient.repair()
    _, data = patient.held[first]
    back_up(patient.open(), MemoryDisk(data), patient.root / "s", pool)
    assert patient.restores(first)
    for _ in range(2):
        patient.clean()
    assert patient.restores(first)
    assert verify(patient.open(), Depth.DATA, Resources(pool)).ok


@pytest.mark.parametrize("at", [0, -5, -40])
def test_a_pack_with_a_damaged_beginning_or_directory_is_written_anew(patient, pool, at):
    first, second = patient.held
    patient.flip(patient.data_pack(first), at)
    assert not verify(patient.open(), Depth.OBJECTS, Resources(pool)).ok
    assert patient.repair().losses == []
    assert patient.restores(first)
    assert patient.restores(second)
    assert verify(patient.open(), Depth.DATA, Resources(pool)).ok


def test_a_damaged_index_segment_is_rebuilt_and_set_aside(patient, pool):
    for name in patient.names("index"):
        patient.flip(name)
    assert all(map(patient.restores, patient.held)), "readers do without it"
    patient.repair()
    assert verify(patient.open(), Depth.DATA, Resources(pool)).ok
    assert all(map(patient.restores, patient.held))
    assert len([n for n in patient.names("aside") if n.startswith("aside/index/")]) == 2


@pytest.mark.parametrize("name", [CONFIG, CONFIG_COPY])
@pytest.mark.parametrize("how", ["gone", "flipped", "empty"])
def test_either_copy_of_the_configuration_opens_and_restores_the_other(patient, name, how):
    back_up(patient.open(), MemoryDisk(noise(KIB)), patient.root / "s", patient.pool)
    original = patient.path(name).read_bytes()
    if how == "flipped":
        patient.flip(name, 30)
    else:
        patient.path(name).unlink()
        if how == "empty":
            patient.path(name).write_bytes(b"")
    assert not verify(patient.open(), Depth.OBJECTS, Resources(patient.pool)).ok
    patient.repair()
    assert patient.path(name).read_bytes() == original
    assert verify(patient.open(), Depth.OBJECTS, Resources(patient.pool)).ok


def test_the_kit_opens_a_repository_without_any_configuration_and_makes_one_anew(patient, pool):
    for name in (CONFIG, CONFIG_COPY):
        patient.path(name).unlink(missing_ok=True)
    with pytest.raises(Damaged, match="recovery kit"):
        patient.open()
    with pytest.raises(Damaged):
        Repository.open(Folder(patient.root / "d"), Keys.generate())
    kit = Keys.from_kit(patient.kit)
    assert sorted(m.backup for m in patient.open(kit).backups()) == sorted(patient.held)
    patient.repair(secret=kit, secrets=(SECRET,))
    assert patient.open().guid == kit.repository
    assert all(map(patient.restores, patient.held))


def test_nobody_is_told_to_init_where_packs_lie(patient):
    for name in (CONFIG, CONFIG_COPY):
        patient.path(name).unlink(missing_ok=True)
    with pytest.raises(Damaged) as error:
        patient.open()
    assert "init" not in error.value.message
    with pytest.raises(Exception, match="holds a repository already"):
        Repository.init(Folder(patient.root / "d"), SECRET)


def test_a_damaged_manifest_is_set_aside_and_missed_by_the_next_clean_up(patient):
    first, second = patient.held
    patient.clean()
    patient.flip(f"manifests/{first}")
    patient.repair()
    assert patient.names("aside") == [f"aside/manifests/{first}"]
    with pytest.raises(Missing) as error:
        patient.clean()
    assert error.value.missing == [first]
    assert patient.clean(given_up=[first]).backups == 1
    assert patient.restores(second)


def test_packs_that_are_away_all_at_once_are_not_believed(patient, pool):
    for seed in range(20):
        disk = MemoryDisk(noise(64 * KIB, 100 + seed))
        manifest = back_up(patient.open(), disk, patient.root / "s", pool)
        patient.held[manifest.backup] = (manifest, bytes(disk.data))
    patient.path("packs").rename(patient.root / "away")
    report = verify(
        patient.open(), Depth.MAPS, Resources(pool), CheckOrder(record=lambda: ("a test", 1))
    )
    assert report.recorded.unreliable
    assert patient.names("damage") == []
    done = patient.repair()
    assert any("not be mounted" in action for action in done.actions)
    (patient.root / "away").rename(patient.path("packs"))
    assert all(map(patient.restores, patient.held))
    assert verify(patient.open(), Depth.DATA, Resources(pool)).ok


def test_a_missing_backup_is_not_invented(patient):
    with pytest.raises(NotFound):
        patient.open().manifest("00000000-0000-4000-8000-000000000009")
