"""Restore of a machine: data is streamed from the repository directly into the new disks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from haulback.drivers.capabilities import MachineTarget
from haulback.drivers.hypervisor import ALLOCATED, Machine, MachineDisk, NetworkCardSettings
from haulback.drivers.images.image_writer import restored_format
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.resources import Meter, unmetered
from haulback.repository.restore import restore_disk
from haulback.transfer.space_check import PlannedDisk, check_space


class RestoreTarget(NamedTuple):
    """Properties of the machine that `attempt` creates.

    An empty `uuid` or `name` keeps the backup's uuid or name.

    `format` is the hypervisor's name of the image format for all disks; None keeps the format of
    each disk. `allocate` preallocates all disks, or makes all disks thin; None allocates each disk
    like the original disk, and thin if the backup does not record it. `skip` holds names of disks
    to leave out,
    `rename` maps disk names to new names, `stores` maps disk names to storage pools. `cards`
    configures the network cards. `marks` are added to the definition.
    """

    attempt: str
    uuid: str = ""
    name: str = ""
    format: str | None = None
    overwrite: bool = False
    allocate: bool | None = None
    skip: Set[str] = frozenset()
    rename: Mapping[str, str] = {}
    stores: Mapping[str, str] = {}
    cards: tuple[NetworkCardSettings, ...] = ()
    marks: Mapping[str, str] = {}


class RestoreServices(NamedTuple):
    """Services of the node that a restore uses.

    `pool` runs the decompression, `meter` counts the restored bytes. `confirm` is called directly
    before the machine becomes visible, and may raise to stop the restore. `checks_space` is false
    if an earlier attempt may have left files that a clean-up removes.
    """

    pool: ThreadPoolExecutor
    meter: Meter = unmetered
    confirm: Callable[[], None] = lambda: None
    checks_space: bool = True


class RestoredMachine(NamedTuple):
    """The restored machine, a sentence for each part of the original that it lacks, and the name
    that was asked for ("" if unknown).
    """

    machine: Machine
    left: list[str]
    asked_name: str = ""


def wanted_of(manifest: Manifest, target: RestoreTarget) -> Machine:
    """Description of the machine to create from a backup."""
    definition = {k: v for k, v in manifest.definition.items() if k != ALLOCATED}
    recorded = manifest.definition.get(ALLOCATED)
    full = recorded if isinstance(recorded, list) else []
    disks = tuple(
        MachineDisk(
            target.rename.get(stored.name, stored.name),
            stored.map.size,
            target.format or restored_format(stored.format),
            stored.name in full if target.allocate is None else target.allocate,
            stored.name,
            target.stores.get(stored.name, ""),
        )
        for stored in manifest.disks
        if stored.name not in target.skip
    )
    uuid = target.uuid or str(manifest.definition.get("uuid", ""))
    definition |= target.marks
    return Machine(uuid, target.name or manifest.entity_name, disks, definition, target.cards)


def import_machine(
    repository: Repository,
    manifest: Manifest,
    hypervisor: MachineTarget,
    target: RestoreTarget,
    services: RestoreServices,
) -> RestoredMachine:
    """Create the machine of a backup; it stays invisible until its last byte is durable.

    Raises OutOfSpace before anything is made if the disks do not fit.  Raises NotFound, Damaged,
    or errors of the hypervisor; an unfinished machine is removed.
    """
    wanted, reader = wanted_of(manifest, target), repository.reader()
    maps = {stored.name: stored.map for stored in manifest.disks}
    if services.checks_space:
        planned = [PlannedDisk(disk.name, maps[disk.was], disk.allocate) for disk in wanted.disks]
        check_space(planned, hypervisor.space(wanted), reader)
    with hypervisor.create(wanted, target.attempt, overwrite=target.overwrite) as new:
        for disk in wanted.disks:
            restore_disk(maps[disk.was], reader, new.sink(disk.name), services.pool, services.meter)
        services.confirm()
        return RestoredMachine(new.commit(), new.left_out(), wanted.name)
