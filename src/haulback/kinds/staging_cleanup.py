"""STAGING_CLEANUP: removes the leftovers of dead attempts from a node."""

from __future__ import annotations

import msgspec

from haulback.contract.staging_cleanup import StagingCleanupOrder, StagingCleanupResult
from haulback.contract.task_states import State
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import Context, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.reports import ReportMember
from haulback.tasks.record import Task
from haulback.wire import Named


def clean_up(node: Named, context: Context) -> Task:
    """The task that cleans a node."""
    return planning.task(
        "STAGING_CLEANUP",
        "upkeep",
        context,
        None,
        planning.TaskSpec(refs={"node": node}, pinned=node.guid),
    )


def prepare(task: Task, catalogue: Catalogue) -> StagingCleanupOrder:
    node = task.pinned_node
    return StagingCleanupOrder(
        [one for one in catalogue.places.hypervisors() if reach.reaches(node, one)],
        [one for one in catalogue.places.destinations() if reach.reaches(node, one)],
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record snapshots of attempts that died before their report."""
    if state is State.FINISHED:
        held = msgspec.convert(task.results, StagingCleanupResult).held
        ledger.snapshots.left(task.pinned_node, held, since=task.started or 0)


KIND = TaskKind(
    type="STAGING_CLEANUP",
    lane="upkeep",
    order=StagingCleanupOrder,
    prepare=prepare,
    settle=settle,
    report=(
        ReportMember("removed", "count", "Number of leftovers that were removed."),
        ReportMember("held", "object", "Times of snapshots by hypervisor, machine and name."),
    ),
    removes=True,
)
