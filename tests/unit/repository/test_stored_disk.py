"""A stored disk that is read in order is decoded ahead, each group once."""

from collections import Counter

from haulback.destinations.folder import Folder
from haulback.errors import Damaged
from haulback.repository import reader, stored_disk
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
    """A stored disk of random data, its content, and the counting destination."""
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


def test_readers_at_two_places_are_both_read_ahead_for(tmp_path, pool):
    disk, data, counted = stored(tmp_path, pool)
    half = SIZE // 2
    for at in range(0, half, 256 * KIB):
        for low in (at, half + at):
            assert read(disk, low, 256 * KIB) == data[low : low + 256 * KIB]
    assert set(counted.loads.values()) == {1}
    assert disk._ahead._coming


def test_a_disk_read_in_order_leaves_few_groups_in_memory(tmp_path, pool):
    disk, data, _ = stored(tmp_path, pool)
    assert b"".join(read(disk, at, MIB) for at in range(0, SIZE, MIB)) == data
    for future in disk._ahead._coming.values():
        future.result()
    held = sum(len(group.data) for group in disk._reader._kept.values())
    # three more: two segments that were read before any was loaded ahead, and pages of the map
    assert held < (reader._PASSED_KEPT + 3) * MIB


def test_a_late_read_behind_the_others_loads_nothing_again(tmp_path, pool):
    disk, data, counted = stored(tmp_path, pool)
    for at in range(2 * MIB, SIZE, 256 * KIB):
        for low in (at, at - 2 * MIB):
            assert read(disk, low, 128 * KIB) == data[low : low + 128 * KIB]
    assert set(counted.loads.values()) == {1}


def test_a_reader_loads_no_segments_ahead_that_another_has_read(tmp_path, pool):
    disk, data, counted = stored(tmp_path, pool)
    for low, high in ((8, 24), (0, 8)):
        parts = [read(disk, at * MIB, MIB) for at in range(low, high)]
        assert b"".join(parts) == data[low * MIB : high * MIB]
    for future in disk._ahead._coming.values():
        future.result()
    assert set(counted.loads.values()) == {1}
    # The reading continues after the gap.
    assert read(disk, 8 * MIB, MIB) == data[8 * MIB : 9 * MIB]
    assert 9 in disk._ahead._coming


def test_the_segments_kept_ahead_are_few_and_short(tmp_path, pool):
    disk, _, _ = stored(tmp_path, pool)
    for start in range(0, 24, 4):
        for at in range(start, start + 3):
            read(disk, at * MIB, 4 * KIB)
    assert len(disk._ahead._coming) <= stored_disk._STREAMS * (stored_disk._AHEAD + 1)
    assert len(disk._ahead._positions) <= stored_disk._STREAMS
    assert {len(future.result()) for future in disk._ahead._coming.values()} == {MIB}


def test_damage_ahead_hides_only_the_damaged_chunks(tmp_path, pool):
    """Segments of repeated random data share chunks, so their groups are not contiguous."""
    (tmp_path / "store").mkdir()
    repository = Repository.init(Folder(tmp_path / "store"), SECRET)
    data = noise(4 * MIB, 2) + bytes(2 * MIB) + noise(4 * MIB, 2)[::-1] + noise(2 * MIB, 2)
    manifest = back_up(repository, MemoryDisk(data), tmp_path / "staging", pool)
    pack = max((tmp_path / "store" / "packs").rglob("*/*"), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)

    def read_all(disk, order):
        seen = {}
        for at in order:
            try:
                seen[at] = read(disk, at, 256 * KIB)
            except Damaged:
                seen[at] = None
        return seen

    places = range(0, len(data), 256 * KIB)
    in_order = read_all(StoredDisk(manifest.disks[0].map, repository.reader()), places)
    here_and_there = read_all(StoredDisk(manifest.disks[0].map, repository.reader()), places[::-1])
    assert in_order == here_and_there
    assert None in in_order.values()
    for at, part in in_order.items():
        assert part in (None, data[at : at + 256 * KIB])
