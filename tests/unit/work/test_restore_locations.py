"""Restores from a backup with several locations, each in a separate repository."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from haulback.contract.order_records import BackupDestination, BackupPlace
from haulback.contract.restore import RestoreOrder
from haulback.errors import Conflict, Damaged, Fenced, HaulbackError, OutOfSpace
from haulback.repository.manifest import Manifest
from haulback.repository.reported_damage import ReadBackups, report_damage
from haulback.repository.repository import Repository
from haulback.units import MIB
from haulback.work import restore
from haulback.work.support.locations import OpenLocation, disks_at_any, read_at_any
from tests.images import restored_disk
from tests.unit.repository.scene import MemoryDisk, noise
from tests.unit.transfer.copy_site import CopySite
from tests.unit.transfer.test_copy import noticed, rot

SIZE = 40 * MIB


class Reading:
    """The services of a node for a restore from the repositories of a site, into one folder."""

    def __init__(self, site: CopySite, order: RestoreOrder) -> None:
        self.site, self.order, self.pool = site, order, site.pool
        self.progress = self.repositories = self.staging = self
        self.folder, self.made = site.root / "restored", None
        self.folder.mkdir()
        self.damaged: list[str] = []
        self.unread: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.opened: list[str] = []
        self.refusals: dict[str, HaulbackError] = {}  # by the name of a destination
        self.attempt = "task-1"

    def log(self, text: str) -> None:
        self.said.append(text)

    def open(self, record: BackupDestination) -> Repository:
        self.opened.append(record.name)
        if refusal := self.refusals.get(record.name):
            raise refusal
        return self.site.opened(record.name)

    def restore_folder(self, path: str) -> Reading:
        return self

    def commit(self) -> Path:
        return self.folder

    def expect(self, total: int) -> None: ...

    def meter(self, count: int) -> None: ...

    def confirm(self) -> None: ...

    @property
    def content(self) -> bytes:
        return restored_disk(self.folder).read_bytes()


def place(name: str, backup: Manifest) -> BackupPlace:
    record = BackupDestination(guid=name, name=name, driver="folder", config={})
    return BackupPlace(backup.backup, record)


def order(first: BackupPlace, *others: BackupPlace, path: str | None = None) -> RestoreOrder:
    return RestoreOrder(first.backup, first.destination, path, others=list(others))


@pytest.fixture
def sites(tmp_path: Path, pool: ThreadPoolExecutor) -> Callable[[bool], CopySite]:
    return lambda family: CopySite(tmp_path, pool, family=family)


def a_disk() -> MemoryDisk:
    disk = MemoryDisk(bytes(SIZE))
    disk.write_at(0, noise(MIB, 1))
    disk.write_at(20 * MIB, noise(2 * MIB, 2))
    return disk


def test_a_restore_that_fails_in_the_middle_begins_again_at_the_next_location(sites):
    site = sites(False)
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    rot(site, "first", backup)
    work: Any = Reading(site, order(place("first", backup), place("second", copy), path="/r"))
    report = restore.run(work)
    assert report["readFrom"] == {
        "backup": copy.backup,
        "destination": {"guid": "second", "name": "second"},
    }
    assert work.content == site.contents[backup.backup]
    assert "the backup is read from second" in work.said


@pytest.mark.parametrize("end", [Fenced, Conflict])
def test_a_restore_that_may_not_go_on_reads_no_other_location(sites, end: type[Conflict]):
    site = sites(True)
    backup = site.back_up(a_disk())
    places = place("first", backup), place("second", site.copy(backup).manifest)
    work: Any = Reading(site, order(*places))

    def meter(count: int) -> None:
        raise end("the attempt is over")

    work.meter = meter
    with pytest.raises(end):
        restore.run(work)
    assert work.opened == ["first"]


def test_a_restore_to_a_full_folder_is_refused_and_reads_no_other_location(
    sites, monkeypatch: pytest.MonkeyPatch
):
    site = sites(False)
    backup = site.back_up(a_disk())
    places = place("first", backup), place("second", site.copy(backup).manifest)
    work: Any = Reading(site, order(*places, path="/r"))
    full = os.statvfs_result((4096, 4096, 1000, 256, 256, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda folder: full)
    with pytest.raises(OutOfSpace, match=r"^/r has 1 MiB free, and 1 disk to restore needs 3 MiB"):
        restore.run(work)
    assert work.opened == ["first"]
    assert list(work.folder.iterdir()) == []


def free_blocks(monkeypatch: pytest.MonkeyPatch, count: Callable[[], int]) -> None:
    """Let every file system tell a number of free blocks of 4 KiB."""

    def space(_folder: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 9000, count(), count(), 0, 0, 0, 0, 255))

    monkeypatch.setattr(os, "statvfs", space)


def test_the_files_of_a_location_that_failed_take_no_space_of_the_next_one(
    sites, monkeypatch: pytest.MonkeyPatch
):
    site = sites(False)
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    rot(site, "first", backup)
    work: Any = Reading(site, order(place("first", backup), place("second", copy), path="/r"))
    free_blocks(monkeypatch, lambda: 256 if any(work.folder.iterdir()) else 1024)
    restore.run(work)
    assert work.content == site.contents[backup.backup]


def test_a_repeated_attempt_is_not_refused_for_the_files_of_the_earlier_one(
    sites, monkeypatch: pytest.MonkeyPatch
):
    site = sites(False)
    backup = site.back_up(a_disk())
    work: Any = Reading(site, order(place("first", backup), path="/r"))
    work.attempt = "task-2"
    free_blocks(monkeypatch, lambda: 256)
    restore.run(work)
    assert work.content == site.contents[backup.backup]


@pytest.mark.parametrize(
    "refusal",
    [
        Conflict("first holds another repository than before"),
        OutOfSpace("first is full"),
    ],
)
def test_a_location_that_cannot_be_opened_is_left_for_the_next_one(sites, refusal: HaulbackError):
    site = sites(True)
    backup = site.back_up(a_disk())
    places = place("first", backup), place("second", site.copy(backup).manifest)
    work: Any = Reading(site, order(*places, path="/r"))
    work.refusals["first"] = refusal
    restore.run(work)
    assert work.content == site.contents[backup.backup]


def rotten(site: CopySite, backup: Manifest, *wounds: tuple[str, int]) -> None:
    """Record that repositories lack the largest group (0) of a backup, or the next largest (1)."""
    for name, number in wounds:
        rot(site, name, backup, number)
        noticed(site, name)


@pytest.mark.parametrize("family", [True, False])
@pytest.mark.parametrize("second", [0, 1])
def test_a_check_of_a_backup_believes_the_union_of_a_family_only(sites, family, second: int):
    site = sites(family)
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    rotten(site, backup, ("first", 0), ("second", second))
    work: Any = Reading(site, order(place("first", backup), place("second", copy)))
    if family and second:
        assert restore.run(work)["checked"]
    else:
        with pytest.raises(Damaged):
            restore.run(work)


@pytest.mark.parametrize("harm", ["rot", "loss", "deletion"])
def test_a_manifest_that_a_restore_cannot_read_is_reported(sites, harm: str):
    site = sites(True)
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    name = f"manifests/{backup.backup}"
    if harm == "deletion":
        site.first.forget(backup.backup)
    else:
        site.first.destination.delete(name)
    if harm == "rot":
        site.first.destination.store(name, b"no manifest")
    work: Any = Reading(site, order(place("first", backup), place("second", copy), path="/r"))
    restore.run(work)
    assert work.content == site.contents[backup.backup]
    [(destination, unread)] = work.unread
    asked = ReadBackups(unread=[unread])
    told = report_damage(destination, site.opened("first"), asked, lambda: ("RESTORE", 1))
    wanted = {"rot": ([], [unread]), "loss": ([unread], [])}.get(harm)
    assert (told and (told.missing, told.unreadable)) == wanted


@pytest.mark.parametrize("family", [True, False])
def test_a_proof_that_meets_damage_reads_on_from_the_copy(sites, family: bool):
    site = sites(family)
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    first, second = place("first", backup), place("second", copy)
    work: Any = Reading(site, order(first, second))
    location = read_at_any(work, (first.backup, first.destination), [second], lambda at: at)
    for path in (site.root / "first" / "packs").glob("*/*"):
        path.unlink()
    [disk] = disks_at_any(work, location, [first, second]).values()
    content, buffer = site.contents[backup.backup], bytearray(SIZE)
    for extent in disk.extents():
        part = memoryview(buffer)[extent.offset : extent.offset + extent.length]
        disk.read_into(extent.offset, part)
    assert bytes(buffer) == content


@pytest.mark.parametrize("family", [True, False])
def test_a_location_that_cannot_be_read_is_opened_once_for_all_disks(sites, family: bool):
    site = sites(family)
    backup = site.back_up(a_disk())
    copy = site.copy(backup).manifest
    rot(site, "first", backup)
    site.second.destination.delete(f"manifests/{copy.backup}")
    other = place("second", copy)
    work: Any = Reading(site, order(place("first", backup), other))
    work.repositories = work

    def read(location: OpenLocation) -> None:
        for disk in disks_at_any(work, location, [other]).values():
            for offset in range(0, SIZE, MIB):
                with contextlib.suppress(HaulbackError):
                    disk.read_into(offset, memoryview(bytearray(4096)))

    read_at_any(work, (backup.backup, place("first", backup).destination), [other], read)
    # A family supplies the chunks; otherwise the location is opened for chunks, and for its disks.
    assert work.opened.count("second") == (1 if family else 2)
    assert len(work.unread) == (0 if family else 1)
