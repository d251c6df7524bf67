"""The places of a file are the same whether they are requested at once or part by part."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.errors import Malformed, Unavailable
from haulback.filesystems.file_plan import FilePlan, FilePlans
from haulback.filesystems.records import MOST_BYTES, MOST_WINDOW, Content, FilePiece
from haulback.units import GIB, KIB, MIB
from tests import shares

_CASES = shares.cases("files")
_lengths = st.integers(1, 9 * MIB)


class StoredFile:
    """A file of some runs; `damage` is the offset of its first unreadable byte, if any.

    `is_strict`: a request that reaches the damage fails as a whole, as for a broken cluster chain.
    """

    def __init__(self, runs, damage=None, most=1000, *, is_strict=False):
        self.runs, self.damage, self.most, self.is_strict = runs, damage, most, is_strict
        self.size = sum(length for length, _ in runs)
        self.requests = []

    def ask(self, offset, count):
        self.requests.append((offset, count))
        end = min(self.size, offset + count)
        if self.damage is not None and self.damage < end:
            if self.is_strict or self.damage <= offset:
                raise Malformed("the file system is damaged")
            end = self.damage
        return Content(self.size, list(self.pieces(offset, end))[: self.most])

    def pieces(self, offset, end):
        at = 0
        for length, disk in self.runs:
            low, high = max(at, offset), min(at + length, end)
            for start in range(low, high, MOST_BYTES):
                count = min(MOST_BYTES, high - start)
                yield FilePiece(count, disk, 3 * at + start if disk >= 0 else 0)
            at += length


def places(pieces):
    """Ranges (length, disk, offset on the disk less offset in the file), adjacent ones joined."""
    result, at = [], 0
    for piece in pieces:
        place = piece.disk, piece.offset - at if piece.disk >= 0 else 0
        if result and result[-1][1] == place:
            result[-1] = result[-1][0] + piece.length, place
        else:
            result.append((piece.length, place))
        at += piece.length
    return result


def read(next_part, size, step):
    """The pieces of a file that is read in order in steps, and whether damage was met."""
    result, at = [], 0
    try:
        while at < size:
            part = next_part(at, min(step, size - at))
            length = sum(piece.length for piece in part)
            assert 0 < length <= step
            result, at = result + part, at + length
    except Malformed:
        return result, True
    return result, False


@settings(max_examples=_CASES.count, deadline=None)
@given(
    st.lists(st.tuples(_lengths, st.integers(-1, 3)), min_size=1, max_size=30),
    st.none() | st.integers(0, 60 * MIB),
    st.integers(1, 40),
    st.booleans(),
    st.integers(64 * KIB, MOST_BYTES),
)
def test_any_file_has_the_places_that_requests_part_by_part_give(
    runs, damage, most, is_strict, step
):
    stored = StoredFile(runs, damage, most, is_strict=is_strict)
    pieces, met_damage = read(FilePlan(stored.ask).pieces, stored.size, step)
    length = sum(piece.length for piece in pieces)
    assert met_damage == (damage is not None and damage < stored.size)
    if met_damage:  # a request that fails as a whole hides the bytes before the damage
        assert damage - (step if is_strict else 1) < length <= damage
    else:
        assert length == stored.size
    assert places(pieces) == places(stored.pieces(0, length))


def test_a_long_file_takes_few_requests():
    stored = StoredFile([(GIB, 0)])
    plan = FilePlan(stored.ask)
    for at in range(0, GIB, MOST_BYTES):
        assert plan.pieces(at, MOST_BYTES)
    assert len(stored.requests) <= 8
    assert max(count for _, count in stored.requests) <= MOST_WINDOW


def test_reading_here_and_there_requests_only_what_is_read():
    stored = StoredFile([(GIB, 0)])
    plan = FilePlan(stored.ask)
    for at in (500 * MIB, 100 * MIB, 900 * MIB):
        plan.pieces(at, 64 * KIB)
    assert [count for _, count in stored.requests] == [64 * KIB] * 3


def test_known_places_are_read_again_without_a_request():
    stored = StoredFile([(8 * MIB, 0), (MIB, -1), (8 * MIB, 1)])
    plan = FilePlan(stored.ask)
    plan.pieces(0, 17 * MIB)
    assert plan.pieces(7 * MIB, 3 * MIB) == [
        FilePiece(MIB, 0, 7 * MIB),
        FilePiece(MIB, -1),
        FilePiece(MIB, 1, 36 * MIB),
    ]
    assert len(stored.requests) == 1


def test_data_within_the_metadata_is_cut_to_what_is_read():
    def ask(offset, _):
        left = b"0123456789"[offset:]
        return Content(10, [FilePiece(len(left), data=left)] if left else [])

    plan = FilePlan(ask)
    assert plan.pieces(0, 4) == [FilePiece(4, data=b"0123")]
    assert plan.pieces(4, 100) == [FilePiece(6, data=b"456789")]
    assert plan.pieces(10, 100) == []


def test_an_unreachable_disk_is_not_asked_again():
    requests = []

    def ask(offset, count):
        requests.append(count)
        if offset:
            raise Unavailable("the disk is gone")
        return Content(GIB, [FilePiece(MOST_BYTES, 0)])

    plan = FilePlan(ask)
    plan.pieces(0, MOST_BYTES)
    with pytest.raises(Unavailable):
        plan.pieces(MOST_BYTES, MOST_BYTES)
    assert len(requests) == 2


def test_threads_that_overtake_each_other_read_a_file_in_few_requests():
    stored = StoredFile([(64 * MIB, 0)])
    plan = FilePlan(stored.ask)
    step = 128 * KIB
    for at in range(0, 64 * MIB, 4 * step):
        for ahead in (0, 2, 3, 1):
            [piece] = plan.pieces(at + ahead * step, step)
            assert (piece.offset, piece.length) == (at + ahead * step, step)
    assert len(stored.requests) <= 6


def test_the_plans_of_the_files_read_last_are_kept():
    stored, plans = StoredFile([(MIB, 0)]), FilePlans()
    for name in (b"/0", b"/1", b"/2", b"/3", b"/0", b"/4", b"/0"):
        plans.of("vda", name, stored.ask).pieces(0, MIB)
    assert len(stored.requests) == 5
    plans.of("vda", b"/1", stored.ask).pieces(0, MIB)
    plans.of("vdb", b"/0", stored.ask).pieces(0, MIB)
    assert len(stored.requests) == 7
