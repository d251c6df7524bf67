"""REPAIR: repairs a repository and moves damaged objects aside."""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.order_records import BackupDestination
from haulback.contract.repair import RepairOrder, RepairRequest, RepairResult
from haulback.contract.roles import ADMINS
from haulback.contract.task_states import State
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.reports import ReportMember
from haulback.kinds.support.second_copies import family_of
from haulback.tasks.record import HOUR_MS, Plan, Task

_LANE = "cleanup"  # only one REPAIR or clean-up at a time on a destination


def plan(request: RepairRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a task for each destination.  Raises Malformed or NotFound."""
    found = planning.repositories(request.backupDestinations, catalogue)
    return Plan([_task(one, request, context) for one in found])


def _task(to: BackupDestination, request: RepairRequest, context: Context) -> Task:
    return planning.task(
        "REPAIR",
        _LANE,
        context,
        request,
        planning.TaskSpec(
            refs={"backupDestination": planning.named(to)},
            params={"apply": request.apply, "believe": request.believe},
            pinned=reach.pin(to),
        ),
    )


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Store the list of backups that the task must find."""
    ledger.damage.expect(task.guid, task.ref("backupDestination") or "")


def prepare(task: Task, catalogue: Catalogue) -> RepairOrder:
    to = catalogue.places.destination(task.ref("backupDestination") or "")
    apply = bool(task.params.get("apply"))
    granted = msgspec.structs.replace(to, may_delete=apply)
    believe, family = bool(task.params.get("believe")), family_of(catalogue, to)
    return RepairOrder(granted, apply, believe, family)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Check the report, whose damage is recorded already."""
    ledger.damage.expected_over(task.guid)
    if state is State.FINISHED:
        msgspec.convert(task.results, RepairResult)


Request = RepairRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="REPAIR",
    lane=_LANE,
    order=RepairOrder,
    prepare=prepare,
    start=start,
    settle=settle,
    report=(
        ReportMember("actions", "texts", "The repairs, or the possible repairs of a dry run."),
        ReportMember("aside", "texts", "Objects that were set aside."),
        ReportMember("losses", "count", "Number of losses."),
        ReportMember("damage", "object", "The damage that is left; see docs/design/damage.md."),
    ),
    submissions=(
        Submission(
            "repair",
            RepairRequest,
            plan,
            summary="Create tasks to repair repositories.",
            roles=ADMINS,
            examples=[
                {"backupDestinations": [example.REF]},
                {"backupDestinations": [example.REF], "apply": True},
            ],
            command="destination repair DESTINATION",
        ),
    ),
    window=HOUR_MS * 24,
)
