"""REPAIR on the node: repair a repository and set damaged objects aside."""

from __future__ import annotations

import msgspec

from haulback.contract.repair import RepairOrder
from haulback.repository.repair import RepairContext, repair
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.damage_report import complete_report

_SAID = 500  # lines of the log


def run(job: TaskContext) -> Results:
    order: RepairOrder = job.order
    repository = job.repository(order.destination)
    job.expect(sum(repository.objects.packs().values()))
    sign = (f"REPAIR {job.guid}", job.now_ms())
    context = RepairContext(
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
    done = repair(repository, context, apply=order.apply)
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


WORK = TaskWork("REPAIR", RepairOrder, run)
