"""The change tracking of a platform is spot-checked, and a wrong answer is detected."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haulback.drivers.source import Extent
from haulback.repository import cbt_check
from haulback.repository.mapping import MapReader
from haulback.repository.pages import ChunkRef
from haulback.repository.repository import Repository
from haulback.units import KIB, MIB
from tests.unit.repository.scene import MemoryDisk, back_up, noise

SIZE = 5 * MIB + 12 * KIB


@pytest.fixture
def base(repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor) -> MapReader:
    """A stored disk: random data, a hole of two segments, random data to the end."""
    data = noise(2 * MIB) + bytes(2 * MIB) + noise(SIZE - 4 * MIB, 7)
    made = back_up(repository, MemoryDisk(data), tmp_path / "staging", pool)
    return MapReader(made.disks[0].map, repository.reader().chunk)


def disk() -> MemoryDisk:
    return MemoryDisk(noise(2 * MIB) + bytes(2 * MIB) + noise(SIZE - 4 * MIB, 7))


def trusts(base: MapReader, repository: Repository, now: MemoryDisk, changed: list[Extent]) -> bool:
    chance = random.Random(3)
    sample = cbt_check.Sample(3000, 3000, chance)
    return cbt_check.is_true(now, base, changed, repository.keys, sample)


@pytest.mark.parametrize("at", [0, MIB, 3 * MIB, SIZE - 512])
def test_a_change_that_was_not_told_is_found(base: MapReader, repository: Repository, at: int):
    now = disk()
    now.write_at(at, b"\x5a" * 512)
    told = [Extent(at, 512)]
    assert trusts(base, repository, now, told)
    assert not trusts(base, repository, now, [])
    elsewhere = [Extent((at + 2 * MIB) % (4 * MIB), 512)]
    assert not trusts(base, repository, now, elsewhere)


def test_a_true_answer_costs_little_reading(base: MapReader, repository: Repository):
    now = disk()
    assert cbt_check.is_true(now, base, [], repository.keys)
    assert now.read <= 16 * 64 * KIB


def test_an_empty_disk_is_trusted(repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor):
    made = back_up(repository, MemoryDisk(bytes(MIB)), tmp_path / "staging", pool)
    stored = MapReader(made.disks[0].map, repository.reader().chunk)
    assert cbt_check.is_true(MemoryDisk(bytes(MIB)), stored, [], repository.keys)
    lie = MemoryDisk(b"x" * MIB)
    assert not cbt_check.is_true(lie, stored, [], repository.keys)


def test_a_sample_loads_no_data_of_the_base(base: MapReader, repository: Repository):
    list(base.leaves())
    base.load = _nothing
    assert cbt_check.is_true(disk(), base, [], repository.keys)


def _nothing(ref: ChunkRef) -> memoryview:
    raise AssertionError("a sample is compared by the ids of its pieces")
