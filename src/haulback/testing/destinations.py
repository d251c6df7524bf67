"""Conformance suite of destination drivers.

The tests of a driver implement `StoreBench` and run every function of `CHECKS` on a fresh bench.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from haulback.contract.destination_types import Capabilities
from haulback.destinations.probe import require_exclusive_create
from haulback.destinations.protocol import Item, ObjectStore
from haulback.errors import Conflict, Damaged, HaulbackError, Malformed, NotFound
from haulback.units import MIB


class StoreBench(Protocol):
    """A fresh, empty destination under test; `capabilities` are those that its type declares."""

    capabilities: Capabilities

    def open(self, owner: str) -> ObjectStore:
        """Open the destination like a separate process; `owner` is the name of its attempt."""

    def leave_half_written(self, owner: str, name: str) -> bool:
        """Leave the remains of an attempt that dies while it stores an object; returns False for a
        store without remains.

        False for a store that never has remains.
        """

    def put_foreign(self, name: str) -> None:
        """Store one byte under a name that Haulback never uses, as another program would."""

    def settle(self) -> None:
        """Let the listing delay pass."""


def objects(store: ObjectStore, prefix: str) -> list[Item]:
    """Names and sizes of the objects below a prefix, sorted by name."""
    return sorted(Item(item.name, item.size) for item in store.list(prefix))


@contextmanager
def _refused(kind: type[HaulbackError]) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def _file(folder: str, data: bytes) -> Path:
    path = Path(folder) / "staged"
    path.write_bytes(data)
    return path


def an_object_reads_back_whole_and_in_part(bench: StoreBench) -> None:
    store = bench.open("a1")
    store.store("manifests/a", b"0123456789")
    assert bench.open("a2").load("manifests/a") == b"0123456789"
    assert store.load("manifests/a", 3, 4) == b"3456"
    assert store.load("manifests/a", 7) == b"789"
    assert store.load("manifests/a", 10, 0) == b""
    assert store.info("manifests/a")[:2] == ("manifests/a", 10)


def objects_of_any_size_read_back(bench: StoreBench) -> None:
    store = bench.open("a1")
    for name, data in (("index/empty", b""), ("packs/ab/large", bytes(range(256)) * 24_000)):
        store.store(name, data)
        assert store.load(name) == data
        assert store.info(name).size == len(data)


def a_read_beyond_the_end_is_damaged(bench: StoreBench) -> None:
    store = bench.open("a1")
    store.store("manifests/a", b"0123456789")
    for offset, length in ((0, 11), (9, 2), (10, 1)):
        with _refused(Damaged):
            store.load("manifests/a", offset, length)


def a_missing_object_is_not_found(bench: StoreBench) -> None:
    store = bench.open("a1")
    store.store("manifests/a", b"x")
    for name in ("manifests/b", "index/a", "haulback.json", "manifests/a/b"):
        with _refused(NotFound):
            store.load(name)
        with _refused(NotFound):
            store.info(name)


def an_existing_name_is_refused_and_keeps_its_bytes(bench: StoreBench) -> None:
    store = bench.open("a1")
    store.store("haulback.json", b"first")
    with _refused(Conflict):
        bench.open("a2").store("haulback.json", b"second")
    assert store.load("haulback.json") == b"first"
    require_exclusive_create(store, "haulback.json")
    assert store.load("haulback.json") == b"first"


def one_of_many_creates_at_once_succeeds(bench: StoreBench) -> None:
    def create(number: int) -> bool:
        try:
            bench.open(f"a{number}").store("rolls/00000001", b"%d" % number)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        created = list(pool.map(create, range(12)))
    assert created.count(True) == 1
    assert bench.open("b").load("rolls/00000001") == b"%d" % created.index(True)


def a_file_is_adopted_once_and_the_same_content_again(bench: StoreBench) -> None:
    store = bench.open("a1")
    with TemporaryDirectory(prefix="haulback-") as folder:
        for owner in ("a1", "a2"):
            path = _file(folder, b"x" * MIB)
            bench.open(owner).adopt("packs/ab/cd", path)
            assert not path.exists()
        path = _file(folder, b"y" * MIB)
        with _refused(Conflict):
            store.adopt("packs/ab/cd", path)
        assert path.read_bytes() == b"y" * MIB
    assert store.load("packs/ab/cd") == b"x" * MIB


def a_list_shows_what_is_below_its_prefix(bench: StoreBench) -> None:
    store = bench.open("a1")
    for name in ("packs/ab/1", "packs/cd/22", "packs-of/x", "rolls/00000001"):
        store.store(name, name.rpartition("/")[2].encode())
    bench.settle()
    seen = bench.open("a2")
    assert objects(seen, "packs") == [Item("packs/ab/1", 1), Item("packs/cd/22", 2)]
    assert objects(seen, "packs/cd") == [Item("packs/cd/22", 2)]
    assert objects(seen, "manifests") == []


def a_list_of_many_objects_is_complete(bench: StoreBench) -> None:
    store = bench.open("a1")
    names = [f"rolls/{number:08d}" for number in range(1, 1002)]  # more than a page of S3
    for name in names:
        store.store(name, b"x")
    bench.settle()
    assert [item.name for item in objects(store, "rolls")] == names


def entries_tell_files_from_folders(bench: StoreBench) -> None:
    store = bench.open("a1")
    for name in ("haulback.json", "packs/ab/1", "packs/cd/2", "rolls/00000001"):
        store.store(name, b"x")
    bench.settle()
    root = {entry for entry in store.entries("") if not entry[0].startswith(".")}
    assert root == {("haulback.json", True), ("packs", False), ("rolls", False)}
    assert set(store.entries("packs")) == {("ab", False), ("cd", False)}
    assert set(store.entries("rolls")) == {("00000001", True)}
    assert set(store.entries("graves")) == set()


def foreign_names_stop_no_list(bench: StoreBench) -> None:
    store = bench.open("a1")
    store.store("packs/ab/1", b"x")
    bench.put_foreign("packs/ab/Thumbs.db")
    bench.put_foreign("packs/.DS_Store")
    bench.settle()
    assert Item("packs/ab/1", 1) in objects(store, "packs")
    assert (".DS_Store", True) in set(store.entries("packs"))


def a_deleted_object_is_gone_and_its_name_is_free(bench: StoreBench) -> None:
    store = bench.open("a1")
    store.store("graves/a", b"first")
    store.store("graves/b", b"x")
    for _ in range(2):
        bench.open("a2").delete("graves/a")
    with _refused(NotFound):
        store.load("graves/a")
    bench.settle()
    assert objects(store, "graves") == [Item("graves/b", 1)]
    store.store("graves/a", b"second")
    assert store.load("graves/a") == b"second"


def half_written_objects_are_swept_by_their_owner_and_never_seen(bench: StoreBench) -> None:
    remains = int(bench.leave_half_written("a1", "packs/ab/1"))
    bench.leave_half_written("a2", "packs/ab/2")
    store = bench.open("a3")
    bench.settle()
    assert objects(store, "packs") == []
    with _refused(NotFound):
        store.info("packs/ab/1")
    assert store.sweep({"a2", "a3"}) == remains
    assert store.sweep({"a2", "a3"}) == 0
    assert store.sweep(set()) == remains


def only_names_of_the_alphabet_are_taken(bench: StoreBench) -> None:
    store = bench.open("a1")
    for name in ("", "/a", "a/", "a//b", "../a", "a/../b", ".tmp/a", "A", "a b", "a\0", "ä"):
        for call in (store.load, store.info, store.delete, lambda n: store.store(n, b"x")):
            with _refused(Malformed):
                call(name)


def a_local_path_is_there_where_it_is_declared(bench: StoreBench) -> None:
    store = bench.open("a1")
    store.store("index/a", b"columns")
    path = store.local_path("index/a")
    assert (path is not None) == bench.capabilities.local_path
    assert path is None or path.read_bytes() == b"columns"


CHECKS: list[Callable[[StoreBench], None]] = [
    an_object_reads_back_whole_and_in_part,
    objects_of_any_size_read_back,
    a_read_beyond_the_end_is_damaged,
    a_missing_object_is_not_found,
    an_existing_name_is_refused_and_keeps_its_bytes,
    one_of_many_creates_at_once_succeeds,
    a_file_is_adopted_once_and_the_same_content_again,
    a_list_shows_what_is_below_its_prefix,
    a_list_of_many_objects_is_complete,
    entries_tell_files_from_folders,
    foreign_names_stop_no_list,
    a_deleted_object_is_gone_and_its_name_is_free,
    half_written_objects_are_swept_by_their_owner_and_never_seen,
    only_names_of_the_alphabet_are_taken,
    a_local_path_is_there_where_it_is_declared,
]
