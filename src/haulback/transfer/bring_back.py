"""From a backup into a machine: streamed from the repository straight into the new disks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from haulback.drivers.hypervisor import Card, Disk, Hypervisor, Machine
from haulback.repository.backup import Meter, unmetered
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.restore import restore_disk


class Target(NamedTuple):
    """How the machine is to be made; empty `uuid` and `name` keep the backup's own.

    `format` is the platform's word for how to store every disk; None keeps each disk's own.
    `allocate` reserves the space of every disk; `skip` are names of disks to leave out, `rename`
    gives others a new name, `stores` says into which storage pool one goes; `cards` say how network
    cards are to be; `marks` are added to its definition.
    """

    uuid: str = ""
    name: str = ""
    format: str | None = None
    overwrite: bool = False
    allocate: bool = False
    skip: Set[str] = frozenset()
    rename: Mapping[str, str] = {}
    stores: Mapping[str, str] = {}
    cards: tuple[Card, ...] = ()
    marks: Mapping[str, str] = {}


class Brought(NamedTuple):
    """A machine that was made, and a sentence about each part that the machine goes without."""

    machine: Machine
    left: list[str]


def wanted_of(manifest: Manifest, target: Target) -> Machine:
    """The machine of a backup, as it is wanted."""
    disks = tuple(
        Disk(
            target.rename.get(one.name, one.name),
            one.map.size,
            target.format or one.format,
            target.allocate,
            one.name,
            target.stores.get(one.name, ""),
        )
        for one in manifest.disks
        if one.name not in target.skip
    )
    uuid = target.uuid or str(manifest.definition.get("uuid", ""))
    definition = {**manifest.definition, **target.marks}
    return Machine(uuid, target.name or manifest.entity_name, disks, definition, target.cards)


def import_machine(  # from what, to what, by whom, and who hears of it
    repository: Repository,
    manifest: Manifest,
    hypervisor: Hypervisor,
    attempt: str,
    target: Target,
    pool: ThreadPoolExecutor,
    meter: Meter = unmetered,
    confirm: Callable[[], None] = lambda: None,
) -> Brought:
    """Make the machine of a backup; nothing is seen of it before the last byte is durable.

    `confirm` is asked right before it comes into being and may raise.  Raises NotFound, Damaged or
    what the hypervisor raises; no half machine stays.
    """
    wanted, reader = wanted_of(manifest, target), repository.reader()
    maps = {stored.name: stored.map for stored in manifest.disks}
    with hypervisor.create(wanted, attempt, overwrite=target.overwrite) as new:
        for disk in wanted.disks:
            restore_disk(maps[disk.was], reader, new.sink(disk.name), pool, meter)
        confirm()
        return Brought(new.commit(), new.left_out())
