"""REPAIR: makes whole what can be made whole in a repository, and sets the rest aside."""

from __future__ import annotations

import msgspec

from haulback.contract.damage import DamageReport
from haulback.contract.task_states import State
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import BackupDestination
from haulback.kinds.api import Amount, Ask, Results, Submission, TaskContext, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.damage_report import complete_report
from haulback.repository.repair import Workshop, repair
from haulback.tasks.record import HOUR_MS, Plan, Task
from haulback.wire import Ref

_SAID = 500  # lines of the log


class RepairRequest(msgspec.Struct):
    """Which destinations to repair; without `apply` the log says what would be done.

    `believe`: a person has seen that as much as there seems to be really is damaged at once.
    """

    backupDestinations: list[Ref]
    apply: bool = False
    believe: bool = False
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class RepairOrder(msgspec.Struct):
    """The destination, which bears the right to delete when something is to be done."""

    destination: BackupDestination
    apply: bool
    believe: bool


class RepairResult(msgspec.Struct):
    """The node's report: actions done, or to be done, and objects set aside."""

    actions: list[str] = []
    aside: list[str] = []
    losses: Amount = 0
    damage: DamageReport | None = None


def plan(request: RepairRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """Plan a task for each destination.  Raises Malformed or NotFound."""
    found = planning.repositories(request.backupDestinations, catalogue)
    return Plan([_task(one, request, ask) for one in found])


def _task(to: BackupDestination, request: RepairRequest, ask: Ask) -> Task:
    return planning.task(
        "REPAIR",
        "cleanup",  # one at a time on a destination, and none beside a clean-up
        ask,
        request,
        refs={"backupDestination": planning.named(to)},
        params={"apply": request.apply, "believe": request.believe},
        pinned=to.node,
    )


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Fix what must be found."""
    ledger.damage.expect(task.guid, task.ref("backupDestination") or "")


def prepare(task: Task, catalogue: Catalogue) -> RepairOrder:
    to = catalogue.places.destination(task.ref("backupDestination") or "")
    apply = bool(task.params.get("apply"))
    granted = msgspec.structs.replace(to, may_delete=apply)
    return RepairOrder(granted, apply, bool(task.params.get("believe")))


def run(job: TaskContext) -> Results:
    order: RepairOrder = job.order
    repository = job.repository(order.destination)
    job.expect(sum(repository.objects.packs().values()))
    sign = (f"REPAIR {job.guid}", job.now_ms())
    workshop = Workshop(
        job.folder,
        job.pool,
        lambda: sign,
        (job.secret(order.destination),),
        lambda: job.pins(order.destination.guid),
        job.disk,
        job.meter,
        job.confirm,
        order.believe,
    )
    done = repair(repository, workshop, apply=order.apply)
    verb = "done" if done.is_applied else "would be done"
    for action in done.actions[:_SAID]:
        job.log(f"{verb}: {action}")
    for loss in done.losses[:_SAID]:
        job.log(f"lost: {loss}")
    found: Results = {"actions": done.actions[:_SAID], "aside": done.aside[:_SAID]}
    found["losses"] = len(done.losses)
    if done.after:
        complete = complete_report(order.destination.guid, done.after, job.expected())
        found["damage"] = msgspec.to_builtins(complete.report)
    return found | job.space(order.destination)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Damage was taken in already."""
    ledger.damage.expected_over(task.guid)
    if state is State.FINISHED:
        msgspec.convert(task.results, RepairResult)


KIND = TaskKind(
    type="REPAIR",
    lane="cleanup",
    order=RepairOrder,
    prepare=prepare,
    run=run,
    start=start,
    settle=settle,
    submissions=(
        Submission("repair", RepairRequest, plan, summary="Create tasks to repair repositories."),
    ),
    window=HOUR_MS * 24,
)
