"""An increment reads at most twice the changed bytes, and loads groups of the base together."""

from __future__ import annotations

import random

import pytest

from haulback.destinations.pass_through import PassThrough
from haulback.drivers.source import Extent
from haulback.errors import Damaged
from haulback.repository.base_runs import groups_of_base, written_place
from haulback.repository.expected_groups import ExpectedGroups
from haulback.repository.pack import GroupLocation, name_of
from haulback.repository.repository import Repository
from haulback.testing.memory_store import MemoryBucket, MemoryStore
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, export, noise, restored

SIZE = 18 * MIB  # more leaves than one


class Loads(PassThrough):
    """Notes the ranges that are loaded from packs; with `breaks` long ranges are damaged."""

    def __init__(self, bucket: MemoryBucket) -> None:
        super().__init__(MemoryStore(bucket))
        self.ranges: list[tuple[str, int, int]] = []
        self.breaks = self.spoils = False

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().load(name, offset, length)
        if length is None or not name.startswith("packs/"):
            return data
        self.ranges.append((name, offset, length))
        is_long = length > MIB + 64 * KIB
        if self.breaks and is_long:
            raise Damaged(f"{name} is shorter")
        return bytes(len(data)) if self.spoils and is_long else data


@pytest.fixture
def store() -> Loads:
    bucket = MemoryBucket()
    Repository.init(MemoryStore(bucket), SECRET)
    return Loads(bucket)


