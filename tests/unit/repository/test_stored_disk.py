"""A stored disk that is read in order is decoded ahead, each group once."""

from collections import Counter

from haulback.destinations.folder import Folder
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk
from haulback.units import KIB, MIB
from tests.conftest import SECRET
from tests.unit.repository.scene import MemoryDisk, back_up, noise

SIZE = 24 * MIB


class Counted(Folder):
    """A folder that counts the loads of each part of a pack."""

    def __init__(self, root):
        super().__init__(root)
        self.loads = Counter()

    def load(self, name, offset=0, length=None):
        if name.startswith("packs/"):
            self.loads[offset, length] += 1
        return super().load(name, offset, length)


def stored(tmp_path, pool):
    """A stored disk of noise, its content, and the counting destination."""
    (tmp_path / "store").mkdir()
    counted = Counted(tmp_path / "store")
    repository, disk = Repository.init(counted, SECRET), MemoryDisk(noise(SIZE, 1))
    manifest = back_up(repository, disk, tmp_path / "staging", pool)
    opened = StoredDisk(manifest.disks[0].map, repository.reader())
    counted.loads.clear()
    return opened, bytes(disk.data), counted


def read(disk, at, length):
    buffer = bytearray(length)
    disk.read_into(at, memoryview(buffer))
    return bytes(buffer)


def test_each_group_is_loaded_once_while_a_disk_is_read_in_order(tmp_path, pool):
    disk, data, counted = stored(tmp_path, pool)
    step = 300 * KIB
    parts = [read(disk, at, min(step, SIZE - at)) for at in range(0, SIZE, step)]
    assert b"".join(parts) == data
    assert set(counted.loads.values()) == {1}


def test_a_single_read_loads_no_other_groups(tmp_path, pool):
    disk, data, counted = stored(tmp_path, pool)
    for at in (10 * MIB, 3 * MIB, 20 * MIB):
        assert read(disk, at, 64 * KIB) == data[at : at + 64 * KIB]
    # at most two groups for each read, and the pages of the map
    assert len(counted.loads) <= 3 * 2 + 3
