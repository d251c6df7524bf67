"""The index stays short for any number of backups, and loses no entry."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from haulback.destinations.folder import Folder
from haulback.durable_files import DurableFiles
from haulback.errors import Damaged
from haulback.repository import merge as merging
from haulback.repository.damage import DamagedPlace, DamageOrigin, RepositoryDamage
from haulback.repository.index import Index
from haulback.repository.index_tiers import FAN_IN, due
from haulback.repository.keys import Keys
from haulback.repository.merge import MergePlan, merge
from haulback.repository.pack import GroupEntry, GroupLocation
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.segment import Segment
from haulback.repository.verify import Depth, verify
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise, restored

KEYS = Keys(bytes(32))


def entries(seed, groups=20, chunks=15):
    dice = random.Random(seed)
    pack = dice.randbytes(16)
    return [
        GroupEntry(
            dice.randbytes(8) + i.to_bytes(4, "big"),
            GroupLocation(pack, i * 1000, 1000),
            [dice.randbytes(20) for _ in range(chunks)],
        )
        for i in range(groups)
    ]


def stored(folder: Path, found: list[GroupEntry]) -> Segment:
    path = Segment.build(found).write(folder, KEYS, DurableFiles())
    return Segment.open(path, path.stem, KEYS)


def merged(folder: Path, segments: list[Segment]) -> Segment:
    path = merge(MergePlan(segments, [s.name for s in segments]), folder, KEYS, DurableFiles())
    return Segment.open(path, path.stem, KEYS)


def assert_knows(index: Index, found: list[GroupEntry]) -> None:
    for entry in found:
        assert index.place(entry.group) == entry.place
        assert index.find(entry.chunks) == [entry.group] * len(entry.chunks)


def test_a_merged_segment_knows_every_chunk_and_every_place(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "_SLICE_CHUNKS", 100)
    parts = [entries(seed, groups=seed * 3) for seed in range(1, 9)]
    one = merged(tmp_path, [stored(tmp_path, part) for part in parts])
    assert len(one) == sum(len(entry.chunks) for part in parts for entry in part)
    for part in parts:
        assert_knows(Index([one]), part)
    assert Index([one]).find([bytes(20), b"\xff" * 20]) == [None, None]
    assert Index([one]).place(b"\xff" * 12) is None


def test_what_two_segments_both_hold_is_kept_once(tmp_path):
    found = entries(1)
    twice = [stored(tmp_path, found), stored(tmp_path, found[:5] + entries(2))]
    one = merged(tmp_path, twice)
    assert (len(one), len(one.columns.sessions), len(one.packs())) == (600, 40, 2)
    assert_knows(Index([one]), found + entries(2))
    assert sorted(one.replaces) == sorted(segment.name for segment in twice)


def test_a_chunk_stored_twice_keeps_both_groups(tmp_path):
    """Two writers at the same time store the same chunk: maps may name either group."""
    here, there = entries(1)[0], entries(2)[0]
    there = there._replace(chunks=here.chunks)
    one = merged(tmp_path, [stored(tmp_path, [here]), stored(tmp_path, [there])])
    assert Index([one]).place(here.group)
    assert Index([one]).place(there.group)
    assert Index([one]).find(here.chunks[:1])[0] in (here.group, there.group)


def test_chunks_that_share_eight_bytes_are_told_apart(tmp_path):
    first, second = entries(1, 2, 1)
    second = second._replace(chunks=[first.chunks[0][:8] + second.chunks[0][8:]])
    assert_knows(Index([stored(tmp_path, [first, second])]), [first, second])


@pytest.mark.parametrize("seed", range(6))
def test_a_large_index_answers_like_a_small_one(seed, monkeypatch):
    """A large index searches in arrays, a small one by bisection."""
    dice = random.Random(seed)
    parts = [entries(number) for number in range(4)]
    parts[1][3].chunks.extend(parts[0][2].chunks)  # stored twice
    segments = [Segment.build(part) for part in parts]
    ids = [chunk for part in parts for entry in part for chunk in entry.chunks]
    asked = dice.sample(ids, 200) + [dice.randbytes(20) for _ in range(50)]
    hidden = {parts[dice.randrange(4)][0].place.pack}
    place = parts[0][2].place
    damage = RepositoryDamage({DamagedPlace(place.pack, parts[0][2].group): DamageOrigin("", 1)})
    for index in (Index(segments), Index(segments, hidden), Index(segments, hidden, damage)):
        small = (index.find(asked), index.packs_of(asked))
        monkeypatch.setattr("haulback.repository.index._ARRAYS_FROM", 0)
        assert (index.find(asked), index.packs_of(asked)) == small
        monkeypatch.undo()


def test_a_small_index_finds_many_chunks_in_proportional_time():
    parts = entries(1, groups=400, chunks=20)
    ids = [chunk for entry in parts for chunk in entry.chunks]
    index = Index([Segment.build(parts)])
    begun = time.process_time()
    assert None not in index.find(ids)
    assert time.process_time() - begun < 1  # quadratic: 3.4 s


_BACKUPS = """
import sys, benchmarks.haulback as steps
from pathlib import Path
folder, image = Path(sys.argv[1]) / "store", Path(sys.argv[1]) / "image"
image.write_bytes(bytes(range(256)) * 9000)
folder.mkdir()
steps.Repository.init(steps.Folder(folder), steps.SECRET)
steps.backup(folder, image, None)
steps.backup(folder, image, None)
steps.restore(folder, image.with_name("back"))
assert image.read_bytes() == image.with_name("back").read_bytes()
sys.exit("numpy is loaded" if "numpy" in sys.modules else 0)
"""


def test_a_backup_of_a_small_disk_loads_no_arrays(tmp_path):
    """The import of numpy takes as long as a small increment."""
    command = [sys.executable, "-c", _BACKUPS, str(tmp_path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3])


def test_an_empty_segment_merges_like_any(tmp_path):
    found = entries(3)
    one = merged(tmp_path, [stored(tmp_path, []), stored(tmp_path, found)])
    assert_knows(Index([one]), found)


def test_a_damaged_segment_is_never_read(tmp_path):
    path = Segment.build(entries(1)).write(tmp_path, KEYS, DurableFiles())
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Damaged):
        Segment.open(path, path.stem, KEYS)
    path.write_bytes(b"")
    with pytest.raises(Damaged):
        Segment.open(path, path.stem, KEYS)


def test_the_number_of_segments_grows_with_the_logarithm(tmp_path):
    segments: list[Segment] = []
    most = 0
    for _ in range(1000):
        columns = Segment.build([]).raw._replace(heads=memoryview(bytes(8 * 1500)).cast("Q"))
        segments.append(Segment(columns))
        while chosen := due(segments):
            heads = memoryview(bytes(8 * sum(map(len, chosen)))).cast("Q")
            columns = columns._replace(heads=heads)
            segments = [s for s in segments if s not in chosen] + [Segment(columns)]
        most = max(most, len(segments))
    assert most <= 3 * FAN_IN


@pytest.fixture
def grown(folder, repository, tmp_path, pool):
    """Enough backups for a merge, with the content of each."""
    disk = MemoryDisk(noise(MIB))
    kept = []
    for seed in range(FAN_IN):
        disk.write_at(seed * 64 * KIB, noise(64 * KIB, seed + 7))
        kept.append((back_up(repository, disk, tmp_path / "s", pool), bytes(disk.data)))
    return kept


def names(folder):
    return {item.name for item in folder.list("index")}


def assert_whole(folder, kept, pool):
    opened = Repository.open(Folder(folder.root), SECRET)
    for manifest, data in kept:
        assert restored(opened, manifest, pool) == data
    report = verify(opened, Depth.DATA, Resources(pool))
    assert report.ok, report.findings


def test_a_merge_replaces_and_a_sweep_deletes(folder, repository, grown, tmp_path, pool):
    assert (len(names(folder)), repository.merge_index(tmp_path)) == (FAN_IN, 1)
    assert (len(names(folder)), len(repository.index().segments)) == (FAN_IN + 1, 1)
    assert_whole(folder, grown, pool)
    assert repository.sweep_index() == FAN_IN
    assert len(names(folder)) == 1
    assert_whole(folder, grown, pool)
    assert (repository.merge_index(tmp_path), repository.sweep_index()) == (0, 0)


def test_readers_from_before_a_sweep_read_on(folder, repository, grown, tmp_path, pool):
    reader = Repository.open(Folder(folder.root), SECRET)
    index = reader.index()
    repository.merge_index(tmp_path)
    repository.sweep_index()
    assert all(index.place(group) for segment in index.segments for group, _ in segment.groups())
    manifest, data = grown[-1]
    assert restored(reader, manifest, pool) == data


def test_a_listing_outrun_by_a_sweep_is_taken_again(folder, repository, grown, tmp_path, pool):
    slow = Repository.open(Folder(folder.root), SECRET)
    listed = list(folder.list("index"))
    repository.merge_index(tmp_path)
    repository.sweep_index()
    listings = iter([listed])
    fresh = slow.destination.list
    slow.destination.list = lambda prefix: next(listings, None) or fresh(prefix)
    assert len(slow.index().segments) == 1


def test_two_merges_at_once_lose_nothing(folder, repository, grown, tmp_path, pool):
    other = Repository.open(Folder(folder.root), SECRET)
    late = merge(MergePlan(other.index().segments[1:]), tmp_path, other.keys, DurableFiles())
    repository.merge_index(tmp_path)
    folder.adopt(f"index/{late.stem}", late)
    repository.sweep_index()
    other.sweep_index()
    assert_whole(folder, grown, pool)


def test_a_session_merges_its_own_segments_before_it_publishes(
    folder, repository, tmp_path, pool, monkeypatch
):
    monkeypatch.setattr("haulback.repository.writer._NEW_CHUNKS_IN_MEMORY", 16)
    disk = MemoryDisk(noise(40 * MIB))
    manifest = back_up(repository, disk, tmp_path / "s", pool)
    assert len(names(folder)) < FAN_IN
    assert_whole(folder, [(manifest, bytes(disk.data))], pool)
