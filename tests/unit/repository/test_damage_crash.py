"""Power may fail at every write of records, rolls, tombstones, copies and repairs."""

import shutil

import pytest

from haulback.destinations.folder import Folder
from haulback.errors import HaulbackError
from haulback.repository.config import CONFIG, CONFIG_COPY
from haulback.repository.garbage_collection import CleanupOrder, clean_up
from haulback.repository.repair import RepairContext, repair
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import CheckOrder, Depth, verify
from haulback.testing.crash import CrashingDisk, PowerLost
from tests.conftest import SECRET
from tests.unit.repository.test_repair import Patient


@pytest.fixture
def patient(tmp_path, pool):
    return Patient(tmp_path, pool)


def open_by(patient, io):
    return Repository.open(Folder(patient.root / "d", io), SECRET)


def room(patient):
    shutil.rmtree(patient.root / "w", ignore_errors=True)
    (patient.root / "w").mkdir()
    return patient.root / "w"


def until_done(work, check, seed=5):
    """Fail at each operation in turn, run `check` after each; returns the number of operations."""
    failed = 0
    while True:
        io = CrashingDisk(failed + 1, seed + failed)
        try:
            work(io)
        except PowerLost:
            failed += 1
            io.drop_unsynced()
            check()
            continue
        check()
        return failed


def test_wherever_power_fails_in_an_init_the_next_one_makes_a_repository(tmp_path):
    failed = 0
    for at in range(1, 60):
        root = tmp_path / str(at)
        root.mkdir()
        io = CrashingDisk(at, at)
        try:
            Repository.init(Folder(root, io), SECRET)
        except PowerLost:
            failed += 1
            io.drop_unsynced()
        try:
            opened = Repository.open(Folder(root), SECRET)
        except HaulbackError:
            opened = Repository.init(Folder(root), SECRET)
        opened.begin_writing()
        again = Repository.open(Folder(root), SECRET)
        assert (again.guid, again.problems) == (opened.guid, {})
    assert failed > 5


def test_wherever_power_fails_while_damage_is_recorded_all_that_is_whole_restores(patient, pool):
    first, second = patient.held
    patient.flip(patient.data_pack(first), 1000)

    def work(io):
        verify(
            open_by(patient, io),
            Depth.DATA,
            Resources(pool),
            CheckOrder(record=lambda: ("a test", 1)),
        )

    failed = until_done(work, lambda: patient.restores(second) or pytest.fail("lost"))
    assert failed > 3
    assert patient.open().damage()


@pytest.mark.slow
def test_wherever_power_fails_in_a_repair_nothing_is_worse_and_the_next_one_completes_it(
    patient, pool
):
    first, second = patient.held
    pack = patient.data_pack(first)
    patient.flip(pack, 1000)
    patient.flip(patient.names("index")[0])
    patient.clean()
    patient.path(CONFIG_COPY).unlink()

    def work(io):
        context = RepairContext(room(patient), Resources(pool, io), lambda: ("a test", 1))
        repair(open_by(patient, io), context, apply=True)

    failed = until_done(work, lambda: patient.restores(second) or pytest.fail("lost"))
    assert failed > 20
    # A pack that left the index directly before the power failure is moved aside now.
    patient.repair()
    done = patient.repair()
    assert done.actions == [], done.actions
    assert [loss.backup for loss in done.losses] == [first]
    assert patient.path(CONFIG).exists()
    assert patient.path(CONFIG_COPY).exists()


@pytest.mark.slow
def test_wherever_power_fails_in_a_clean_up_that_forgets_its_rolls_lead_to_no_false_alarm(
    patient, pool
):
    """A power failure between tombstone, manifest and roll makes no backup look lost."""
    first, second = patient.held

    def work(io):
        orders = CleanupOrder(forget=[first], expected=lambda: [second])
        clean_up(open_by(patient, io), room(patient), frozenset, Resources(pool, io), orders)

    failed = until_done(work, lambda: patient.restores(second) or pytest.fail("lost"))
    assert failed > 20
    assert patient.clean().backups == 1
    assert verify(patient.open(), Depth.DATA, Resources(pool)).ok
