"""Restore of a machine: data is streamed from the repository straight into the new disks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from haulback.drivers.hypervisor import HypervisorDriver, Machine, MachineDisk, NetworkCardSettings
from haulback.repository.backup import Meter, unmetered
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.restore import restore_disk


class RestoreTarget(NamedTuple):
    """Properties of the machine to create; empty `uuid` and `name` keep those of the backup.

    `format` is the hypervisor's name of the image format for all disks; None keeps the format of
    each disk. `allocate` preallocates all disks. `skip` holds names of disks to leave out, `rename`
    maps disk names to new names, `stores` maps disk names to storage pools. `cards` configures the
    network cards. `marks` are added to the definition.
    """

    uuid: str = ""
    name: str = ""
    format: str | None = None
    overwrite: bool = False
    allocate: bool = False
    skip: Set[str] = frozenset()
    rename: Mapping[str, str] = {}
    stores: Mapping[str, str] = {}
    cards: tuple[NetworkCardSettings, ...] = ()
    marks: Mapping[str, str] = {}


class RestoredMachine(NamedTuple):
    """The restored machine, and a sentence for each part of the original that it lacks."""

    machine: Machine
    left: list[str]


def wanted_of(manifest: Manifest, target: RestoreTarget) -> Machine:
    """Description of the machine to create from a backup."""
    disks = tuple(
        MachineDisk(
            target.rename.get(disk.name, disk.name),
            disk.map.size,
            target.format or disk.format,
            target.allocate,
            disk.name,
            target.stores.get(disk.name, ""),
        )
        for disk in manifest.disks
        if disk.name not in target.skip
    )
    uuid = target.uuid or str(manifest.definition.get("uuid", ""))
    definition = {**manifest.definition, **target.marks}
    return Machine(uuid, target.name or manifest.entity_name, disks, definition, target.cards)


def import_machine(
    repository: Repository,
    manifest: Manifest,
    hypervisor: HypervisorDriver,
    attempt: str,
    target: RestoreTarget,
    pool: ThreadPoolExecutor,
    meter: Meter = unmetered,
    confirm: Callable[[], None] = lambda: None,
) -> RestoredMachine:
    """Create the machine of a backup; it stays invisible until its last byte is durable.

    `confirm` is called right before the machine appears and may raise to stop the restore. Raises
    NotFound, Damaged, or errors of the hypervisor; an unfinished machine is removed.
    """
    wanted, reader = wanted_of(manifest, target), repository.reader()
    maps = {stored.name: stored.map for stored in manifest.disks}
    with hypervisor.create(wanted, attempt, overwrite=target.overwrite) as new:
        for disk in wanted.disks:
            restore_disk(maps[disk.was], reader, new.sink(disk.name), pool, meter)
        confirm()
        return RestoredMachine(new.commit(), new.left_out())
