"""Stored data is restored unchanged, whatever was written in between."""

import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.destinations.folder import Folder
from haulback.drivers.source import Extent
from haulback.repository.repository import Repository
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise, restored


@pytest.mark.parametrize("size", [0, 1, 4096, 64 * KIB, MIB - 1, MIB, MIB + 1, 17 * MIB + 513])
def test_a_disk_of_any_size_comes_back_byte_for_byte(repository, tmp_path, pool, size):
    disk = MemoryDisk(noise(size))
    manifest = back_up(repository, disk, tmp_path / "s", pool)
    assert restored(repository, manifest, pool) == disk.data


def test_zeros_are_neither_stored_nor_read(repository, tmp_path, pool):
    disk = MemoryDisk(bytes(32 * MIB))
    manifest = back_up(repository, disk, tmp_path / "s", pool)
    assert (disk.read, manifest.stored) == (0, 0)
    assert restored(repository, manifest, pool) == disk.data


def test_an_unchanged_disk_stores_nothing_and_reads_nothing_with_cbt(repository, tmp_path, pool):
    disk = MemoryDisk(noise(3 * MIB))
    first = back_up(repository, disk, tmp_path / "s", pool)
    scanned = back_up(repository, disk, tmp_path / "s", pool, first.disks[0].map)
    assert (scanned.disks, scanned.stored) == (first.disks, 0)
    disk.read = 0
    tracked = back_up(repository, disk, tmp_path / "s", pool, first.disks[0].map, [])
    assert (tracked.disks, tracked.stored, disk.read) == (first.disks, 0, 0)


def test_an_increment_reads_only_the_pieces_around_what_changed(repository, tmp_path, pool):
    disk = MemoryDisk(noise(40 * MIB))
    first = back_up(repository, disk, tmp_path / "s", pool)
    disk.read = 0
    disk.write_at(20 * MIB + 5, b"changed")
    second = back_up(repository, disk, tmp_path / "s", pool, first.disks[0].map, disk.changed())
    assert disk.read <= 1 * MIB
    assert restored(repository, second, pool) == disk.data


@pytest.mark.slow
def test_an_increment_that_changes_every_chunk_in_part_needs_little_memory(
    repository, tmp_path, pool
):
    disk = MemoryDisk(noise(128 * MIB))
    first = back_up(repository, disk, tmp_path / "s", pool)
    changed = [Extent(at, 4 * KIB) for at in range(0, disk.size, 16 * KIB)]
    for at, length in changed:
        disk.write_at(at, noise(length, seed=at))
    tracemalloc.start()
    try:
        second = back_up(repository, disk, tmp_path / "s", pool, first.disks[0].map, changed)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 110 * MIB  # the cache of groups has 48 MiB
    assert restored(repository, second, pool) == disk.data


def test_a_resized_disk_is_read_whole_and_still_deduplicated(repository, tmp_path, pool):
    disk = MemoryDisk(noise(5 * MIB))
    first = back_up(repository, disk, tmp_path / "s", pool)
    grown = MemoryDisk(disk.data + noise(MIB, 1))
    second = back_up(repository, grown, tmp_path / "s", pool, first.disks[0].map, [])
    assert restored(repository, second, pool) == grown.data
    assert second.stored < 2 * MIB


writes = st.lists(
    st.tuples(
        st.integers(0, 5 * MIB - 1),
        st.sampled_from([1, 511, 4096, 64 * KIB, 700 * KIB]),
        st.one_of(st.none(), st.integers(0, 3)),
    ),
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(rounds=st.lists(st.tuples(writes, st.booleans()), max_size=4))
def test_every_backup_of_a_chain_restores_what_the_disk_held_then(rounds, pool_of_two):
    with TemporaryDirectory() as temp:
        root = Path(temp)
        (root / "d").mkdir()
        repository = Repository.init(Folder(root / "d"), SECRET)
        disk = MemoryDisk(noise(2 * MIB) + bytes(2 * MIB) + noise(MIB - 77))
        kept = [(back_up(repository, disk, root / "s", pool_of_two), bytes(disk.data))]
        for changes, tracked in rounds:
            for offset, length, seed in changes:
                offset = min(offset, disk.size - 1)
                length = min(length, disk.size - offset)
                disk.write_at(offset, bytes(length) if seed is None else noise(length, seed))
            base, changed = kept[-1][0].disks[0].map, disk.changed()
            manifest = back_up(
                repository, disk, root / "s", pool_of_two, base, changed if tracked else None
            )
            kept.append((manifest, bytes(disk.data)))
        for manifest, data in kept:
            assert restored(repository, manifest, pool_of_two) == data
