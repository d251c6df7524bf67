"""From a backup into a machine: streamed from the repository straight into the new disks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from haulback.drivers.hypervisor import Card, Disk, Hypervisor, Machine
from haulback.repository.backup import Meter, unmetered
from haulback.repository.repository import Repository
from haulback.repository.restore import restore_disk


class Target(NamedTuple):
    """How the machine is to be made; empty `uuid` and `name` keep the backup's own.

    `format` is the platform's word for how to store every disk; None keeps each disk's own.
    `allocate` reserves the space of every disk; `skip` are names of disks to leave out, `rename`
    gives others a new name; `cards` say how network cards are to be.
    """

    uuid: str = ""
    name: str = ""
    format: str | None = None
    overwrite: bool = False
    allocate: bool = False
    skip: Set[str] = frozenset()
    rename: Mapping[str, str] = {}
    cards: tuple[Card, ...] = ()


def import_machine(
    repository: Repository,
    backup: str,
    hypervisor: Hypervisor,
    attempt: str,
    target: Target,
    pool: ThreadPoolExecutor,
    meter: Meter = unmetered,
    *,
    marks: Mapping[str, str] | None = None,
    confirm: Callable[[], None] = lambda: None,
) -> Machine:
    """Make the machine of a backup; nothing is seen of it before the last byte is durable.

    `marks` are added to its definition; `confirm` is asked right before it comes into being and
    may raise.  Raises NotFound, Damaged or what the hypervisor raises; no half machine stays.
    """
    manifest = repository.manifest(backup)
    chosen = [stored for stored in manifest.disks if stored.name not in target.skip]
    names = {stored.name: target.rename.get(stored.name, stored.name) for stored in chosen}
    disks = tuple(
        Disk(names[one.name], one.map.size, target.format or one.format, target.allocate, one.name)
        for one in chosen
    )
    uuid = target.uuid or str(manifest.definition.get("uuid", ""))
    definition = {**manifest.definition, **(marks or {})}
    name = target.name or manifest.entity_name
    wanted = Machine(uuid, name, disks, definition, target.cards)
    reader = repository.reader()
    with hypervisor.create(wanted, attempt, overwrite=target.overwrite) as new:
        for stored in chosen:
            restore_disk(stored.map, reader, new.sink(names[stored.name]), pool, meter)
        confirm()
        return new.commit()
