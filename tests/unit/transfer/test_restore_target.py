"""A restore creates the machine of the backup, changed only as its target says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.drivers.hypervisor import NetworkCardSettings
from haulback.errors import Cancelled
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.pages import HOLE, DiskMap
from haulback.repository.repository import Repository
from haulback.testing.memory_hypervisor import MemoryHypervisor
from haulback.transfer.restore import RestoreServices, RestoreTarget, import_machine, wanted_of

MIB = 1 << 20
DISKS = tuple(
    ManifestDisk(name, DiskMap(size * MIB, 0, *HOLE), form)
    for name, size, form in (("vda", 2, "raw"), ("vdb", 3, "qcow2"), ("vdc", 1, "raw"))
)
MANIFEST = Manifest(
    backup="b",
    entity="e",
    entity_name="web",
    type="FULL",
    snapshot_time=1,
    disks=DISKS,
    definition={"uuid": "u1", "cpus": 2},
)
NAMES = [one.name for one in DISKS]


def test_without_a_target_the_machine_is_that_of_the_backup():
    wanted = wanted_of(MANIFEST, RestoreTarget("a"))
    assert (wanted.uuid, wanted.name) == ("u1", "web")
    assert wanted.definition == MANIFEST.definition
    rows = [(disk.name, disk.size, disk.format, disk.allocate, disk.store) for disk in wanted.disks]
    assert rows == [
        ("vda", 2 * MIB, "raw", False, ""),
        ("vdb", 3 * MIB, "qcow2", False, ""),
        ("vdc", MIB, "raw", False, ""),
    ]
    assert wanted.cards == ()


@given(
    st.sets(st.sampled_from(NAMES)),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["sda", "sdb", "sdc"])),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["fast", "slow"])),
    st.none() | st.sampled_from(["raw", "qcow2"]),
    st.booleans(),
)
def test_disks_are_skipped_renamed_placed_and_formatted_one_by_one(
    skip: set[str], rename: dict[str, str], stores: dict[str, str], form: str | None, whole: bool
):
    target = RestoreTarget(
        "a", skip=skip, rename=rename, stores=stores, format=form, allocate=whole
    )
    kept = [disk for disk in DISKS if disk.name not in skip]
    result = wanted_of(MANIFEST, target).disks
    assert [item.was for item in result] == [item.name for item in kept]
    assert [item.name for item in result] == [rename.get(item.name, item.name) for item in kept]
    assert [item.store for item in result] == [stores.get(item.name, "") for item in kept]
    assert [item.format for item in result] == [form or item.format for item in kept]
    assert [item.size for item in result] == [item.map.size for item in kept]
    assert {item.allocate for item in result} <= {whole}


def test_a_target_names_the_new_machine_and_marks_its_definition():
    card = NetworkCardSettings(0, "lan")
    target = RestoreTarget("a", "u2", "web-2", cards=(card,), marks={"by": "haulback", "cpus": "4"})
    wanted = wanted_of(MANIFEST, target)
    assert (wanted.uuid, wanted.name, wanted.cards) == ("u2", "web-2", (card,))
    assert wanted.definition == {"uuid": "u1", "cpus": "4", "by": "haulback"}
    assert MANIFEST.definition == {"uuid": "u1", "cpus": 2}


def test_a_backup_without_a_uuid_leaves_the_choice_to_the_hypervisor():
    bare = Manifest("b", "e", "web", "FULL", 1, ())
    assert wanted_of(bare, RestoreTarget("a")).uuid == ""


def test_a_restore_that_is_stopped_before_its_end_makes_no_machine(
    repository: Repository, pool: ThreadPoolExecutor
):
    hypervisor = MemoryHypervisor()

    def stop() -> None:
        raise Cancelled("stopped")

    target = RestoreTarget("a", skip=set(NAMES[1:]))
    with pytest.raises(Cancelled):
        import_machine(
            repository, MANIFEST, hypervisor, target, RestoreServices(pool, confirm=stop)
        )
    assert (hypervisor.machines, hypervisor.making) == ({}, {})


def test_the_parts_that_a_restore_leaves_out_are_named(
    repository: Repository, pool: ThreadPoolExecutor
):
    manifest = Manifest(
        "b", "e", "web", "FULL", 1, DISKS, definition={"uuid": "u1", "disks": NAMES}
    )
    target = RestoreTarget("a", skip={"vdb"}, rename={"vda": "sda"})
    made = import_machine(repository, manifest, MemoryHypervisor(), target, RestoreServices(pool))
    assert [one.name for one in made.machine.disks] == ["sda", "vdc"]
    assert made.left == ["vdb is left out: not restored"]
