"""A file of the index finds every chunk and every group that was put in, and nothing else."""

from __future__ import annotations

import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.durable_files import DurableFiles
from haulback.errors import Damaged, NotFound
from haulback.repository.index_arrays import as_bytes, group_ids
from haulback.repository.index_lookup import matches
from haulback.repository.keys import Keys
from haulback.repository.pack import GroupEntry, GroupLocation
from haulback.repository.segment import Segment, footer, write

KEYS = Keys(bytes(32))
PACKS = [bytes([number]) * 16 for number in (7, 3, 5)]


def group(session: int, counter: int) -> bytes:
    return struct.pack(">QI", session, counter)


def chunk(head: int, rest: int = 0) -> bytes:
    return struct.pack(">QQ", head, rest) + b"tail"


def entry(name: bytes, pack: bytes, offset: int, *chunks: bytes, length: int = 10) -> GroupEntry:
    return GroupEntry(name, GroupLocation(pack, offset, length), list(chunks))


@st.composite
def directories(draw: st.DrawFn) -> list[GroupEntry]:
    """Groups with distinct ids and chunks; few values, so that heads and sessions collide."""
    names = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), unique=True, max_size=9))
    small = st.tuples(st.integers(0, 5), st.integers(0, 5))
    large = st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
    ids = draw(st.lists(small | large, unique=True, max_size=24))
    result = [
        entry(
            group(*name), draw(st.sampled_from(PACKS)), 100 * place, length=draw(st.integers(1, 99))
        )
        for place, name in enumerate(names)
    ]
    for number, item in enumerate(ids if result else []):
        result[number % len(result)].chunks.append(chunk(*item))
    return result


def found_in(segment: Segment, chunks: list[bytes]) -> list[bytes | None]:
    """The group of each chunk, None for an unknown one."""
    rows = [segment.group_of(chunk) for chunk in chunks]
    groups = [None if row is None else segment.group_ids([row])[0] for row in rows]
    # arrays, which serve a large index, find the same
    result: list[bytes | None] = [None] * len(chunks)
    for _, which, owners in matches([segment], {}, chunks):
        for i, name in zip(which, segment.group_ids(owners), strict=True):
            result[i] = name
    assert result == groups
    return groups


STRANGERS = [chunk(head, 6) for head in (0, 1, 5, 9, (1 << 64) - 1)]


@given(directories())
def test_every_chunk_is_found_in_its_group_and_no_other_chunk_is(entries: list[GroupEntry]):
    segment = Segment.build(entries)
    owners = {one: entry.group for entry in entries for one in entry.chunks}
    assert len(segment) == len(owners)
    wanted = sorted([*owners, *STRANGERS])
    assert found_in(segment, wanted) == [owners.get(one) for one in wanted]
    for one in wanted:
        assert found_in(segment, [one]) == [owners.get(one)]


@given(directories())
def test_every_group_is_found_at_its_place_and_no_other_group_is(entries: list[GroupEntry]):
    segment = Segment.build(entries)
    places = {item.group: item.place for item in entries}
    for session in range(5):
        for counter in range(5):
            name = group(session, counter)
            assert segment.place(name) == places.get(name)
            assert (segment.row(name) is None) == (name not in places)
    assert list(segment.groups()) == sorted(places.items())
    rows = range(len(places))
    assert (
        segment.group_ids(rows)
        == group_ids(segment.columns, np.arange(len(rows)))
        == sorted(places)
    )
    assert [segment.place_at(row) for row in rows] == [places[n] for n in sorted(places)]


@given(directories())
def test_the_groups_of_a_pack_are_listed_with_their_places(entries: list[GroupEntry]):
    segment = Segment.build(entries)
    for _ in range(2):
        for pack in PACKS:
            wanted = sorted((item.group, item.place) for item in entries if item.place.pack == pack)
            assert list(segment.groups_in(pack)) == wanted
            rows = list(segment.rows_in(pack))
            assert rows == sorted(rows)
            assert segment.packs_at(segment.rows_in(pack)) == ({pack} if wanted else set())
    assert len(segment.rows_in(bytes(16))) == 0
    assert segment.packs_at(range(len(entries))) == {item.place.pack for item in entries}


@given(directories())
def test_a_pack_is_as_long_as_the_end_of_its_last_group(entries: list[GroupEntry]):
    ends: dict[bytes, int] = {}
    for one in entries:
        pack, offset, length = one.place
        ends[pack] = max(ends.get(pack, 0), offset + length)
    assert Segment.build(entries).ends() == ends


