"""Lists that lag show at least what their own process wrote before."""

from __future__ import annotations

import pytest

from haulback.destinations.settled_lists import SettledLists
from haulback.errors import NotFound, Unavailable
from haulback.testing.faulty_store import Fault, FaultyStore
from haulback.testing.memory_store import ManualClock, MemoryBucket, MemoryStore

DELAY = 5.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bucket(clock: ManualClock) -> MemoryBucket:
    return MemoryBucket(listing_delay=DELAY, clock=clock)


def settled(bucket: MemoryBucket, clock: ManualClock) -> SettledLists:
    return SettledLists(MemoryStore(bucket), DELAY, clock, clock.wait)


def names(store, folder: str) -> set[str]:
    return {item.name for item in store.list(folder)}


def test_a_list_waits_until_it_shows_the_write_before(bucket, clock):
    store = settled(bucket, clock)
    clock.wait(60)
    store.store("manifests/a", b"x")
    assert names(MemoryStore(bucket), "manifests") == set()
    assert names(store, "manifests") == {"manifests/a"}
    assert clock.seconds == 60 + DELAY
    store.delete("manifests/a")
    assert list(store.entries("manifests")) == []
    assert clock.seconds == 60 + 2 * DELAY


def test_a_list_waits_only_once(bucket, clock):
    store = settled(bucket, clock)
    store.store("manifests/a", b"x")
    for _ in range(3):
        assert names(store, "manifests") == {"manifests/a"}
    assert clock.seconds == DELAY


def test_the_first_list_shows_what_others_stored_before_the_store_was_opened(bucket, clock):
    MemoryStore(bucket).store("manifests/a", b"x")
    store = settled(bucket, clock)
    clock.wait(2)
    assert names(store, "manifests") == {"manifests/a"}
    assert clock.seconds == DELAY


@pytest.mark.parametrize("miss", ["load", "info"])
def test_a_listed_name_that_is_gone_is_not_listed_again(bucket, clock, miss):
    MemoryStore(bucket).store("index/a", b"x")
    store = settled(bucket, clock)
    assert names(store, "index") == {"index/a"}
    MemoryStore(bucket).delete("index/a")
    assert names(store, "index") == {"index/a"}
    with pytest.raises(NotFound):
        getattr(store, miss)("index/a")
    assert names(store, "index") == set()


def test_a_write_whose_reply_was_lost_is_waited_for_as_well(bucket, clock):
    faulty = FaultyStore(MemoryStore(bucket), lambda _operation: Fault.AFTER)
    store = SettledLists(faulty, DELAY, clock, clock.wait)
    with pytest.raises(Unavailable):
        store.store("manifests/a", b"x")
    with pytest.raises(Unavailable):
        names(store, "manifests")
    assert names(MemoryStore(bucket), "manifests") == {"manifests/a"}


@pytest.mark.parametrize("lag", [0.0, 1.0, DELAY])
def test_of_two_that_write_and_then_list_one_sees_the_other(bucket, clock, lag):
    store, clean_up = settled(bucket, clock), settled(bucket, clock)
    store.store("manifests/a", b"x")
    clock.wait(lag)
    clean_up.store("graves/a", b"x")
    saw_manifest = "manifests/a" in names(clean_up, "manifests")
    saw_grave = "graves/a" in names(store, "graves")
    assert saw_manifest or saw_grave
