"""From a backup into a machine: streamed from the repository straight into the new disks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from haulback.drivers.hypervisor import Disk, Hypervisor, Machine
from haulback.repository.backup import Meter, unmetered
from haulback.repository.repository import Repository
from haulback.repository.restore import restore_disk


class Target(NamedTuple):
    """How the machine is to be made; empty `uuid` and `name` keep the backup's own.

    `format` is the platform's word for how to store every disk; None keeps each disk's own.
    """

    uuid: str = ""
    name: str = ""
    format: str | None = None
    overwrite: bool = False


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
    disks = tuple(
        Disk(stored.name, stored.map.size, target.format or stored.format)
        for stored in manifest.disks
    )
    uuid = target.uuid or str(manifest.definition.get("uuid", ""))
    definition = {**manifest.definition, **(marks or {})}
    wanted = Machine(uuid, target.name or manifest.entity_name, disks, definition)
    reader = repository.reader()
    with hypervisor.create(wanted, attempt, overwrite=target.overwrite) as new:
        for stored in manifest.disks:
            restore_disk(stored.map, reader, new.sink(stored.name), pool, meter)
        confirm()
        return new.commit()
