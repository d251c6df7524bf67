"""Groups that a node keeps: used only if they open, and never more than their share."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from haulback.drivers.source import Extent
from haulback.errors import BaseGone
from haulback.repository import group_cache
from haulback.repository.group_cache import GroupCache
from haulback.repository.index_cache import CacheFolder, stored_copies
from haulback.repository.pack import name_of
from haulback.repository.repository import Repository
from haulback.testing.memory_store import MemoryBucket, MemoryStore
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise, restored


class Scene:
    """A machine whose full backup is stored, and a node with a cache folder."""

    def __init__(self, folder: Path, pool) -> None:
        self.folder, self.pool, self.bucket = folder, pool, MemoryBucket()
        self.cache = CacheFolder(folder / "cache")
        Repository.init(MemoryStore(self.bucket), SECRET)
        self.disk = MemoryDisk(noise(2 * MIB, 1))
        self.last = self.full = back_up(self.open(), self.disk, folder / "full", pool)

    def open(self) -> Repository:
        return Repository.open(MemoryStore(self.bucket), SECRET, self.cache)

    def increment(self) -> None:
        """Back up a change of 64 KiB, and restore it without a cache."""
        self.disk.data[: 64 * KIB] = os.urandom(64 * KIB)
        changed, older = [Extent(0, 64 * KIB)], self.last
        base, staging = older.disks[0].map, self.folder / "next"
        self.last = back_up(
            self.open(), self.disk, staging, self.pool, base, changed, parent=older.backup
        )
        fresh = Repository.open(MemoryStore(self.bucket), SECRET)
        assert restored(fresh, self.last, self.pool) == self.disk.data

    def copies(self) -> list[Path]:
        return [*(self.folder / "cache").glob("*.groups/*")]

    def page_pack(self) -> str:
        """The object that holds the pages of the full backup."""
        place = self.open().index().place(self.full.disks[0].map.group)
        assert place
        return name_of(place.pack)


@pytest.fixture
def scene(tmp_path, pool) -> Scene:
    return Scene(tmp_path, pool)


def test_the_pages_of_a_stored_backup_are_kept(scene):
    group = scene.full.disks[0].map.group
    assert [path.name for path in scene.copies()] == [group.hex()]
    scene.increment()
    assert len(scene.copies()) == 2


@pytest.mark.parametrize("content", [b"", b"another file", None])
def test_a_copy_that_does_not_open_is_replaced_from_the_destination(scene, content):
    [copy] = scene.copies()
    sound = copy.read_bytes()
    copy.write_bytes(bytes(len(sound)) if content is None else content)
    scene.increment()
    assert copy.read_bytes() == sound
    assert not len(scene.open().findings)


def test_a_copy_of_another_group_is_not_used(scene):
    scene.increment()
    first, second = scene.copies()
    first.write_bytes(second.read_bytes())
    scene.increment()


def test_a_copy_of_a_group_that_left_the_index_is_not_used(scene):
    repository = scene.open()
    look = repository.look()
    place = look.index().place(scene.full.disks[0].map.group)
    reader = repository.reader(look=look, thorough=False)
    reader._index = look.index({place.pack})
    reader._index.segments.clear()
    with pytest.raises(BaseGone):
        reader.chunk(scene.full.disks[0].map.root)


@pytest.mark.parametrize("name", ["file", "x" * 300])
def test_a_folder_that_cannot_be_used_stops_no_backup(scene, tmp_path, name):
    (tmp_path / "file").write_bytes(b"")
    scene.cache = CacheFolder(tmp_path / name)
    scene.increment()


def test_the_copies_unused_for_longest_are_evicted(tmp_path):
    cache = GroupCache("a", CacheFolder(tmp_path, 1000))
    other = GroupCache("b", CacheFolder(tmp_path, 1000))
    groups = [bytes([number] * 12) for number in range(6)]
    for number, group in enumerate(groups):
        (cache if number % 2 else other).keep([(group, bytes(200))])
        os.utime(next(tmp_path.glob(f"*.groups/{group.hex()}")), (number, number))
    left = [group for group in groups if group in cache or group in other]
    assert left == groups[1:], "five groups of 200 bytes"
    assert cache.get(groups[1]) == bytes(200), "this makes the copy a recent one"
    other.keep([(groups[0], bytes(200))])
    assert groups[1] in cache
    assert groups[2] not in other


def test_one_backup_takes_only_a_part_of_the_cache(tmp_path):
    cache = GroupCache("a", CacheFolder(tmp_path, 1000))
    cache.keep((bytes([number] * 12), bytes(100)) for number in range(8))
    assert len([*tmp_path.glob("*/*")]) == 2


def test_groups_that_are_kept_one_by_one_do_not_list_the_folder_each_time(tmp_path, monkeypatch):
    lists = []

    def counted(root: Path) -> Iterator[tuple[int, int, Path]]:
        lists.append(root)
        return stored_copies(root)

    monkeypatch.setattr(group_cache, "stored_copies", counted)
    cache = GroupCache("a", CacheFolder(tmp_path, 64_000))
    for number in range(640):
        cache.keep([(number.to_bytes(12), bytes(200))])
    assert 2 <= len(lists) <= 80
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 64_000 * 17 // 16


def test_a_full_folder_evicts_copies_before_the_next_group(tmp_path, monkeypatch):
    cache = GroupCache("a", CacheFolder(tmp_path, 1000))
    cache.keep([(bytes([7] * 12), bytes(200))])
    monkeypatch.setattr(group_cache, "_MOST", 100)
    smaller = GroupCache("a", CacheFolder(tmp_path, 1000))
    monkeypatch.setattr(Path, "write_bytes", no_space)
    smaller.keep([(bytes(12), bytes(10))])
    assert not [*tmp_path.glob("*/*")]
    monkeypatch.undo()
    smaller.keep([(bytes(12), bytes(10))])
    assert not [*tmp_path.glob("*/*")], "the next repository object tries again"


def no_space(path: Path, data: bytes) -> int:
    raise OSError(errno.ENOSPC, "no space is left")
