"""A restore whose disks do not fit is refused before anything is made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haulback.drivers.free_space import FreeSpace
from haulback.errors import OutOfSpace
from haulback.repository.manifest import Manifest
from haulback.repository.pages import ChunkRef
from haulback.testing.memory_hypervisor import MemoryHypervisor
from haulback.transfer.restore import RestoreServices, RestoreTarget, import_machine
from haulback.transfer.space_check import PlannedDisk, check_space
from haulback.units import MIB
from tests.unit.repository.scene import MemoryDisk, noise
from tests.unit.transfer.copy_site import CopySite

SIZE, DATA = 40 * MIB, 3 * MIB
Scene = tuple[CopySite, Manifest]


@pytest.fixture
def scene(tmp_path: Path, pool: ThreadPoolExecutor) -> Scene:
    """A site with a backup of a thin disk."""
    site, disk = CopySite(tmp_path, pool), MemoryDisk(bytes(SIZE))
    disk.write_at(20 * MIB, noise(DATA, 1))
    return site, site.back_up(disk)


def restored(scene: Scene, free: int, *, allocate: bool = False) -> MemoryHypervisor:
    """The hypervisor with `free` bytes after a restore to it, which a refusal leaves empty."""
    (site, backup), host = scene, MemoryHypervisor()
    host.free = free
    target = RestoreTarget("a1", name="web", allocate=allocate)
    try:
        import_machine(site.opened("first"), backup, host, target, RestoreServices(site.pool))
    except OutOfSpace:
        assert (host.machines, host.making) == ({}, {})
        raise
    return host


def test_a_thin_disk_needs_the_space_of_its_data_alone(scene: Scene):
    [machine] = restored(scene, DATA).machines.values()
    assert [bytes(disk.data) for disk in machine.disks.values()] == [
        scene[0].contents[scene[1].backup]
    ]


def test_a_thin_disk_whose_data_does_not_fit_is_refused_with_target_need_and_remedy(scene: Scene):
    with pytest.raises(OutOfSpace) as refused:
        restored(scene, 2 * MIB)
    assert refused.value.message == (
        "the memory has 2 MiB free, and 1 disk to restore needs 3 MiB: free some space there, "
        "restore to another storage, or leave out disks"
    )
    assert refused.value.details == {"needed": DATA, "free": 2 * MIB}


def test_a_preallocated_disk_needs_its_whole_size_and_may_be_restored_thin(scene: Scene):
    with pytest.raises(OutOfSpace, match=r"20 MiB free.*needs 40 MiB.*sparse"):
        restored(scene, 20 * MIB, allocate=True)
    assert restored(scene, SIZE, allocate=True).machines


class _Unread:
    """A reader that counts the pages that are read."""

    def __init__(self) -> None:
        self.read = 0

    def chunk(self, ref: ChunkRef) -> memoryview:
        self.read += 1
        raise AssertionError("the map was read")


@pytest.mark.parametrize("allocate", [False, True])
def test_disks_that_fit_whole_cost_no_read_of_their_maps(scene: Scene, allocate: bool):
    disk = PlannedDisk("vda", scene[1].disks[0].map, allocate)
    spaces = [FreeSpace("/a", SIZE, ("vda",)), FreeSpace("/b", 0, ("unknown",))]
    reader = _Unread()
    check_space([disk], spaces, reader)  # type: ignore[arg-type]
    assert reader.read == 0


def test_disks_of_different_file_systems_are_checked_apart(scene: Scene):
    site, stored = scene[0], scene[1].disks[0].map
    disks = [PlannedDisk(name, stored) for name in ("vda", "vdb")]
    reader = site.opened("first").reader()
    apart = [FreeSpace("/a", DATA, ("vda",)), FreeSpace("/b", DATA, ("vdb",))]
    check_space(disks, apart, reader)
    with pytest.raises(OutOfSpace, match=r"/a has 3 MiB free, and 2 disks to restore need 6 MiB"):
        check_space(disks, [FreeSpace("/a", DATA, ("vda", "vdb"))], reader)