def scattered(disk: MemoryDisk, count: int, length: int = 64 * KIB) -> list[Extent]:
    """Change blocks of a disk, and return their places."""
    chance = random.Random(count)
    blocks = sorted(chance.sample(range(disk.size // length), count))
    for block in blocks:
        disk.data[block * length : (block + 1) * length] = chance.randbytes(length)
    return [Extent(block * length, length) for block in blocks]


@pytest.mark.parametrize(("count", "length"), [(30, 64 * KIB), (50, 4 * KIB), (3, 512)])
def test_an_increment_reads_at_most_twice_the_changed_bytes(store, tmp_path, pool, count, length):
    repository, disk = Repository.open(store, SECRET), MemoryDisk(noise(SIZE, 1))
    full = back_up(repository, disk, tmp_path / "a", pool)
    changed, disk.read = scattered(disk, count, length), 0
    later = back_up(
        repository, disk, tmp_path / "b", pool, full.disks[0].map, changed, parent=full.backup
    )
    assert count * length <= disk.read <= 2 * count * length
    assert restored(repository, later, pool) == disk.data


def test_unchanged_zeros_are_read_neither_from_the_source_nor_from_the_base(store, tmp_path, pool):
    repository, disk = Repository.open(store, SECRET), MemoryDisk(bytes(SIZE))
    full = back_up(repository, disk, tmp_path / "a", pool)
    changed = scattered(disk, 20, 4 * KIB)
    store.ranges.clear()
    later = back_up(
        repository, disk, tmp_path / "b", pool, full.disks[0].map, changed, parent=full.backup
    )
    assert disk.read == 20 * 4 * KIB
    assert restored(repository, later, pool) == disk.data


@pytest.mark.parametrize("fault", ["", "breaks", "spoils"])
def test_groups_of_the_base_are_loaded_together_and_else_one_by_one(store, tmp_path, pool, fault):
    repository, disk = Repository.open(store, SECRET), MemoryDisk(noise(SIZE, 1))
    full = back_up(repository, disk, tmp_path / "a", pool)
    changed = scattered(disk, 100, 4 * KIB)
    if fault:
        setattr(store, fault, True)
    store.ranges.clear()
    draft = export(repository, disk, tmp_path / "b", pool, full.disks[0].map, changed)
    assert len(store.ranges) <= 6 or fault, "18 groups in one pack"
    store.breaks = store.spoils = False
    later = repository.publish(tmp_path / "b", draft)
    assert restored(repository, later, pool) == disk.data
    assert not len(repository.findings), "a neighbour's bytes say nothing about a place"


def test_a_group_that_was_not_announced_is_left_to_the_store(store, tmp_path, pool):
    repository = Repository.open(store, SECRET)
    back_up(repository, MemoryDisk(noise(4 * MIB, 1)), tmp_path / "a", pool)
    index = repository.index()
    [segment] = index.segments
    groups = [group for group, place in segment.groups() if place.length > MIB]
    groups.sort(key=index.place)
    expected = ExpectedGroups(store, index)
    expected.announce(groups[:2])
    places = {group: index.place(group) for group in groups}
    store.ranges.clear()
    assert all(expected.take(group, places[group]) for group in groups[:2])
    assert len(store.ranges) == 1
    assert expected.take(groups[0], places[groups[0]]) is None
    assert expected.take(groups[-1], places[groups[-1]]) is None


def at(*offsets: int) -> dict[bytes, GroupLocation]:
    """Groups of 1 MiB at these offsets of a pack, in MiB."""
    return {
        number.to_bytes(12, "big"): GroupLocation(bytes(16), offset * MIB, MIB)
        for number, offset in enumerate(offsets)
    }


def test_the_base_supplies_the_run_that_holds_most_of_the_bytes():
    places = at(0, 20, 22, 24, 40, 60)
    needs = dict.fromkeys(places, 10)
    chosen = groups_of_base(needs, 30, places.get)
    assert sorted(places[group].offset // MIB for group in chosen) == [20, 22, 24]


def test_no_group_is_loaded_while_the_source_may_supply_all_bytes():
    places = at(0, 1, 2)
    assert groups_of_base(dict.fromkeys(places, 10), 30, places.get) == set()


def test_the_source_never_supplies_more_than_it_may():
    chance = random.Random(5)
    for _ in range(300):
        places = at(*sorted(chance.sample(range(64), chance.randint(1, 20))))
        needs = {group: chance.randint(1, 100) for group in places}
        known = chance.choice([places.get, lambda _: None, written_place])
        allowed = chance.randint(0, sum(needs.values()))
        loaded = groups_of_base(needs, allowed, known)
        assert sum(needs[group] for group in needs.keys() - loaded) <= allowed


class CountedNeeds(dict[bytes, int]):
    """Needed bytes by group that count their look-ups."""

    looked_up = 0

    def __getitem__(self, group: bytes) -> int:
        self.looked_up += 1
        return super().__getitem__(group)


def test_a_choice_among_thousands_of_groups_looks_at_each_a_few_times():
    chance = random.Random(3)
    places = {
        number.to_bytes(12, "big"): GroupLocation(
            bytes([chance.randrange(40)] * 16), chance.randrange(64) * MIB, MIB
        )
        for number in range(4000)
    }
    needs = CountedNeeds({group: chance.randint(1, 100) for group in places})
    allowed = sum(needs.values()) // 3
    loaded = groups_of_base(needs, allowed, places.get)
    assert needs.looked_up <= 20 * len(places)
    assert sum(needs[group] for group in needs.keys() - loaded) <= allowed
    assert sum(needs[group] for group in loaded) < 0.9 * sum(needs.values())


def scattered_needs(seed: int) -> tuple[dict[bytes, GroupLocation], dict[bytes, int]]:
    """A base of 512 groups of 1 MiB, and the bytes that 80 scattered blocks need of its groups."""
    chance, needs = random.Random(seed), dict[bytes, int]()
    names = [number.to_bytes(12, "big") for number in range(512)]
    places = {
        name: GroupLocation(bytes([number // 60] * 16), number % 60 * MIB, MIB)
        for number, name in enumerate(names)
    }
    for _ in range(80):
        name = chance.choice(names)
        needs[name] = needs.get(name, 0) + 96 * KIB
    return places, needs


class Zeros(PassThrough):
    """A store whose objects are all zeros; counts its requests."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(MemoryBucket()))
        self.requests = 0

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.requests += 1
        return bytes(length or 0)


class Places:
    """An index that knows the places of groups only."""

    def __init__(self, places: dict[bytes, GroupLocation]) -> None:
        self.place = places.get


@pytest.mark.parametrize("seed", range(20))
def test_eighty_scattered_blocks_need_at_most_seven_requests_for_the_base(seed):
    (places, needs), store = scattered_needs(seed), Zeros()
    expected = ExpectedGroups(store, Places(places))
    chosen = groups_of_base(needs, 80 * 64 * KIB, places.get)
    expected.announce(chosen)
    for group in sorted(chosen, key=places.get):
        if expected.take(group, places[group]) is None:
            store.load(name_of(places[group].pack), places[group].offset, MIB)
    assert store.requests <= 7
