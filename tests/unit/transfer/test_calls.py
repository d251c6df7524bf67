"""The number of calls to a destination for an increment by the tasks of a node."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from haulback.contract.order_records import Owner
from haulback.destinations.confirmed_lists import ConfirmedLists
from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.errors import HaulbackError, NotFound, OwnerChanged
from haulback.filesystems.browser import Browser
from haulback.ids import new_guid
from haulback.repository.group import GROUP_BYTES
from haulback.repository.group_cache import NearGroups
from haulback.repository.index_cache import CacheFolder
from haulback.repository.manifest import Manifest
from haulback.repository.names import FOLDERS
from haulback.repository.owners import Ownership
from haulback.repository.pack import name_of
from haulback.repository.recent_reads import RecentReads
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk
from haulback.testing.memory_hypervisor import MemoryDisk, MemoryHypervisor
from haulback.testing.memory_store import MemoryBucket, MemoryStore
from haulback.transfer.export import ExportServices, ExportSpec, export_machine
from haulback.transfer.store import store_machine
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import noise
from tests.unit.repository.test_requests import Counted

BLOCK = 64 * KIB


class Node:
    """A node that backs up one machine; `calls` counts those of the last backup."""

    def __init__(self, folder: Path, pool, size: int) -> None:
        self.folder, self.pool, self.bucket = folder, pool, MemoryBucket()
        self.cache, self.recent = CacheFolder(folder / "cache"), RecentReads()
        self.owner, self.number = Owner(0, "a", "a"), 0
        Repository.init(MemoryStore(self.bucket), SECRET)
        self.hypervisor = MemoryHypervisor()
        data = b"".join(noise(MIB, seed) for seed in range(size // MIB))
        self.disk = MemoryDisk(size, data)
        disks = (MachineDisk("vda", size, "raw"),)
        self.hypervisor.adopt(Machine("u1", "web", disks, {"uuid": "u1"}), {"vda": self.disk})
        self.calls: list[dict[str, int]] = []

    def open(self) -> Repository:
        counted = Counted(self.bucket)
        self.calls.append(counted.calls)
        repository = Repository.open(ConfirmedLists(counted), SECRET, self.cache, self.recent)
        repository.ownership = Ownership(repository.owners, self.owner, 1)
        repository.check_owner()
        return repository

    def total(self) -> int:
        return sum(sum(calls.values()) for calls in self.calls)

    def back_up(self, base: Manifest | None = None) -> Manifest:
        """EXPORT, STORE and the search for file systems."""
        self.calls.clear()
        staging, number = self.folder / str(self.number), self.number
        staging.mkdir()
        self.number += 1
        draft = export_machine(
            self.hypervisor.snapshot("u1", str(number), f"haulback-{number - 1}" if base else None),
            self.open(),
            ExportSpec(new_guid(), "e", 1000 + number, base=base.backup if base else None),
            ExportServices(staging, self.pool),
        )
        repository = self.open()
        made = store_machine(
            repository, staging, repository.read_draft(staging, draft.manifest.backup)
        )
        self.owner = repository.ownership.present
        reader = repository.reader(look=repository.seen)
        reader.near = NearGroups(repository.groups, GROUP_BYTES)
        disks = {disk.name: StoredDisk(disk.map, reader) for disk in made.disks}
        with Browser(disks, deadline=20) as browser:
            browser.volumes()
        return made


@pytest.mark.slow
def test_tasks_of_a_node_take_few_calls_for_each_increment_of_scattered_blocks(tmp_path, pool):
    node, chance = Node(tmp_path, pool, 64 * MIB), random.Random(2)
    last = node.back_up()
    for _ in range(4):
        for place in chance.sample(range(node.disk.size // BLOCK), 80):
            node.disk.write_at(place * BLOCK, chance.randbytes(BLOCK))
        last = node.back_up(last)
        assert node.total() <= 25, node.calls
        assert last.type == "INCREMENTAL"


@pytest.fixture
def small(tmp_path, pool) -> Node:
    return Node(tmp_path, pool, 2 * MIB)


def test_a_base_whose_newest_pack_is_lost_is_noticed_although_its_pages_are_kept(small):
    full = small.back_up()
    small.disk.write_at(0, noise(BLOCK, 9))
    root = small.open().index().place(full.disks[0].map.group)
    MemoryStore(small.bucket).delete(name_of(root.pack))
    assert small.back_up(full).type == "FULL"


def test_a_store_that_was_exchanged_after_the_export_is_not_taken_for_the_old_one(small):
    small.back_up()
    store = MemoryStore(small.bucket)
    for name in [item.name for folder in FOLDERS for item in store.list(folder)]:
        store.delete(name)
    store.delete("haulback.json")
    store.delete("haulback.copy.json")
    with pytest.raises(NotFound):
        small.open()
    Repository.init(store, SECRET)
    with pytest.raises(OwnerChanged):
        small.open()


def test_a_damaged_configuration_is_noticed_although_its_copy_was_compared(small):
    small.back_up()
    store = MemoryStore(small.bucket)
    store.delete("haulback.json")
    store.store("haulback.json", b"{}")
    assert small.open().problems
    store.delete("haulback.copy.json")
    with pytest.raises(HaulbackError):
        small.open()
