"""A restored machine has the disks of its original, and leaves nothing if it does not start."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from haulback.drivers.hypervisor import ALLOCATED, Machine
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.errors import HaulbackError, Unavailable
from haulback.ids import new_guid
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.repository import Repository
from haulback.transfer.export import ExportServices, ExportSpec, export_machine
from haulback.transfer.power import start_restored
from haulback.transfer.restore import RestoreServices, RestoreTarget, import_machine, wanted_of
from haulback.transfer.store import store_machine
from haulback.units import MIB
from tests.images import UUID, image_of, raw_machine


@pytest.mark.parametrize("wanted", [None, True, False])
@pytest.mark.parametrize("recorded", [["vdb"], [], None, "vdb"])
def test_a_thin_disk_stays_thin_unless_the_restore_asks_otherwise(wanted, recorded):
    disks = tuple(ManifestDisk(name, _Map(), "raw") for name in ("vda", "vdb"))
    definition = {"memory": 1} if recorded is None else {"memory": 1, ALLOCATED: recorded}
    manifest = Manifest("b", "e", "web", "FULL", 1, disks, None, definition, 0, 0)
    machine = wanted_of(manifest, RestoreTarget("a", allocate=wanted))
    kept = [False, recorded == ["vdb"]]
    assert [disk.allocate for disk in machine.disks] == (kept if wanted is None else [wanted] * 2)
    assert machine.definition == {"memory": 1}


class _Map:
    size = 1


class _Host:
    """A hypervisor that starts no machine; `held` prevents it from removing one."""

    def __init__(self, held: bool = False) -> None:
        self.removed, self._held = [], held

    def start(self, uuid: str) -> None:
        raise Unavailable("no memory")

    def create(self, wanted, attempt, *, overwrite=False):
        raise NotImplementedError

    def space(self, wanted):
        return []

    def remove(self, uuid: str) -> None:
        if self._held:
            raise Unavailable("libvirt is gone")
        self.removed.append(uuid)


@pytest.mark.parametrize(
    ("held", "replaced", "said"),
    [
        (False, False, "no memory; web was removed again"),
        (False, True, "no memory; web is restored, and off"),
        (True, False, "no memory; web is left, because its removal failed: libvirt is gone"),
    ],
)
def test_a_new_machine_that_does_not_start_leaves_nothing(held: bool, replaced: bool, said: str):
    host = _Host(held)
    with pytest.raises(HaulbackError) as failed:
        start_restored(host, Machine("u", "web", (), {}), replaced=replaced)
    assert failed.value.message == said
    assert host.removed == (["u"] if not held and not replaced else [])


@pytest.mark.parametrize(("written", "taken"), [(MIB, True), (MIB // 4, False)])
@pytest.mark.parametrize("wanted", [None, True, False])
def test_a_disk_takes_the_space_that_its_original_took(
    tmp_path: Path, repository: Repository, pool: ThreadPoolExecutor, written, taken, wanted
):
    there, here, staging = (tmp_path / name for name in ("there", "here", "staging"))
    for folder in (there, here, staging):
        folder.mkdir()
    own = {"allocated": "2024-05-01", "autostart": True}  # members that a user set
    raw = raw_machine(there, **own) / "root.raw"
    raw.write_bytes(b"")
    os.posix_fallocate(os.open(raw, os.O_WRONLY), 0, written)
    os.truncate(raw, MIB)
    draft = export_machine(
        ImageFolder(there).snapshot(UUID, "b1"),
        repository,
        ExportSpec(new_guid(), "e", 1),
        ExportServices(staging, pool),
    )
    manifest = store_machine(repository, staging, draft)
    assert manifest.definition.get(ALLOCATED, []) == ["root"] * taken
    target = RestoreTarget("a", allocate=wanted)
    made = import_machine(repository, manifest, ImageFolder(here), target, RestoreServices(pool))
    image = image_of(ImageFolder(here), made.machine.uuid, "root")
    full = os.stat(image).st_blocks * 512 >= MIB
    assert full == (taken if wanted is None else wanted)
    assert ALLOCATED not in made.machine.definition
    assert {name: made.machine.definition[name] for name in own} == own
