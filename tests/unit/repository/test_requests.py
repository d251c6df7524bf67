"""The number of calls to a destination for opening, exporting and storing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from haulback.contract.order_records import Owner
from haulback.destinations.confirmed_lists import ConfirmedLists
from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import IDENTITY, Item
from haulback.drivers.source import Extent
from haulback.repository.index_cache import CacheFolder
from haulback.repository.owners import Ownership
from haulback.repository.repository import Repository
from haulback.testing.memory_store import MemoryBucket, MemoryStore
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, export, noise

SIZE, BLOCK = 4 * MIB, 64 * KIB


class Counted(PassThrough):
    """Counts calls by class; several folders are one listing, as on S3, including the identity
    object.
    """

    def __init__(self, bucket: MemoryBucket) -> None:
        super().__init__(MemoryStore(bucket))
        self.calls = Counter[str]()

    def _count(self, verb: str, name: str) -> None:
        self.calls[f"{verb} {name.partition('/')[0]}"] += 1

    def store(self, name, data):
        self._count("PUT", name)
        super().store(name, data)

    def adopt(self, name, path):
        self._count("PUT", name)
        super().adopt(name, path)

    def load(self, name, offset=0, length=None):
        self._count("GET", name)
        return super().load(name, offset, length)

    def info(self, name):
        self._count("HEAD", name)
        return super().info(name)

    def list(self, prefix):
        self._count("LIST", prefix)
        return super().list(prefix)

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        self._count("LIST", "many")
        yield from (item for folder in folders for item in self._destination.list(folder))
        yield self._destination.info(IDENTITY)


@pytest.fixture
def bucket() -> MemoryBucket:
    made = MemoryBucket()
    Repository.init(MemoryStore(made), SECRET)
    return made


@pytest.fixture
def cache(tmp_path) -> CacheFolder:
    return CacheFolder(tmp_path / "cache")


def opened(bucket, cache):
    counted = Counted(bucket)
    return Repository.open(ConfirmedLists(counted), SECRET, cache), counted.calls


def backed_up(bucket, cache, folder, pool, disk, parent=None, changed=None):
    """The manifest of a new backup, and the number of calls of its EXPORT and STORE."""
    repository, calls = opened(bucket, cache)
    older = repository.manifest(parent.backup) if parent else None
    base, above = (older.disks[0].map, older.backup) if older else (None, None)
    draft = export(repository, disk, folder, pool, base, changed, parent=above)
    manifest = repository.publish(folder, draft)
    repository.merge_index(folder)
    return manifest, calls


def beside_data(calls):
    """The number of calls without packs, whose number depends only on the changed data."""
    return sum(count for name, count in calls.items() if name not in ("PUT packs", "GET packs"))


def test_opening_takes_two_objects_and_one_list(bucket, cache, tmp_path, pool):
    backed_up(bucket, cache, tmp_path / "a", pool, MemoryDisk(noise(SIZE, 1)))
    repository, calls = opened(bucket, CacheFolder(tmp_path / "cold"))
    repository.index()
    assert calls == {
        "GET haulback.json": 1, "GET haulback.copy.json": 1, "LIST many": 1, "GET index": 1
    }  # fmt: skip
    repository, calls = opened(bucket, CacheFolder(tmp_path / "cold"))
    repository.index()
    assert sum(calls.values()) == 3


@pytest.mark.parametrize("backups", [1, 12])
def test_an_increment_takes_twelve_calls_beside_its_data(bucket, cache, tmp_path, pool, backups):
    disk = MemoryDisk(noise(SIZE, 1))
    parent, _ = backed_up(bucket, cache, tmp_path / "full", pool, disk)
    for number in range(backups):
        extent = Extent(number * 256 * 1024, 64 * 1024)
        disk.data[extent.offset : extent.offset + extent.length] = noise(extent.length, number)
        folder = tmp_path / str(number)
        parent, calls = backed_up(bucket, cache, folder, pool, disk, parent, [extent])
    merges = calls["PUT index"] - 1
    assert beside_data(calls) - merges <= 12, calls
    assert calls["GET index"] == 0, "an index file of this process is not read back"


def test_a_store_with_owner_records_takes_thirteen_calls_beside_its_packs(
    bucket, cache, tmp_path, pool
):
    disk, server = MemoryDisk(noise(SIZE, 1)), Owner(0, "a", "a")
    parent = None
    for number in range(2):
        repository, _ = opened(bucket, cache)
        base = parent.disks[0].map if parent else None
        disk.data[: 64 * 1024], changed = noise(64 * 1024, number), [Extent(0, 64 * 1024)]
        folder = tmp_path / str(number)
        above = parent and parent.backup
        draft = export(repository, disk, folder, pool, base, changed, parent=above)
        repository, calls = opened(bucket, cache)
        repository.ownership = Ownership(repository.owners, server, 1)
        repository.check_owner()
        parent = repository.publish(folder, draft)
        server = repository.ownership.present
    assert beside_data(calls) == 13, calls
    assert calls["LIST many"] == 2
    assert calls["LIST graves"] + calls["LIST owners"] == 0


def scattered(disk: MemoryDisk, chance: random.Random) -> list[Extent]:
    """Fill eighty blocks of a disk with random data; return their offsets."""
    places = sorted(chance.sample(range(disk.size // BLOCK), 80))
    for place in places:
        disk.data[place * BLOCK : (place + 1) * BLOCK] = chance.randbytes(BLOCK)
    return [Extent(place * BLOCK, BLOCK) for place in places]


@pytest.mark.slow
def test_an_increment_of_eighty_scattered_blocks_takes_few_calls(bucket, cache, tmp_path, pool):
    disk = MemoryDisk(b"".join(noise(MIB, seed) for seed in range(512)))
    parent, _ = backed_up(bucket, cache, tmp_path / "full", pool, disk)
    chance, merges = random.Random(1_000_000), 0
    for number in range(10):
        changed, disk.read = scattered(disk, chance), 0
        parent, calls = backed_up(
            bucket, cache, tmp_path / str(number), pool, disk, parent, changed
        )
        merges += calls["PUT index"] - 1
        assert sum(calls.values()) <= 25, (number, calls)
        assert disk.read <= 2 * 80 * BLOCK
    assert merges, "a merge of index files is among the calls"


def test_a_pass_of_lists_is_confirmed_once(bucket, cache, tmp_path, pool):
    class Apart(Counted):
        """Lists one folder after another, as most stores do."""

        list_many = PassThrough.list_many

    counted = Apart(bucket)
    repository = Repository.open(ConfirmedLists(counted), SECRET, cache)
    counted.calls.clear()
    repository.look()
    assert counted.calls["GET haulback.json"] == 1
    assert sum(calls for name, calls in counted.calls.items() if name.startswith("LIST")) == 3
