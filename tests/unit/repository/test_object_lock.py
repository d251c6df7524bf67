"""A repository on a store that keeps locks: every reused pack is locked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haulback.contract.destination_types import by_driver
from haulback.contract.order_records import Owner
from haulback.destinations.add_only import AddOnly
from haulback.destinations.registry import open_destination
from haulback.durable_files import DurableFiles
from haulback.errors import Forbidden, Misconfigured, RepositoryError
from haulback.node.lock_memory import LockMemories
from haulback.repository.garbage_collection import CleanupOrder, CleanupReport, clean_up
from haulback.repository.manifest import Manifest
from haulback.repository.manifest import name_of as manifest_name
from haulback.repository.object_lock import ObjectLocks, lock_end
from haulback.repository.owners import OwnerRecord, Ownership
from haulback.repository.pack import name_of as pack_name
from haulback.repository.pack_upload import publish_packs
from haulback.repository.repair import RepairContext, repair
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import Depth, verify
from haulback.units import DAY_MS
from tests import s3
from tests.conftest import SECRET
from tests.unit.destinations.test_s3_locks import locked_bucket, now_ms
from tests.unit.repository.scene import MemoryDisk, export, noise, restored

pytestmark = pytest.mark.slow
WEEK = 7 * DAY_MS


class Vault:
    """A repository in a bucket with object lock, and the actions on it."""

    def __init__(self, root: Path, pool: ThreadPoolExecutor) -> None:
        self.bucket, self.root, self.pool = locked_bucket(), root, pool
        self.config = s3.config_of(self.bucket, objectLock=True)
        self.repository = Repository.init(self.open(), SECRET)

    def open(self):
        assert by_driver("s3")
        return open_destination("s3", self.config, "a1")

    def opened(self) -> Repository:
        """The repository as another process opens it."""
        return Repository.open(self.open(), SECRET)

    def store(self, disk: MemoryDisk, lock: int = WEEK, base: Manifest | None = None) -> Manifest:
        changed = disk.changed()
        staging = self.root / "staging"
        draft = export(
            self.repository,
            disk,
            staging,
            self.pool,
            base.disks[0].map if base else None,
            changed if base else None,
            parent=base.backup if base else None,
        )
        return self.repository.publish(staging, draft, None, lock)

    def clean(self, *forget: str, given_up: tuple[str, ...] = ()) -> CleanupReport:
        work = self.root / "work"
        work.mkdir(exist_ok=True)
        resources = Resources(self.pool, DurableFiles())
        order = CleanupOrder(forget=list(forget), given_up=list(given_up))
        return clean_up(self.opened(), work, frozenset, resources, order)

    def until(self, name: str) -> int:
        return self.repository.locks._store.locked_until(name)  # type: ignore[union-attr]

    def packs(self) -> set[str]:
        return {pack_name(pack) for pack in self.repository.objects.packs()}


@pytest.fixture
def vault(tmp_path: Path, pool: ThreadPoolExecutor) -> Iterator[Vault]:
    return Vault(tmp_path, pool)


def test_a_backup_is_locked_with_all_that_it_needs(vault: Vault):
    made = vault.store(MemoryDisk(noise(1 << 20)))
    end = lock_end(now_ms(), WEEK)
    assert WEEK <= end - now_ms() <= WEEK + 2 * DAY_MS
    for name in (*vault.packs(), manifest_name(made.backup), "haulback.json"):
        assert abs(vault.until(name) - end) < 1000


def test_a_reused_pack_gets_the_lock_of_the_new_backup_before_its_manifest(vault: Vault):
    disk = MemoryDisk(noise(1 << 20))
    first = vault.store(disk, DAY_MS)
    before = {name: vault.until(name) for name in vault.packs()}
    vault.store(disk, WEEK)
    for name, end in before.items():
        assert vault.until(name) >= end + 5 * DAY_MS
    disk.write_at(0, b"changed")
    vault.store(disk, 2 * WEEK, first)
    # the pack of the old pages does not belong to the increment
    assert lock_end(now_ms(), 2 * WEEK) in {vault.until(name) for name in before}


def test_a_pack_is_locked_once_a_day_whatever_reuses_it(vault: Vault, tmp_path: Path):
    disk, asked = MemoryDisk(noise(1 << 20)), list[str]()
    store = vault.repository.locks._store
    assert store
    lock = store.lock
    store.lock = lambda names, until: (asked.extend(names), lock(names, until))[1]  # type: ignore
    memories = LockMemories(tmp_path / "locks", DurableFiles())
    vault.repository.locks.memory = memories.of("r")
    for _ in range(3):
        vault.store(disk)
    assert sorted(name for name in asked if name.startswith("packs/")) == sorted(vault.packs())
    memories.of("r").save()
    again = LockMemories(tmp_path / "locks", DurableFiles()).of("r")
    assert all(again.until(name) for name in asked)


def test_an_extension_that_fails_fails_the_store_without_a_manifest(vault: Vault):
    disk = MemoryDisk(noise(1 << 20))
    vault.store(disk, DAY_MS)
    [*packs] = vault.packs()
    s3.administrator().delete_object(Bucket=vault.bucket, Key=packs[0])
    before = vault.repository.objects.leaves("manifests")
    vault.repository.locks = ObjectLocks(vault.open())
    with pytest.raises(Exception, match=r"hidden|no longer stored"):
        vault.store(disk, WEEK)
    assert vault.repository.objects.leaves("manifests") == before


def test_a_lock_that_the_credentials_may_not_set_fails_the_store(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
):
    def refuse(names, until):
        raise Misconfigured("the credentials may not set locks")

    store = vault.repository.locks._store
    monkeypatch.setattr(store, "lock", refuse)
    with pytest.raises(Misconfigured):
        vault.store(MemoryDisk(noise(1 << 20)))
    assert vault.repository.objects.leaves("manifests") == set()


def test_a_clean_up_leaves_locked_packs_and_says_how_much_they_hold(vault: Vault):
    kept = vault.store(MemoryDisk(noise(1 << 20)))
    abandoned = vault.root / "abandoned"
    draft = export(vault.repository, MemoryDisk(noise(1 << 20, 2)), abandoned, vault.pool)
    # a STORE that died before its index and its manifest
    files = [abandoned / file for file in draft.packs]
    publish_packs(vault.repository.destination, files)
    packs = vault.packs()
    for _ in range(2):
        cleaned = vault.clean()
        assert cleaned.packs_deleted == 0
        assert cleaned.packs_locked == len(draft.packs)
        assert cleaned.bytes_locked >= 1 << 20
        assert cleaned.usage
        assert cleaned.usage.locked == cleaned.bytes_locked
    assert vault.packs() == packs
    assert restored(vault.opened(), kept, vault.pool)


def test_a_backup_under_lock_stays_when_an_order_names_it(vault: Vault):
    disk = MemoryDisk(noise(1 << 20))
    made = vault.store(disk)
    cleaned = vault.clean(made.backup)
    assert cleaned.kept_locked == [made.backup]
    assert restored(vault.opened(), made, vault.pool) == bytes(disk.data)


@pytest.mark.parametrize("kind", ["packs", "manifests", "haulback.json", "haulback.copy.json"])
def test_a_delete_marker_is_damage_that_verify_names_and_repair_takes_away(vault: Vault, kind: str):
    disk = MemoryDisk(noise(1 << 20))
    made = vault.store(disk)
    names = {"packs": min(vault.packs()), "manifests": manifest_name(made.backup)}
    name = names.get(kind, kind)
    s3.administrator().delete_object(Bucket=vault.bucket, Key=name)
    resources = Resources(vault.pool, DurableFiles())
    report = verify(vault.opened(), Depth.OBJECTS, resources)
    assert any(f"{name} is hidden by a delete marker" in text for text in report.findings)
    folder = vault.root / "repair"
    folder.mkdir()
    context = RepairContext(folder, resources, lambda: ("a repair", now_ms()))
    listed = repair(vault.opened(), context, apply=False)
    [action] = listed.actions
    assert action.startswith(f"{name} is hidden by a delete marker"), "nothing else is planned"
    assert repair(vault.opened(), context, apply=True).findings == []
    assert restored(vault.opened(), made, vault.pool) == bytes(disk.data)


@pytest.mark.parametrize("attack", ["delete", "overwrite"])
def test_a_given_up_backup_whose_hidden_manifest_is_locked_stops_no_clean_up(
    vault: Vault, attack: str
):
    disk = MemoryDisk(noise(1 << 20))
    made = vault.store(disk)
    name = {"Bucket": vault.bucket, "Key": manifest_name(made.backup)}
    if attack == "delete":
        s3.administrator().delete_object(**name)
    else:
        s3.administrator().put_object(**name, Body=b"ransom")
    cleaned = vault.clean(given_up=(made.backup,))
    assert (cleaned.kept_locked, cleaned.given_up) == ([made.backup], [])
    assert not cleaned.held
    assert vault.repository.rolls.tombstones() == set()


@pytest.mark.parametrize("name", ["haulback.json", "haulback.copy.json"])
def test_a_delete_marker_on_a_copy_of_the_configuration_stops_no_store(vault: Vault, name: str):
    disk = MemoryDisk(noise(1 << 20))
    vault.store(disk)
    s3.administrator().delete_object(Bucket=vault.bucket, Key=name)
    vault.repository = vault.opened()
    made = vault.store(disk, 2 * WEEK)
    assert restored(vault.opened(), made, vault.pool) == bytes(disk.data)
    assert list(vault.opened().locks.hidden()) == [name]
    assert abs(vault.until(name) - lock_end(now_ms(), 2 * WEEK)) < 1000


def test_what_hides_a_locked_object_is_deleted_with_the_right_to_delete_alone(vault: Vault):
    vault.store(MemoryDisk(noise(1 << 20)))
    s3.administrator().delete_object(Bucket=vault.bucket, Key="haulback.copy.json")
    folder = vault.root / "repair"
    folder.mkdir()
    resources = Resources(vault.pool, DurableFiles())
    context = RepairContext(folder, resources, lambda: ("a repair", now_ms()))
    adding = Repository.open(AddOnly(vault.open()), SECRET)
    with pytest.raises(Forbidden, match="may not delete"):
        adding.locks.unhide("haulback.copy.json")
    new = vault.opened()
    new.owners.claim(1, OwnerRecord("old", "old", now_ms()))
    new.owners.claim(2, OwnerRecord("new", "new", now_ms()))
    new.ownership = Ownership(new.owners, Owner(2, "new", "new"), now_ms())
    done = repair(new, context, apply=True)
    assert any("stays hidden: nothing is deleted for another" in text for text in done.actions)
    assert list(vault.opened().locks.hidden()) == ["haulback.copy.json"]


def test_a_repository_of_a_newer_revision_in_a_bucket_is_read_and_not_written(vault: Vault):
    disk = MemoryDisk(noise(1 << 20))
    made = vault.store(disk)
    newer = "graves/needs-haulback-revision-99"
    s3.administrator().put_object(Bucket=vault.bucket, Key=newer, Body=b"of a later version")
    before = {item.name for item in vault.repository.destination.list("packs")}
    vault.repository = vault.opened()
    for write in (lambda: vault.store(disk), vault.clean):
        with pytest.raises(RepositoryError, match="a newer Haulback writes to this repository"):
            write()
    assert {item.name for item in vault.repository.destination.list("packs")} == before
    assert restored(vault.opened(), made, vault.pool) == bytes(disk.data)
