"""Reads of a store with read-ahead return the bytes, or the error, of the store itself."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.destinations.protocol import ObjectStore
from haulback.destinations.read_ahead import ReadAhead
from haulback.errors import HaulbackError
from haulback.testing.memory_store import MemoryStore
from tests import shares

SIZE, AHEAD, GAP = 400, 64, 16  # bytes: as many blocks in an object as in a pack
NAMES = ("packs/ab/first", "packs/ab/second")
STORE = MemoryStore()
for name in NAMES:
    STORE.store(name, random.Random(name).randbytes(SIZE))

RUNS = st.tuples(  # adjacent reads from an offset on, each some bytes after the previous one
    st.sampled_from(NAMES),
    st.integers(0, SIZE + 20),
    st.lists(st.tuples(st.integers(0, GAP + 1), st.integers(0, AHEAD + 1)), min_size=1, max_size=9),
)


def answer(store: ObjectStore, name: str, at: int, length: int) -> bytes | str:
    try:
        return store.load(name, at, length)
    except HaulbackError as error:
        return str(error)


@settings(max_examples=shares.cases("reads").count, deadline=None)
@given(st.lists(RUNS, max_size=12))
def test_any_reads_of_a_store_that_reads_ahead_are_those_of_the_store(
    runs: list[tuple[str, int, list[tuple[int, int]]]],
):
    ahead = ReadAhead(STORE, AHEAD, GAP)
    for name, at, reads in runs:
        for gap, length in reads:
            at += gap
            assert answer(ahead, name, at, length) == answer(STORE, name, at, length)
            at += length
