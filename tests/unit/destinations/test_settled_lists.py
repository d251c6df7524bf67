"""Listings that lag show at least the writes of their own process, without its deletions."""

from __future__ import annotations

import pytest

from haulback.destinations.settled_lists import SettledLists
from haulback.errors import Conflict, NotFound
from haulback.testing.memory_store import ManualClock, MemoryBucket, MemoryStore

DELAY = 5.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bucket(clock: ManualClock) -> MemoryBucket:
    return MemoryBucket(listing_delay=DELAY, clock=clock)


def names(store, folder: str) -> set[str]:
    return {item.name for item in store.list(folder)}


def test_a_list_shows_the_write_before_at_once(bucket, clock, tmp_path):
    store = SettledLists(MemoryStore(bucket))
    store.store("manifests/a", b"x")
    (tmp_path / "b").write_bytes(b"y")
    store.adopt("manifests/b", tmp_path / "b")
    assert names(MemoryStore(bucket), "manifests") == set()
    assert names(store, "manifests") == {"manifests/a", "manifests/b"}
    assert sorted(store.entries("manifests")) == [("a", True), ("b", True)]
    assert sorted(store.entries("")) == [("manifests", False)]
    store.delete("manifests/a")
    clock.wait(DELAY - 1)
    assert names(store, "manifests") == {"manifests/b"}
    assert list(store.entries("manifests")) == [("b", True)]
    assert clock.seconds == DELAY - 1, "nothing waited"


@pytest.mark.parametrize("miss", ["load", "info"])
def test_a_listed_name_that_is_gone_is_not_listed_again(bucket, clock, miss):
    MemoryStore(bucket).store("index/a", b"x")
    clock.wait(DELAY)
    store = SettledLists(MemoryStore(bucket))
    MemoryStore(bucket).delete("index/a")
    assert names(store, "index") == {"index/a"}
    with pytest.raises(NotFound):
        getattr(store, miss)("index/a")
    assert names(store, "index") == set()


def test_a_name_that_was_missing_is_listed_once_another_process_stored_it(bucket, clock):
    store = SettledLists(MemoryStore(bucket))
    with pytest.raises(NotFound):
        store.load("manifests/a")
    MemoryStore(bucket).store("manifests/a", b"x")
    clock.wait(DELAY)
    assert names(store, "manifests") == {"manifests/a"}


def test_an_own_object_that_another_process_deleted_is_not_listed(bucket, clock):
    store = SettledLists(MemoryStore(bucket))
    store.store("graves/a", b"x")
    MemoryStore(bucket).delete("graves/a")
    assert names(store, "graves") == set()


def test_a_name_that_a_store_refused_exists(bucket):
    MemoryStore(bucket).store("rolls/1", b"x")
    store = SettledLists(MemoryStore(bucket))
    with pytest.raises(Conflict):
        store.store("rolls/1", b"y")
    assert names(store, "rolls") == {"rolls/1"}
