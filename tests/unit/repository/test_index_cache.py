"""Copies of index segments are fetched once, used only after a check, and limited in bytes."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from haulback.destinations.pass_through import PassThrough
from haulback.errors import NotFound, Unavailable
from haulback.repository.index_cache import CacheFolder, IndexCache
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import Depth, verify
from haulback.testing.memory_store import MemoryBucket, MemoryStore
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise, restored


class CountedLoads(PassThrough):
    """Counts the reads of each object."""

    def __init__(self, bucket: MemoryBucket) -> None:
        super().__init__(MemoryStore(bucket))
        self.loads: Counter[str] = Counter()

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.loads[name] += 1
        return super().load(name, offset, length)

    @property
    def index_loads(self) -> int:
        return sum(count for name, count in self.loads.items() if name.startswith("index/"))


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def cache(tmp_path: Path) -> CacheFolder:
    return CacheFolder(tmp_path / "cache")


@pytest.fixture
def two(bucket, tmp_path, pool):
    """Two backups, each with a segment; their disk and the second manifest."""
    repository = Repository.init(MemoryStore(bucket), SECRET)
    disk = MemoryDisk(noise(MIB))
    back_up(repository, disk, tmp_path / "s", pool)
    disk.write_at(0, noise(200 * KIB, 7))
    return disk, back_up(repository, disk, tmp_path / "s", pool)


def copies(cache: CacheFolder) -> list[Path]:
    return sorted(path for path in cache.path.rglob("*") if path.is_file())


def opened(bucket: MemoryBucket, cache: CacheFolder | None) -> tuple[Repository, CountedLoads]:
    store = CountedLoads(bucket)
    return Repository.open(store, SECRET, cache), store


def test_a_segment_is_fetched_once_by_all_processes_of_a_machine(two, bucket, cache, pool):
    disk, manifest = two
    first, reads = opened(bucket, cache)
    assert restored(first, manifest, pool) == disk.data
    assert (reads.index_loads, len(copies(cache))) == (2, 2)
    second, reads = opened(bucket, cache)
    assert restored(second, manifest, pool) == disk.data
    assert reads.index_loads == 0


def test_without_a_cache_folder_no_copy_stays(two, bucket, tmp_path, pool, monkeypatch):
    disk, manifest = two
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    repository, reads = opened(bucket, None)
    assert restored(repository, manifest, pool) == disk.data
    assert repository.index().packs()
    assert (reads.index_loads, list((tmp_path / "temp").iterdir())) == (2, [])


@pytest.mark.parametrize("rot", [lambda raw: b"", lambda raw: raw[:-1], lambda raw: raw[::-1]])
def test_a_copy_that_rotted_is_fetched_again(two, bucket, cache, pool, rot):
    disk, manifest = two
    opened(bucket, cache)[0].index()
    for path in copies(cache):
        path.write_bytes(rot(path.read_bytes()))
    repository, reads = opened(bucket, cache)
    assert restored(repository, manifest, pool) == disk.data
    assert (reads.index_loads, repository.index_folder.damaged) == (2, {})
    assert verify(opened(bucket, cache)[0], Depth.DATA, Resources(pool)).ok


def test_a_segment_that_rotted_in_the_store_is_damaged_and_leaves_no_copy(two, bucket, cache, pool):
    disk, manifest = two
    name = next(item.name for item in MemoryStore(bucket).list("index"))
    data = bucket.get(name)
    bucket.remove(name)
    bucket.put(name, data[::-1])
    repository, _ = opened(bucket, cache)
    assert restored(repository, manifest, pool) == disk.data
    assert list(repository.index_folder.damaged) == [name.removeprefix("index/")]
    assert len(copies(cache)) == 1


def test_a_fetch_that_breaks_off_leaves_nothing(two, bucket, cache):
    class Broken(CountedLoads):
        def load(self, name, offset=0, length=None):
            if name.startswith("index/"):
                raise Unavailable("the store does not answer")
            return super().load(name, offset, length)

    with pytest.raises(Unavailable):
        Repository.open(Broken(bucket), SECRET, cache).index()
    assert copies(cache) == []


def test_copies_of_replaced_segments_go(two, bucket, cache, tmp_path, pool, monkeypatch):
    disk, manifest = two
    monkeypatch.setattr("haulback.repository.index_tiers.FAN_IN", 2)
    repository, _ = opened(bucket, cache)
    before = {path.name for path in copies(cache)}
    assert repository.merge_index(tmp_path) == 1
    repository.index()
    [copy] = copies(cache)
    assert copy.name not in before
    assert restored(repository, manifest, pool) == disk.data


def test_the_copies_of_all_repositories_keep_within_the_limit(two, bucket, cache, tmp_path, pool):
    opened(bucket, cache)[0].index()
    old = copies(cache)
    for path in old:
        os.utime(path, ns=(1, 1))
    other = MemoryBucket()
    repository = Repository.init(MemoryStore(other), SECRET)
    manifest = back_up(repository, MemoryDisk(noise(MIB, 5)), tmp_path / "s", pool)
    small = CacheFolder(cache.path, limit=1)
    repository, _ = opened(other, small)
    assert restored(repository, manifest, pool) == noise(MIB, 5)
    [copy] = copies(cache)
    assert copy not in old


def test_a_segment_swept_before_its_fetch_is_not_found(two, bucket, cache):
    repository = Repository.open(MemoryStore(bucket), SECRET)
    copies_of = IndexCache(MemoryStore(bucket), repository.guid, repository.keys, cache)
    with pytest.raises(NotFound):
        copies_of.open("0" * 40, 1)
    assert copies(cache) == []


@pytest.mark.parametrize("is_file", [True, False])
def test_a_cache_that_cannot_be_written_fails_no_store_and_no_restore(
    bucket, cache, tmp_path, pool, is_file
):
    guid = Repository.init(MemoryStore(bucket), SECRET).guid
    if is_file:
        cache.path.write_bytes(b"")
    else:  # a folder in which even root can create and delete nothing
        cache.path.mkdir()
        (cache.path / guid).symlink_to("/proc/self")
    disk = MemoryDisk(noise(MIB))
    manifest = back_up(opened(bucket, cache)[0], disk, tmp_path / "s", pool)
    repository, reads = opened(bucket, cache)
    assert restored(repository, manifest, pool) == disk.data
    assert reads.index_loads == 1
