"""Scans of a few machines, before an export and after a restore."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from haulback.contract.order_records import Hypervisor
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.own_server import OWN_ENTITY
from haulback.inventory.records import Entity
from haulback.kinds.api import AnyRequest, Context
from haulback.kinds.support import planning
from haulback.tasks.record import Plan, Task

_SAME = ("hypervisor", "hypervisorManager", "dstProtectedEntity")


# Machines that a scan saw after this time are not scanned again before a backup.
FRESH_MS = 15 * 60_000


def before(
    entities: Sequence[Entity],
    catalogue: Catalogue,
    context: Context,
    request: AnyRequest = None,
) -> list[Task]:
    """Plan scans of the machines that no scan saw recently, a task for each hypervisor and project.

    No backup waits for a scan, because the export reads the machine itself and a failed scan must
    not prevent the backup.  The server's own database is never scanned.
    """
    stale: dict[tuple[str, str | None], list[Entity]] = {}
    for entity in entities:
        if entity.seen < context.now - FRESH_MS and entity.guid != OWN_ENTITY:
            stale.setdefault((entity.hypervisor, entity.project or context.project), []).append(
                entity
            )
    return [
        _look(catalogue.places.hypervisor(host), machines, catalogue, context.of(project), request)
        for (host, project), machines in stale.items()
    ]


def _look(
    host: Hypervisor,
    entities: list[Entity],
    catalogue: Catalogue,
    context: Context,
    request: AnyRequest,
) -> Task:
    refs = planning.platform(host, catalogue)
    if len(entities) == 1:
        refs["protectedEntity"] = entities[0].named()
    return planning.task(
        "SCOPED_INVENTORY_SYNC",
        "inventory",
        context,
        request,
        planning.TaskSpec(
            refs=refs,
            params={
                "uuids": [entity.uuid for entity in entities],
                "entities": [msgspec.to_builtins(entity.named()) for entity in entities],
            },
            pinned=reach.pin(host),
        ),
    )


def followed(plan: Plan, hypervisor: Hypervisor, context: Context) -> Plan:
    """The plan with a scan of the machine that its last task creates."""
    last = plan.tasks[-1]
    look = planning.task(
        "SCOPED_INVENTORY_SYNC",
        "inventory",
        context.of(last.project),
        None,
        planning.TaskSpec(
            refs={name: last.refs.get(name) for name in _SAME},
            params={"uuids": None},
            pinned=last.pinned_node or reach.pin(hypervisor),
            follows=last,
        ),
    )
    plan.tasks.append(look)
    return plan
