"""Every destination driver keeps the contract of an object store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from haulback.contract.destination_types import TYPES, Capabilities, by_driver
from haulback.destinations.add_only import AddOnly
from haulback.destinations.folder import Folder
from haulback.destinations.probe import require_exclusive_create
from haulback.destinations.protocol import ObjectStore
from haulback.destinations.settled_lists import SettledLists
from haulback.destinations.store_retries import Retrying
from haulback.errors import Forbidden, Unsupported
from haulback.testing.destinations import (
    CHECKS,
    StoreBench,
    an_existing_name_is_refused_and_keeps_its_bytes,
    one_of_many_creates_at_once_succeeds,
)
from haulback.testing.memory_store import ManualClock, MemoryBucket, MemoryStore


class FolderBench:
    """A folder in a temporary directory."""

    def __init__(self, root: Path) -> None:
        kind = by_driver("folder")
        assert kind
        self.root, self.capabilities = root, kind.capabilities

    def open(self, owner: str) -> ObjectStore:
        return Folder(self.root, owner=owner)

    def leave_half_written(self, owner: str, name: str) -> bool:
        (self.root / ".tmp").mkdir(exist_ok=True)
        (self.root / ".tmp" / f"{owner}.{name.rpartition('/')[2]}").write_bytes(b"half")
        return True

    def put_foreign(self, name: str) -> None:
        (self.root / name).write_bytes(b"x")

    def settle(self) -> None:
        pass


class MemoryBench:
    """A fake store without local paths; `delay` is the number of seconds that its lists lag."""

    def __init__(self, delay: float = 0.0) -> None:
        self.clock = ManualClock()
        self.bucket = MemoryBucket(listing_delay=delay, clock=self.clock)
        self.capabilities = Capabilities(listing_delay=delay)

    def open(self, owner: str) -> ObjectStore:
        return MemoryStore(self.bucket, owner)

    def leave_half_written(self, owner: str, name: str) -> bool:
        self.bucket.half_written.append((owner, name, b"half"))
        return True

    def put_foreign(self, name: str) -> None:
        self.bucket.foreign[name] = 1

    def settle(self) -> None:
        self.clock.wait(self.capabilities.listing_delay)


class WrappedBench(MemoryBench):
    """The fake behind the wrappers that remote stores get."""

    def open(self, owner: str) -> ObjectStore:
        retrying = Retrying(MemoryStore(self.bucket, owner), wait=self.clock.wait)
        return SettledLists(retrying)


BENCHES: dict[str, Callable[[Path], StoreBench]] = {
    "folder": FolderBench,
    "memory": lambda _: MemoryBench(),
    "memory that lags": lambda _: MemoryBench(delay=5.0),
    "memory in wrappers": lambda _: WrappedBench(delay=5.0),
}


@pytest.mark.parametrize("bench", BENCHES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_destination_keeps_the_contract(check, bench, tmp_path):
    check(BENCHES[bench](tmp_path))


def test_every_type_of_destination_is_checked():
    assert {kind.driver for kind in TYPES} <= BENCHES.keys()


def test_a_store_that_replaces_objects_fails_the_suite_and_the_probe():
    bench = MemoryBench()
    bench.bucket.exclusive_create = False
    for check in (
        an_existing_name_is_refused_and_keeps_its_bytes,
        one_of_many_creates_at_once_succeeds,
    ):
        with pytest.raises(AssertionError):
            check(bench)
    store = bench.open("a1")
    store.store("haulback.json", b"identity")
    with pytest.raises(Unsupported, match="replaces existing objects"):
        require_exclusive_create(store, "haulback.json")
    assert store.load("haulback.json") == b"identity"


def test_an_append_only_view_passes_all_but_deletions(tmp_path):
    store = AddOnly(Folder(tmp_path))
    store.store("manifests/a", b"x")
    with pytest.raises(Forbidden):
        store.delete("manifests/a")
    assert store.load("manifests/a") == b"x"
