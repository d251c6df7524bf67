"""A clean-up waits by the times of the store, but not on a store whose times are unknown."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from haulback.destinations.protocol import Item
from haulback.destinations.settled_lists import SettledLists
from haulback.errors import RepositoryError, Unavailable, Unsupported
from haulback.repository import pending_deletes
from haulback.repository.garbage_collection import CleanupOrder, clean_up
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.store_time import StoreTime
from haulback.testing.memory_store import ManualClock, MemoryBucket, MemoryStore
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise, restored

DELAY = 100.0


class Timeless(MemoryStore):
    """A store that does not report when an object was stored."""

    def info(self, name: str) -> Item:
        return super().info(name)._replace(stored=None)


class LateManifests(MemoryStore):
    """A store whose listings lag for manifests only; each name lags separately."""

    def list(self, prefix: str) -> Iterator[Item]:
        delay, self.bucket.listing_delay = self.bucket.listing_delay, 0.0
        if prefix == "manifests":
            self.bucket.listing_delay = delay
        items = list(super().list(prefix))
        self.bucket.listing_delay = delay
        return iter(items)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def opened(bucket: MemoryBucket, kind=MemoryStore, delay: float | None = DELAY) -> Repository:
    result = Repository.open(SettledLists(kind(bucket)), SECRET)
    result.listing_delay = delay
    return result


@pytest.fixture
def bucket(clock: ManualClock) -> MemoryBucket:
    made = MemoryBucket(listing_delay=DELAY, clock=clock)
    clock.wait(10_000)
    Repository.init(MemoryStore(made), SECRET)
    return made


def test_an_object_can_be_seen_by_all_after_two_delays_of_the_stores_own_time(bucket, clock):
    repository = opened(bucket)
    time = StoreTime(repository.destination, repository.keys, DELAY, clock.wait)
    begun = clock.seconds
    notice = pending_deletes.add(repository.destination, repository.keys, (), None)
    clock.wait(30)
    time.let_be_seen(notice)
    assert 2 * DELAY <= clock.seconds - begun <= 2 * DELAY + 3
    assert [item.name for item in repository.objects.list("graves")] == [notice]


def test_a_store_whose_clock_stands_still_is_given_up(bucket):
    repository = opened(bucket)
    time = StoreTime(repository.destination, repository.keys, DELAY, lambda _: None)
    notice = pending_deletes.add(repository.destination, repository.keys, (), None)
    with pytest.raises(Unavailable, match="does not advance"):
        time.let_be_seen(notice)


@pytest.mark.parametrize(
    ("kind", "delay", "why"),
    [(MemoryStore, None, "listingDelay"), (Timeless, DELAY, "does not report when")],
)
def test_a_store_of_unknown_delay_or_time_is_not_cleaned(
    bucket, clock, tmp_path, pool_of_two, kind, delay, why
):
    disk = MemoryDisk(noise(300_000, 1))
    first = back_up(opened(bucket), disk, tmp_path / "s", pool_of_two)
    orders = CleanupOrder(forget=[first.backup], wait=clock.wait)
    (tmp_path / "c").mkdir()
    with pytest.raises(Unsupported, match=why):
        clean_up(
            opened(bucket, kind, delay), tmp_path / "c", frozenset, Resources(pool_of_two), orders
        )
    assert bucket.get(f"manifests/{first.backup}")


def test_a_clean_up_counts_a_young_backup_among_those_that_it_keeps(
    bucket, clock, tmp_path, pool_of_two
):
    bucket.listing_delay = 0.0
    back_up(opened(bucket), MemoryDisk(noise(300_000, 1)), tmp_path / "s", pool_of_two)
    (tmp_path / "c").mkdir()
    orders, resources = CleanupOrder(wait=clock.wait), Resources(pool_of_two)
    report = clean_up(opened(bucket), tmp_path / "c", frozenset, resources, orders)
    assert (report.backups, report.packs_deleted) == (1, 0)


class Race:
    """A STORE reuses dead data while a clean-up waits; neither's listings show the other yet."""

    def __init__(self, bucket: MemoryBucket, clock: ManualClock, room: Path, pool) -> None:
        self.bucket, self.clock, self.room, self.pool = bucket, clock, room, pool
        self.content, self.stored = noise(700_000, 2), []
        old = self.back_up()
        clock.wait(10 * DELAY)
        opened(bucket).forget(old.backup)
        clock.wait(10 * DELAY)

    def back_up(self):
        return back_up(opened(self.bucket), MemoryDisk(self.content), self.room / "s", self.pool)

    def meanwhile(self, seconds: float) -> None:
        if not self.stored:
            self.stored.append(self.back_up())
        self.clock.wait(seconds)

    def clean(self) -> None:
        shutil.rmtree(self.room / "c", ignore_errors=True)
        (self.room / "c").mkdir()
        orders, resources = CleanupOrder(wait=self.meanwhile), Resources(self.pool)
        store = opened(self.bucket, LateManifests)
        clean_up(store, self.room / "c", frozenset, resources, orders)

    def restores(self) -> bool:
        self.clock.wait(10 * DELAY)
        calm = Repository.open(MemoryStore(self.bucket), SECRET)
        try:
            data = restored(calm, calm.manifest(self.stored[0].backup), self.pool)
        except RepositoryError:
            return False
        return data == self.content


def test_a_clean_up_sees_the_backup_that_its_first_list_lacked(
    bucket, clock, tmp_path, pool_of_two
):
    race = Race(bucket, clock, tmp_path, pool_of_two)
    for _ in range(3):
        race.clean()
    assert race.restores()


def test_without_the_wait_before_the_second_check_the_backup_is_lost(
    bucket, clock, tmp_path, pool_of_two, monkeypatch
):
    """The reason for the wait: this clean-up scans a second time at once."""
    race = Race(bucket, clock, tmp_path, pool_of_two)
    monkeypatch.setattr(StoreTime, "let_be_seen", lambda self, name: race.meanwhile(0.1))
    for _ in range(2):
        race.clean()
    assert not race.restores()
