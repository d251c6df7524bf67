"""Rules of snapshot tasks."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.errors import Malformed
from haulback.hypervisor_types import Capability, type_of
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Entity
from haulback.kinds.api import AnyRequest, Context
from haulback.kinds.support import planning
from haulback.tasks.record import Task


def refuse_unable(entity: Entity, hypervisor: Hypervisor, field: str) -> None:
    """Raises Malformed for a machine that can have no snapshots."""
    if not entity.present:
        raise Malformed(f"{field}: {entity.name} is no longer on its hypervisor", field=field)
    if not entity.disks:
        raise Malformed(f"{field}: {entity.name} has no disk that can hold a snapshot", field=field)
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


class SnapshotSubmission(NamedTuple):
    """A request, or None, with the records and circumstances of its submission."""

    request: AnyRequest
    catalogue: Catalogue
    context: Context


def task(kind: str, entity: Entity, asked: SnapshotSubmission, spec: planning.TaskSpec) -> Task:
    """A task that changes a machine on its platform, on a node that reaches the platform.

    `spec` holds further references, the parameters and the preceding task.
    """
    hypervisor = asked.catalogue.places.hypervisor(entity.hypervisor)
    refs = {
        "protectedEntity": entity.named(),
        **spec.refs,
        **planning.platform(hypervisor, asked.catalogue),
    }
    # A task that follows another inherits the lock of the machine.
    locked = None if spec.follows else entity.guid
    whole = msgspec.structs.replace(
        spec, refs=refs, locked=locked, source=hypervisor.guid, pinned=reach.pin(hypervisor)
    )
    context = asked.context.of(entity.project or asked.context.project)
    return planning.task(kind, "snapshot", context, asked.request, whole)


def cleanup_task(entity: Entity, asked: SnapshotSubmission, spec: planning.TaskSpec) -> Task:
    """The task that removes expired and chosen snapshots of a machine."""
    return task("SNAPSHOT_CLEANUP", entity, asked, spec)
