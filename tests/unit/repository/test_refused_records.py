"""Damage that cannot be recorded on its destination: the report alone tells the server."""

from __future__ import annotations

import pytest

from haulback.destinations.folder import Folder
from haulback.destinations.pass_through import PassThrough
from haulback.errors import (
    Conflict,
    Forbidden,
    HaulbackError,
    Misconfigured,
    OutOfSpace,
    Unavailable,
)
from haulback.repository import damage_report, pack_verification
from haulback.repository.backup_loss import assess
from haulback.repository.reported_damage import ReadBackups, report_damage
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import CheckOrder, Depth, verify
from haulback.transfer.copy import lacks_data
from haulback.units import MIB
from haulback.work.support.damage_report import complete_report
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise, restored
from tests.unit.transfer.copy_site import CopySite
from tests.unit.transfer.test_copy import BACK, rot

REFUSALS = [
    Forbidden("the credential may only read"),
    Misconfigured("the credential may only read"),
    OutOfSpace("the quota is used up"),
    Unavailable("the store is read-only"),
    OSError(30, "read-only file system"),
]


class ReadOnly(PassThrough):
    """A destination that stores nothing."""

    refusal: HaulbackError | OSError

    def store(self, name: str, data: bytes) -> None:
        raise self.refusal


@pytest.fixture
def site(tmp_path, pool) -> CopySite:
    return CopySite(tmp_path, pool)


def read_only(site: CopySite, refusal: HaulbackError | OSError) -> Repository:
    store = ReadOnly(Folder(site.root / "first"))
    store.refusal = refusal
    return Repository.open(store, SECRET)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
def test_a_reader_reports_damage_that_the_store_does_not_record(site, pool, refusal):
    backup = site.back_up(MemoryDisk(noise(3 * MIB)))
    rot(site, "first", backup)
    opened = read_only(site, refusal)
    with pytest.raises(HaulbackError):
        restored(opened, backup, pool)
    report = report_damage("d", opened, ReadBackups([backup.backup]), lambda: ("RESTORE", 1))
    assert [(loss.backup, len(loss.disks)) for loss in report.losses] == [(backup.backup, 1)]
    assert report.objects
    assert "cannot be recorded" in report.findings[0]
    assert not site.opened("first").damage()


@pytest.mark.parametrize("refusal", REFUSALS[:1])
def test_a_verify_names_the_backups_whose_damage_the_store_does_not_record(site, pool, refusal):
    backup = site.back_up(MemoryDisk(noise(3 * MIB)))
    sound = back_up(site.opened("first"), MemoryDisk(noise(MIB, 9)), site.root / "other", pool)
    rot(site, "first", backup)
    (site.root / "verify").mkdir()
    order = CheckOrder(folder=site.root / "verify", record=lambda: ("VERIFY", 1))
    done = verify(read_only(site, refusal), Depth.DATA, Resources(pool), order)
    report = complete_report("d", done, [backup.backup, sound.backup]).report
    assert [loss.backup for loss in report.losses] == [backup.backup]
    assert report.objects


@pytest.mark.parametrize("family", [True, False])
def test_a_location_is_healed_whose_damage_its_store_did_not_record(
    tmp_path, pool, monkeypatch, family
):
    for name in ("ALWAYS", "SHARE"):
        monkeypatch.setattr(pack_verification, name, 0)  # in a large backup few groups are read
    site = CopySite(tmp_path, pool, family=family)
    backup = site.back_up(MemoryDisk(noise(3 * MIB)))
    copy = site.copy(backup).manifest
    rot(site, "first", backup)
    assert not lacks_data(site.opened("first"), backup.backup)  # without a record of the damage
    site.copy(copy, guid=backup.backup, route=BACK, heals=True)
    assert site.restores("first", backup)
    assert assess(site.opened("first"), backup) is None


@pytest.mark.parametrize("family", [True, False])
def test_a_healing_says_that_it_does_not_believe_the_failed_reads(
    tmp_path, pool, monkeypatch, family
):
    for name in ("ALWAYS", "SHARE"):
        monkeypatch.setattr(pack_verification, name, 0)
    monkeypatch.setattr(damage_report, "MANY", 1)  # as when eight of twelve packs are unreadable
    site = CopySite(tmp_path, pool, family=family)
    backup = site.back_up(MemoryDisk(noise(3 * MIB)))
    copy = site.copy(backup).manifest
    rot(site, "first", backup)
    with pytest.raises(Conflict, match="all at the same time"):
        site.copy(copy, guid=backup.backup, route=BACK, heals=True)
