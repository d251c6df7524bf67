"""Reused data of a backup is checked: packs by length and directory, groups by a random sample."""

import random

import pytest

from haulback.destinations.folder import Folder
from haulback.repository.pack_verification import ALWAYS, SHARE, ReuseProof
from haulback.repository.repository import Repository
from haulback.units import MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise, restored


class Memory:
    """A cache of checked packs."""

    def __init__(self):
        self.packs = {}

    def knows(self, pack, length):
        return self.packs.get(pack) == length

    def learn(self, pack, length):
        self.packs[pack] = length


@pytest.fixture
def stored(repository, folder, tmp_path, pool):
    disk = MemoryDisk(noise(4 * MIB))
    return back_up(repository, disk, tmp_path / "s", pool), bytes(disk.data)


def opened(folder):
    return Repository.open(Folder(folder.root), SECRET)


def packs(folder):
    return sorted((p for p in folder.root.glob("packs/*/*")), key=lambda p: p.stat().st_size)


def change(path, at, cut=None):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.unlink()
    path.write_bytes(raw[:cut])


@pytest.mark.parametrize("how", ["gone", "shorter", "directory", "tail", "first group"])
def test_a_full_of_the_same_machine_does_not_build_on_a_broken_pack(
    stored, folder, tmp_path, pool, how
):
    """The reuse check finds damage that is not recorded, and the new backup heals the old one."""
    manifest, data = stored
    path = packs(folder)[-1]
    if how == "gone":
        path.unlink()
    else:
        size = path.stat().st_size
        at, cut = {"shorter": (9, size // 2), "directory": (size - 60, None)}.get(how, (9, None))
        change(path, size - 3 if how == "tail" else 40 if how == "first group" else at, cut)
    repository = opened(folder)
    new = back_up(repository, MemoryDisk(data), tmp_path / "n", pool)
    assert restored(opened(folder), new, pool) == data
    assert new.stored > MIB
    if how not in ("directory", "tail"):
        assert repository.findings
    assert restored(opened(folder), manifest, pool) == data


@pytest.mark.usefixtures("stored")
def test_a_sound_pack_is_checked_once_and_remembered_by_its_length(folder, tmp_path, pool):
    repository, memory = opened(folder), Memory()
    (tmp_path / "w").mkdir()
    writer = repository.writer(tmp_path / "w", pool, memory=memory)
    index = repository.index()
    groups = [group for segment in index.segments for group, _ in segment.groups()]
    assert writer._proof.sound(groups) == set(groups)
    writer.abandon()
    assert set(memory.packs.values()) <= {p.stat().st_size for p in packs(folder)}
    assert memory.packs


def test_the_first_groups_are_always_read_and_later_ones_with_the_stated_chance():
    """The numbers of the design page: of n reused groups the first 8 and one in 50 of the others
    are read.
    """

    class Counting(ReuseProof):
        def __init__(self, chance):
            super().__init__(None, None, None, None)
            self._chance = chance

        def chosen(self):
            class Place:
                pack = b""

            return self._is_chosen(Place)

    proof = Counting(random.Random(1))
    assert all(proof.chosen() for _ in range(ALWAYS))
    count = sum(proof.chosen() for _ in range(20_000))
    assert abs(count - 20_000 * SHARE) < 100