def test_the_end_of_a_group_may_lie_beyond_four_gibibytes():
    last = (1 << 32) - 1
    segment = Segment.build([entry(group(1, 1), PACKS[0], last, length=last)])
    assert segment.ends() == {PACKS[0]: 2 * last}
    assert segment.place(group(1, 1)) == GroupLocation(PACKS[0], last, last)


def test_ids_that_share_their_first_half_are_told_apart():
    """Such ids practically never occur: a search has to visit all of them."""
    same = [chunk(5, rest) for rest in (9, 2, 7)]
    segment = Segment.build(
        [entry(group(1, n), PACKS[0], n, one) for n, one in enumerate(same)]
        + [entry(group(2, 0), PACKS[0], 9, chunk(6, 2), chunk(4, 2))]
    )
    assert found_in(segment, same) == [group(1, 0), group(1, 1), group(1, 2)]
    assert found_in(segment, [chunk(5, 3), chunk(5, 7)]) == [None, group(1, 2)]
    assert found_in(segment, [chunk(4, 9), chunk(6, 9), chunk(7, 2)]) == [None, None, None]


def test_chunks_that_share_their_head_stay_in_the_order_of_the_directory():
    # more chunks than an unstable sorting method would leave in order by chance
    rests = [(number * 37) % 101 for number in range(100)]
    segment = Segment.build([entry(group(1, 1), PACKS[0], 0, *(chunk(5, rest) for rest in rests))])
    assert segment.columns.rests.tolist() == rests


def test_a_segment_of_many_groups_leads_to_each_of_them():
    # groups with numbers of five digits, in descending order: each chunk names its group's row
    count = 10_050
    entries = [entry(group(1, count - n), PACKS[0], n, chunk(n)) for n in range(count)]
    segment = Segment.build(entries)
    assert segment.columns.groups_of.tolist() == list(range(count - 1, -1, -1))


@given(directories())
def test_a_written_segment_is_mapped_as_it_was(entries: list[GroupEntry]):
    segment = Segment.build(entries)
    with TemporaryDirectory() as folder:
        path = segment.write(Path(folder), KEYS, DurableFiles())
        result = Segment.open(path, path.stem, KEYS)
    assert result.name == path.stem
    assert list(result.groups()) == list(segment.groups())
    chunks = sorted(item for entry in entries for item in entry.chunks)
    assert found_in(result, chunks) == found_in(segment, chunks)
    result.release()
    assert list(result.groups()) == list(segment.groups())
    segment.release()


def test_the_bytes_of_a_segment_are_those_of_the_format(tmp_path: Path):
    """docs/design/repository-format.md: columns, each in little-endian order, and a footer."""
    entries = [
        entry(group(2, 8), PACKS[1], 300, chunk(30, 3), length=31),
        entry(group(1, 9), PACKS[0], 200, chunk(20, 2), chunk(40, 4), length=21),
        entry(group(1, 7), PACKS[1], 100, length=11),
    ]
    segment = Segment.build(entries)
    path = segment.write(tmp_path, KEYS, DurableFiles())
    heads, rests = struct.pack("<3Q", 20, 30, 40), struct.pack("<3Q", 2, 3, 4)
    sessions, owners = struct.pack("<3Q", 1, 1, 2), struct.pack("<3I", 1, 2, 1)
    counters, packs_of = struct.pack("<3I", 7, 9, 8), struct.pack("<3I", 0, 1, 0)
    offsets, lengths = struct.pack("<3I", 100, 200, 300), struct.pack("<3I", 11, 21, 31)
    end = struct.pack("<QQQQ8s", 3, 3, 2, 0, b"HBINDX01")
    wanted = heads + rests + sessions + owners + counters + packs_of + offsets + lengths
    assert path.read_bytes() == wanted + PACKS[1] + PACKS[0] + end
    hasher = KEYS.segment_hasher()
    hasher.update(path.read_bytes())
    assert path == tmp_path / f"{hasher.hexdigest(length=20)}.index"


def test_a_renamed_segment_holds_the_same_under_a_name_of_its_own(tmp_path: Path):
    segment = Segment.build([entry(group(1, 1), PACKS[0], 0, chunk(1))])
    item, other = segment.renamed("ab" * 20, "cd" * 20), segment.renamed("ab" * 20, "cd" * 20)
    assert item.replaces[:2] == ["ab" * 20, "cd" * 20]
    assert [len(name) for name in item.replaces] == [40, 40, 40]
    assert item.replaces[2] != other.replaces[2]
    assert list(item.groups()) == list(segment.groups())
    assert (segment.replaces, item.name) == ([], "")
    path = item.write(tmp_path, KEYS, DurableFiles())
    result = Segment.open(path, path.stem, KEYS)
    assert result.replaces == item.replaces
    assert path != segment.write(tmp_path, KEYS, DurableFiles())


