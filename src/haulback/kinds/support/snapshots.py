"""Rules of snapshot tasks."""

from __future__ import annotations

from functools import partial

from haulback.errors import Malformed
from haulback.hypervisor_types import Capability, type_of
from haulback.inventory.records import Entity, Hypervisor
from haulback.kinds.support import planning


def refuse_unable(entity: Entity, hypervisor: Hypervisor, field: str) -> None:
    """Raises Malformed for a machine that can have no snapshots."""
    if not entity.present:
        raise Malformed(f"{field}: {entity.name} is no longer on its hypervisor", field=field)
    if not entity.disks:
        raise Malformed(f"{field}: {entity.name} has no disk that could keep one", field=field)
    platform = type_of(hypervisor.driver, hypervisor.config)
    platform.require(Capability.SNAPSHOTS, field)
    able = platform.snapshot_formats
    for disk in entity.disks:
        if disk.format not in able:
            raise Malformed(
                f"{field}: {entity.name} has a {disk.format} disk ({disk.name}), which keeps no "
                f"snapshots; only {', '.join(able)} does",
                field=field,
            )


# The task that cleans up after one machine.
cleanup_task = partial(planning.on_machine, "SNAPSHOT_CLEANUP", "snapshot")
