"""A repair does not trust a single failed read, and removes no evidence."""

import pytest

from haulback.destinations.folder import Folder
from haulback.errors import Damaged, Unavailable
from haulback.repository.repository import Repository
from haulback.units import MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise
from tests.unit.repository.test_repair import Patient


@pytest.fixture
def patient(tmp_path, pool):
    return Patient(tmp_path, pool)


def once(monkeypatch, error, wanted):
    """Make the first read of an object that `wanted` accepts fail; all other reads work."""
    load, failed = Folder.load, []

    def failing(self, name, offset=0, length=None):
        if not failed and wanted(name, offset, length):
            failed.append(name)
            raise error
        return load(self, name, offset, length)

    monkeypatch.setattr(Folder, "load", failing)
    return failed


def test_a_manifest_that_reads_the_second_time_stays(patient, monkeypatch):
    first, _ = patient.held
    name = f"manifests/{first}"
    failed = once(monkeypatch, Damaged("an I/O error"), lambda n, *_: n == name)
    patient.repair()
    assert failed
    assert patient.path(name).exists()
    assert patient.restores(first)


def test_a_store_that_falls_silent_in_a_repair_costs_no_group(patient, monkeypatch):
    """The other groups of the damaged pack are good, so a time-out must not count them as lost."""
    first, _ = patient.held
    pack = patient.data_pack(first)
    patient.flip(pack, 1000)
    with monkeypatch.context() as patch:
        reads = []

        def late(name, offset, length):
            reads.append(offset)
            return name == pack and bool(length) and reads.count(offset) > 2 and offset > 1000

        failed = once(patch, Unavailable("timed out"), late)
        try:
            patient.repair()
        except Unavailable:
            assert failed
            assert patient.path(pack).exists(), "nothing was exchanged"
    losses = patient.repair().losses
    assert sum(loss.bytes for loss in losses) <= MIB


def test_a_last_roll_that_cannot_be_read_stays_and_keeps_clean_ups_from_deleting(patient, pool):
    patient.clean()
    lost = back_up(patient.open(), MemoryDisk(noise(MIB, 9)), patient.root / "s", pool)
    patient.clean()
    last = max(patient.names("rolls"))
    for name in (last, last.replace("rolls/", "rolls-copy/")):
        patient.flip(name)
    patient.path(f"manifests/{lost.backup}").unlink()
    done = patient.repair()
    assert any("clean-ups delete nothing" in action for action in done.actions)
    before = patient.names("packs")
    with pytest.raises(Damaged, match="roll"):
        patient.clean()
    assert patient.names("packs") == before
    assert Repository.open(Folder(patient.root / "d"), SECRET).guid