def named(folder: Path, data: bytes) -> Path:
    """A file under the name that its bytes have in the index."""
    hasher = KEYS.segment_hasher()
    hasher.update(data)
    path = folder / f"{hasher.hexdigest(length=20)}.index"
    path.write_bytes(data)
    return path


def test_a_segment_that_is_gone_is_told_from_a_damaged_one(tmp_path: Path):
    with pytest.raises(NotFound, match="ab no longer exists") as told:
        Segment.open(tmp_path / "ab.index", "ab", KEYS)
    assert told.value.details == {"name": "ab"}
    with pytest.raises(Damaged, match=r"ab cannot be read: \[Errno 21\]") as told:
        Segment.open(tmp_path, "ab", KEYS)
    assert told.value.details == {"name": "ab"}


def test_a_segment_under_the_name_of_another_is_damaged(tmp_path: Path):
    path = Segment.build([]).write(tmp_path, KEYS, DurableFiles())
    with pytest.raises(Damaged, match="ab is damaged") as told:
        Segment.open(path, "ab", KEYS)
    assert told.value.details == {"name": "ab"}
    with pytest.raises(Damaged, match="is damaged"):
        Segment.open(path, path.stem, Keys(bytes(31) + b"1"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack("<QQQQ8s", 0, 0, 0, 0, b"HBINDX02"), "unknown format"),
        (struct.pack("<QQQQ8s", 1, 0, 0, 0, b"HBINDX01"), "wrong length"),
        (bytes(19) + struct.pack("<QQQQ8s", 1, 0, 0, 0, b"HBINDX01"), "wrong length"),
        (bytes(1) + struct.pack("<QQQQ8s", 0, 0, 0, 0, b"HBINDX01"), "wrong length"),
    ],
)
def test_a_segment_of_another_form_is_damaged(tmp_path: Path, data: bytes, reason: str):
    path = named(tmp_path, data)
    with pytest.raises(Damaged, match=f"{path.stem} has an? {reason}") as told:
        Segment.open(path, path.stem, KEYS)
    assert told.value.details == {"name": path.stem}


def test_a_large_segment_is_hashed_to_its_last_byte(tmp_path: Path):
    many = [chunk(number, number) for number in range(230_000)]  # over 4 MiB
    path = Segment.build([entry(group(1, 1), PACKS[0], 0, *many)]).write(
        tmp_path, KEYS, DurableFiles()
    )
    assert path.stat().st_size > 4 << 20
    assert len(Segment.open(path, path.stem, KEYS)) == len(many)
    with path.open("r+b") as file:
        file.seek(-60, 2)
        file.write(b"x")
    with pytest.raises(Damaged):
        Segment.open(path, path.stem, KEYS)


class Watched(DurableFiles):
    """Plain files; records the order of the calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def sync(self, file: IO[bytes]) -> None:
        self.calls.append(f"sync {Path(file.name).name}")
        super().sync(file)

    def replace(self, source: Path, target: Path) -> None:
        self.calls.append(f"replace {source.name}")
        super().replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        self.calls.append(f"sync {folder.name}")
        super().sync_folder(folder)


def test_a_segment_is_durable_before_it_has_its_name(tmp_path: Path):
    disk = Watched()
    (tmp_path / "index.part").write_bytes(b"left by a crash")
    path = Segment.build([]).write(tmp_path, KEYS, disk)
    assert disk.calls == ["sync index.part", "replace index.part", f"sync {tmp_path.name}"]
    assert list(tmp_path.iterdir()) == [path]


def test_columns_may_be_written_piece_by_piece(tmp_path: Path):
    segment = Segment.build([entry(group(1, 1), PACKS[0], 0, chunk(1), chunk(2))])
    columns = segment.raw
    assert footer(columns) == struct.pack("<QQQQ8s", 2, 1, 1, 0, b"HBINDX01")
    assert footer(columns, 9) == struct.pack("<QQQQ8s", 9, 1, 1, 0, b"HBINDX01")
    assert footer(columns, 0) == struct.pack("<QQQQ8s", 0, 1, 1, 0, b"HBINDX01")
    heads = segment.columns.heads
    halves = (as_bytes(heads[:1]), as_bytes(heads[1:]))
    parts = (*halves, *columns[1:], footer(columns))
    assert write(parts, tmp_path, KEYS, DurableFiles()) == segment.write(
        tmp_path, KEYS, DurableFiles()
    )
