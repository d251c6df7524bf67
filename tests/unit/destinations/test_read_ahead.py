"""A single request reads adjacent parts of an object; a repeated read makes its own request."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from haulback.destinations.add_only import AddOnly
from haulback.destinations.pass_through import PassThrough, close
from haulback.destinations.read_ahead import ReadAhead
from haulback.errors import Damaged, NotFound
from haulback.testing.memory_store import MemoryStore

MIB = 1 << 20
PACK = "packs/ab/pack"
DATA = random.Random(1).randbytes(10 * MIB)


class Counted(PassThrough):
    """A store that records its reads."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.reads: list[tuple[int, int | None]] = []

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.reads.append((offset, length))
        return super().load(name, offset, length)


@pytest.fixture
def store() -> Counted:
    made = Counted()
    made.store(PACK, DATA)
    return made


def test_neighbouring_reads_come_by_few_requests(store: Counted):
    ahead, whole = ReadAhead(store), store.load(PACK)
    store.reads.clear()
    read = b"".join(ahead.load(PACK, at * MIB, MIB) for at in range(10))
    assert read == whole
    assert len(store.reads) == 4  # two of 1 MiB, then blocks of 4 MiB


def test_the_next_block_is_asked_for_before_it_is_needed(store: Counted):
    ahead = ReadAhead(store)
    for at in (0, 1, 2):
        ahead.load(PACK, at * MIB, MIB)
    assert ahead.load(PACK, 5 * MIB + MIB // 2, MIB) == store.load(PACK, 5 * MIB + MIB // 2, MIB)
    assert (6 * MIB, 4 * MIB) in store.reads, "the range is in two blocks"


def test_scattered_reads_are_not_enlarged(store: Counted):
    ahead = ReadAhead(store)
    for at in (7, 2, 5, 0, 9):
        assert ahead.load(PACK, at * MIB, 4096) == store.load(PACK, at * MIB, 4096)
    assert max(length or 0 for _, length in store.reads) == 4096


def test_a_repeated_read_asks_the_store_again(store: Counted):
    ahead = ReadAhead(store)
    for at in (0, 1, 2, 3):
        ahead.load(PACK, at * MIB, MIB)
    assert (2 * MIB, MIB) not in store.reads
    ahead.load(PACK, 2 * MIB, MIB)
    assert (2 * MIB, MIB) in store.reads


def test_errors_are_those_of_the_read_that_was_asked_for(store: Counted):
    ahead = ReadAhead(store)
    ahead.load(PACK, 8 * MIB, MIB)
    assert len(ahead.load(PACK, 9 * MIB, MIB)) == MIB
    with pytest.raises(Damaged, match="truncated"):
        ahead.load(PACK, 10 * MIB, 1)
    with pytest.raises(NotFound):
        ahead.load("packs/ab/none", 0, 1)


def test_threads_that_share_a_store_read_the_right_bytes(store: Counted):
    ahead, whole, dice = ReadAhead(store), store.load(PACK), random.Random(2)
    ranges = [(at * MIB // 4, MIB // 4) for at in range(40)] * 3
    for place in range(0, len(ranges), 3):  # nearly in order, as a restore reads
        part = ranges[place : place + 3]
        dice.shuffle(part)
        ranges[place : place + 3] = part
    with ThreadPoolExecutor(4) as pool:
        read = pool.map(lambda item: ahead.load(PACK, *item), ranges)
        for (at, length), data in zip(ranges, read, strict=True):
            assert data == whole[at : at + length]


def test_a_store_that_is_closed_has_no_threads_and_can_be_read(store: Counted):
    before = set(threading.enumerate())
    ahead = ReadAhead(store)
    for at in (0, 1, 2, 3):
        ahead.load(PACK, at * MIB, MIB)
    threads = set(threading.enumerate()) - before
    assert threads
    close(AddOnly(ahead))
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert ahead.load(PACK, 3 * MIB, MIB) == DATA[3 * MIB : 4 * MIB]
    close(ahead)
