"""A driver implements the capabilities that its type declares, without stubs for the others."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

import pytest

from haulback.drivers.capabilities import PROTOCOLS, capabilities, capability
from haulback.drivers.hypervisor import Inventory, Machine, MachineSource, Snapshot
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.drivers.registry import DRIVERS, open_hypervisor
from haulback.drivers.remote.ssh import far_libvirt
from haulback.errors import Malformed, Unsupported
from haulback.hypervisor_types import IMAGE_FOLDER, TYPES, Capability, HypervisorType, type_of
from haulback.testing.hypervisors import CHECKS
from haulback.testing.memory_hypervisor import MemoryDisk, MemoryHypervisor

FAR = "qemu+ssh://kvm.example/system"
DRIVERS_HERE = [
    ImageFolder(Path("/srv")),
    LibvirtHost("qemu:///system", Path("/srv")),
    far_libvirt(FAR, Path("/srv")),
    MemoryHypervisor(),
]


@pytest.mark.parametrize("driver", DRIVERS_HERE, ids=lambda one: one.declaration.words)
def test_a_driver_implements_exactly_what_its_type_declares(driver: MachineSource):
    assert isinstance(driver, MachineSource)
    assert capabilities(driver) == driver.declaration.capabilities


@pytest.mark.parametrize("driver", DRIVERS_HERE, ids=lambda one: one.declaration.words)
@pytest.mark.parametrize("wanted", Capability)
def test_a_missing_capability_is_one_error_with_the_type_and_the_remedy(
    driver: MachineSource, wanted: Capability
):
    if driver.declaration.can(wanted):
        assert capability(driver, PROTOCOLS[wanted]) is driver
        return
    with pytest.raises(Unsupported) as caught:
        capability(driver, PROTOCOLS[wanted])
    assert caught.value.message == driver.declaration.lack(wanted)


def test_every_declared_type_has_a_driver_that_declares_it():
    assert set(DRIVERS) == set(TYPES)
    for config in ({"path": "/srv", "url": "qemu:///system"}, {"path": "/srv", "url": FAR}):
        for name in TYPES:
            opened = open_hypervisor(name, config)
            assert opened.declaration is type_of(name, config)


def test_a_driver_that_is_missing_and_a_folder_that_is_none_are_refused():
    with pytest.raises(Malformed, match="no driver 'tape'"):
        open_hypervisor("tape", {"path": "/srv"})
    for config in ({}, {"path": "srv"}, {"path": 7}):
        with pytest.raises(Malformed, match="not an absolute"):
            open_hypervisor(IMAGE_FOLDER.driver, config)


def test_no_protocol_has_more_than_twelve_members():
    for protocol in (MachineSource, *PROTOCOLS.values()):
        assert 0 < len([name for name in vars(protocol) if not name.startswith("_")]) <= 12


class ReadOnly:
    """A driver for backups only: its platform offers nothing else."""

    declaration = HypervisorType("read-only", "READ_ONLY", "a read-only platform", frozenset())

    def __init__(self) -> None:
        self.platform = MemoryHypervisor()

    def check(self) -> None:
        self.platform.check()

    def inventory(self) -> Inventory:
        return self.platform.inventory()

    def machine(self, uuid: str) -> Machine:
        return self.platform.machine(uuid)

    def snapshot(self, uuid: str, attempt: str, base: str | None = None) -> Snapshot:
        return self.platform.snapshot(uuid, attempt, base)

    def drop_checkpoints(self, uuid: str, keep: Set[str]) -> list[str]:
        return self.platform.drop_checkpoints(uuid, keep)

    def sweep(self, alive: Set[str]) -> list[str]:
        return self.platform.sweep(alive)

    def close(self) -> None:
        self.platform.close()


class ReadOnlyBench:
    format, tracks = "memory", True

    def __init__(self) -> None:
        self.hypervisor = ReadOnly()

    def add_machine(self, wanted: Machine, data: bytes) -> Machine:
        disks = {disk.name: MemoryDisk(disk.size) for disk in wanted.disks}
        disks["root"].write_at(1 << 20, data)
        return self.hypervisor.platform.adopt(wanted, disks)

    def guest_writes(self, uuid: str, disk: str, offset: int, data: bytes) -> None:
        self.hypervisor.platform.machines[uuid].disks[disk].write_at(offset, data)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_driver_that_can_only_be_read_passes_the_suite(check: Any):
    check(ReadOnlyBench())
