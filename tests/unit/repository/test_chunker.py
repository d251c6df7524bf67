"""Data is cut by content: equal data gives equal chunks at any position."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from haulback.repository.chunker import (
    CHUNK_BYTES_AVERAGE,
    CHUNK_BYTES_MAX,
    CHUNK_BYTES_MIN,
    SEGMENT_BYTES,
    cut,
)
from tests.unit.repository.scene import noise

KIB = 1024


def lengths(data: bytes) -> list[int]:
    return [len(one) for one in cut(memoryview(data))]


def test_the_sizes_of_chunks_are_part_of_the_format():
    """Other sizes would cut old data differently, so that every backup would be stored a second
    time.
    """
    assert SEGMENT_BYTES == 1024 * KIB
    sizes = (CHUNK_BYTES_MIN, CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX)
    assert sizes == (16 * KIB, 64 * KIB, 256 * KIB)


def test_the_same_data_is_cut_in_the_same_places_in_every_version():
    assert lengths(noise(SEGMENT_BYTES, 1)) == [
        33258,
        78308,
        80973,
        39403,
        28737,
        67810,
        159371,
        71728,
        135843,
        117997,
        63250,
        49701,
        122197,
    ]
    assert lengths(bytes(SEGMENT_BYTES)) == [262144, 262144, 262144, 262144]


@given(st.integers(0, 1 << 20), st.integers(0, 5))
def test_chunks_cover_the_data_in_order_within_their_bounds(size: int, seed: int):
    data = noise(size, seed)
    pieces = cut(memoryview(data))
    assert b"".join(pieces) == data
    assert all(len(one) <= CHUNK_BYTES_MAX for one in pieces)
    assert all(len(one) >= CHUNK_BYTES_MIN for one in pieces[:-1])


def test_a_change_at_the_front_leaves_the_cuts_behind_it_where_they_were():
    data = noise(SEGMENT_BYTES, 3)
    changed = noise(100, 4) + data[100:]
    old, new = cut(memoryview(data)), cut(memoryview(changed))
    assert {bytes(one) for one in old[3:]} <= {bytes(one) for one in new}
