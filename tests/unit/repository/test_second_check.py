"""The check after the manifest looks up chunks again only if the facts of the first check
changed.
"""

from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from haulback.destinations.folder import Folder
from haulback.errors import BaseGone, NotFound
from haulback.repository import dedup_check
from haulback.repository.dedup_check import ReuseEvidence, still_holds
from haulback.repository.index import Index
from haulback.repository.pack import GroupEntry, GroupLocation, name_of
from haulback.repository.repository import Repository
from haulback.repository.segment import Segment
from haulback.units import MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, export, noise

PACKS = [bytes([number]) * 16 for number in range(4)]
PLACEMENTS = st.dictionaries(st.integers(0, 5), st.sampled_from(PACKS), min_size=1)


class Watched(Folder):
    """A folder that counts the reads of packs since the last manifest was stored."""

    def __init__(self, root, before_manifest=lambda: None):
        super().__init__(root)
        self.reads, self.before_manifest = Counter[str](), before_manifest

    def store(self, name, data):
        super().store(name, data)
        if name.startswith("manifests/"):
            self.reads.clear()
            self.before_manifest()

    def load(self, name, offset=0, length=None):
        self.reads[name.split("/", maxsplit=1)[0]] += 1
        return super().load(name, offset, length)


def published(tmp_path, pool, meanwhile=lambda: None):
    """Publish a backup; returns the destination, which ran `meanwhile` after the manifest."""
    (tmp_path / "store").mkdir()
    watched = Watched(tmp_path / "store", meanwhile)
    repository = Repository.init(watched, SECRET)
    draft = export(repository, MemoryDisk(noise(2 * MIB, 1)), tmp_path / "staging", pool)
    repository.publish(tmp_path / "staging", draft)
    return watched


def test_the_second_check_reads_no_page_when_nothing_has_changed(tmp_path, pool):
    assert published(tmp_path, pool).reads["packs"] == 0


def test_the_second_check_walks_again_when_the_index_was_replaced(tmp_path, pool):
    def replace():
        other = Repository.open(Folder(tmp_path / "store"), SECRET)
        [segment] = other.index().segments
        (tmp_path / "merged").mkdir()
        renamed = segment.renamed(segment.name)
        path = renamed.write(tmp_path / "merged", other.keys, Folder(tmp_path).disk)
        other.index_folder.store(path)

    assert published(tmp_path, pool, replace).reads["packs"] > 0


def segment(placed):
    """An index file that places each chunk number in a pack, in groups of one chunk."""
    return Segment.build(
        GroupEntry(bytes([chunk, *pack[:11]]), GroupLocation(pack, 8, 9), [chunk_id(chunk)])
        for chunk, pack in placed.items()
    )


def chunk_id(number):
    return bytes([number]) * 20


def store_of(packs):
    def info(name):
        if name not in packs:
            raise NotFound(name)

    return SimpleNamespace(info=info)


@given(st.data())
def test_evidence_that_still_holds_finds_every_chunk(data):
    files = [segment(placed) for placed in data.draw(st.lists(PLACEMENTS, min_size=1, max_size=3))]
    wanted = [chunk_id(number) for number in data.draw(st.sets(st.integers(0, 5), min_size=1))]
    before = Index(files, data.draw(st.sets(st.sampled_from(PACKS), max_size=1)))
    try:
        packs = dedup_check._packs_of([wanted], before, store_of(map(name_of, PACKS)))
    except BaseGone:
        return
    kept = [file for file in files if data.draw(st.integers(0, 4))]
    added = [segment(placed) for placed in data.draw(st.lists(PLACEMENTS, max_size=1))]
    after = Index([*added, *kept], data.draw(st.sets(st.sampled_from(PACKS), max_size=2)))
    left = store_of({name_of(pack) for pack in PACKS if data.draw(st.integers(0, 4))})
    if still_holds(ReuseEvidence(before, None, packs), after, None, left):
        assert dedup_check._packs_of([wanted], after, left)


def test_evidence_does_not_outlive_the_parent_it_relied_on():
    index, store, parent = Index([segment({1: PACKS[0]})]), store_of(set()), object()
    assert still_holds(ReuseEvidence(index, parent, set()), index, parent, store)
    assert not still_holds(ReuseEvidence(index, parent, set()), index, None, store)
    assert still_holds(ReuseEvidence(index, None, set()), index, parent, store)
