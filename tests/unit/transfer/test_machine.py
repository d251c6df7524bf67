"""A machine is restored as it was exported, whatever changes the hypervisor reported."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.errors import Damaged, SourceChanged, Unavailable
from haulback.ids import new_guid
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import CheckOrder, Depth, verify
from haulback.testing.memory_hypervisor import MemoryDisk, MemoryHypervisor
from haulback.transfer.export import ExportServices, ExportSpec, export_machine
from haulback.transfer.restore import RestoreServices, RestoreTarget, import_machine
from haulback.transfer.store import store_machine
from haulback.units import KIB, MIB
from tests.conftest import SECRET


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


class Site:
    """A machine with a full and an empty disk, its repository, and the warnings of the exports."""

    def __init__(self, repository: Repository, staging: Path, pool: ThreadPoolExecutor) -> None:
        self.repository, self.staging, self.pool = repository, staging, pool
        self.hypervisor, self.told, self.read = MemoryHypervisor(), list[str](), 0
        disks = (MachineDisk("vda", 3 * MIB, "raw"), MachineDisk("vdb", MIB, "qcow2"))
        machine = Machine("u1", "web", disks, {"uuid": "u1", "cpus": 2})
        memory = {"vda": MemoryDisk(3 * MIB, noise(3 * MIB, 1)), "vdb": MemoryDisk(MIB)}
        self.hypervisor.adopt(machine, memory)
        self.attempts = 0

    @property
    def disks(self) -> dict[str, MemoryDisk]:
        return self.hypervisor.machines["u1"].disks

    def _meter(self, count: int) -> None:
        self.read += count

    def back_up(
        self, base: Manifest | None = None, without: frozenset[str] = frozenset()
    ) -> Manifest:
        """Export and store the machine; `base` is the previous backup."""
        before = f"haulback-{self.attempts}" if base else None
        self.attempts, self.read = self.attempts + 1, 0
        folder = self.staging / str(self.attempts)
        folder.mkdir(parents=True)
        draft = export_machine(
            self.hypervisor.snapshot("u1", str(self.attempts), before),
            self.repository,
            ExportSpec(
                new_guid(),
                "entity",
                1_000 + self.attempts,
                without,
                base.backup if base else None,
            ),
            ExportServices(folder, self.pool, meter=self._meter, warn=self.told.append),
        )
        manifest = store_machine(self.repository, folder, draft)
        assert not folder.exists()
        return manifest

    def restored(self, manifest: Manifest, **target: object) -> dict[str, bytes]:
        """The disks of a backup, restored to another hypervisor."""
        other = MemoryHypervisor()
        wanted = RestoreTarget("a", **target)  # type: ignore[arg-type]
        services = RestoreServices(self.pool)
        made = import_machine(self.repository, manifest, other, wanted, services)
        disks = other.machines[made.machine.uuid].disks
        return {name: bytes(disk.data) for name, disk in disks.items()}

    def now(self) -> dict[str, bytes]:
        return {name: bytes(disk.data) for name, disk in self.disks.items()}


@pytest.fixture
def site(repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor) -> Site:
    return Site(repository, tmp_path / "staging", pool)


def test_a_full_backup_holds_every_disk_and_the_definition(site: Site):
    manifest = site.back_up()
    assert (manifest.type, manifest.parent) == ("FULL", None)
    assert (manifest.entity, manifest.entity_name) == ("entity", "web")
    assert manifest.snapshot_time == 1_001
    assert [(disk.name, disk.format) for disk in manifest.disks] == [
        ("vda", "raw"),
        ("vdb", "qcow2"),
    ]
    assert manifest.definition["cpus"] == 2
    assert manifest.read == site.read == 3 * MIB
    assert manifest.stored > 0
    assert site.restored(manifest) == site.now()
    assert site.told == []


def test_an_increment_reads_the_changed_data_and_a_sample(site: Site):
    first = site.back_up()
    site.disks["vda"].write_at(MIB, noise(100 * KIB, 2))
    site.disks["vdb"].write_at(0, noise(10, 3))
    second = site.back_up(first)
    assert (second.type, second.parent) == ("INCREMENTAL", first.backup)
    assert site.read < MIB
    assert site.restored(second) == site.now()
    assert site.restored(first)["vda"] == noise(3 * MIB, 1)


def test_an_increment_without_a_change_restores_to_the_same_bytes(site: Site):
    first = site.back_up()
    second = site.back_up(first)
    assert (second.type, second.read) == ("INCREMENTAL", 0)
    assert site.restored(second) == site.now()


def test_a_platform_that_forgets_changes_is_not_believed(site: Site):
    first = site.back_up()
    site.disks["vda"].write_at(0, noise(3 * MIB, 4))
    for marked in site.disks["vda"].dirty.values():
        marked.clear()
    second = site.back_up(first)
    assert site.restored(second) == site.now()
    assert site.told == ["vda is read whole: data that the platform calls unchanged has changed"]


def test_a_disk_that_grew_is_read_whole(site: Site):
    first = site.back_up()
    old = site.hypervisor.machines["u1"]
    disks = (MachineDisk("vda", 4 * MIB, "raw"), *old.machine.disks[1:])
    grown = MemoryDisk(4 * MIB, noise(4 * MIB, 5))
    grown.dirty = {"haulback-1": set()}
    memory = {**old.disks, "vda": grown}
    site.hypervisor.adopt(old.machine._replace(disks=disks), memory, overwrite=True)
    assert site.restored(site.back_up(first)) == site.now()


def test_a_base_that_is_gone_makes_a_full_backup(site: Site):
    first = site.back_up()
    lost = Manifest(new_guid(), "entity", "web", "FULL", 1, ())
    second = site.back_up(lost)
    assert (second.type, second.parent) == ("FULL", None)
    assert site.restored(second) == site.now() == site.restored(first)
    [told] = site.told
    assert told.startswith("the backup is made a full one: ")


def test_a_disk_that_is_left_out_is_in_no_backup(site: Site):
    manifest = site.back_up(without=frozenset({"vda"}))
    assert [one.name for one in manifest.disks] == ["vdb"]
    assert site.restored(manifest) == {"vdb": bytes(MIB)}


def test_an_increment_of_new_disks_alone_is_a_full_backup(site: Site):
    first = site.back_up(without=frozenset({"vda"}))
    second = site.back_up(first, without=frozenset({"vdb"}))
    assert (second.type, second.parent) == ("FULL", None)


def test_an_export_that_fails_leaves_no_backup(site: Site, monkeypatch: pytest.MonkeyPatch):
    snapshot = site.hypervisor.snapshot("u1", "x")
    folder = site.staging / "x"
    folder.mkdir(parents=True)
    broken = snapshot.views()[0].source

    def vanish(offset: int, buffer: memoryview) -> None:
        raise SourceChanged("the image is gone")

    monkeypatch.setattr(broken, "read_into", vanish)
    spec = ExportSpec(new_guid(), "entity", 1)
    with pytest.raises(SourceChanged):
        export_machine(snapshot, site.repository, spec, ExportServices(folder, site.pool))
    assert not list(folder.glob("*.manifest"))
    assert list(site.repository.backups()) == []


def test_an_increment_after_recorded_damage_reads_the_damaged_disk_whole(site: Site):
    first = site.back_up()
    pack = max(site.repository.destination.root.glob("packs/*/*"), key=lambda p: p.stat().st_size)
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(raw)
    checked = CheckOrder(record=lambda: ("a test", 1))
    verify(site.repository, Depth.DATA, Resources(site.pool), checked)
    again = Site(Repository.open(site.repository.destination, SECRET), site.staging, site.pool)
    again.hypervisor, again.attempts = site.hypervisor, site.attempts
    second = again.back_up(first)
    assert again.told == ["vda is read whole: its data in the previous backup is damaged"]
    assert again.restored(second) == again.now()


def test_an_increment_without_damage_of_its_own_disks_believes_them(site: Site):
    other = site.back_up()
    site.disks["vda"].write_at(0, noise(3 * MIB, 9))
    site.disks["vda"].dirty.clear()
    first = site.back_up()
    pack = min(site.repository.destination.root.glob("packs/*/*"), key=lambda p: p.stat().st_mtime)
    assert other.backup != first.backup
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(raw)
    checked = CheckOrder(record=lambda: ("a test", 1))
    verify(site.repository, Depth.DATA, Resources(site.pool), checked)
    again = Site(Repository.open(site.repository.destination, SECRET), site.staging, site.pool)
    again.hypervisor, again.attempts = site.hypervisor, site.attempts
    again.disks["vda"].write_at(0, b"new")
    second = again.back_up(first)
    assert again.told == []
    assert again.restored(second) == again.now()


def test_a_map_that_cannot_be_read_makes_the_disk_be_read_whole(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    first = site.back_up()

    def unreadable(*given: object) -> None:
        raise Damaged("group 00 is damaged")

    monkeypatch.setattr("haulback.transfer.export.cbt_check.is_true", unreadable)
    second = site.back_up(first)
    reason = "is read whole: the previous backup is damaged: group 00 is damaged"
    assert site.told == [f"vda {reason}", f"vdb {reason}"]
    assert (second.type, second.parent) == ("FULL", None)
    assert site.restored(second) == site.now()


def test_a_backup_is_stored_although_its_index_cannot_be_merged(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def away(*given: object) -> None:
        raise Unavailable("the destination does not answer")

    monkeypatch.setattr(site.repository, "merge_index", away)
    manifest = site.back_up()
    assert "the merge of index files is postponed: the destination does not answer" in caplog.text
    assert site.restored(manifest) == site.now()
