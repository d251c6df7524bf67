"""REPAIR on the node: repair a repository and set damaged objects aside."""

from __future__ import annotations

from collections.abc import Set

import msgspec

from haulback.contract.repair import RepairOrder
from haulback.repository.repair import RepairContext, repair
from haulback.repository.resources import Resources
from haulback.units import counted
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.damage_report import complete_report
from haulback.work.support.family_slot import let_family_open
from haulback.work.support.pause import pause
from haulback.work.support.phases import phase
from haulback.work.support.recent_backup import await_lists, expected_backups

_SAID = 500  # lines that the log has at most
_PATIENCE = 60.0  # seconds; recorded damage plans a VERIFY, which often runs when a repair begins


def run(context: TaskContext) -> Results:
    order: RepairOrder = context.order
    repository = context.repositories.open(order.destination)
    await_lists(context, repository)
    progress = context.progress
    progress.expect(sum(repository.objects.packs().values()))
    sign = (f"REPAIR {context.guid}", context.server.now_ms())
    repair_context = RepairContext(
        context.staging.folder,
        Resources(context.pool, context.disk, progress.meter, progress.confirm),
        lambda: sign,
        (context.repositories.secret(order.destination),),
        lambda: _users(context, order.destination.guid),
        order.believe,
    )
    with phase(context, "the repository was checked" + (" and repaired" if order.apply else "")):
        done = repair(repository, repair_context, apply=order.apply)
    verb = "done" if done.is_applied else "would be done"
    context.log(
        f"{counted(len(done.actions), 'repair')} {verb}; backups that lose data: {len(done.losses)}"
    )
    for action in done.actions[:_SAID]:
        context.log(f"{verb}: {action}")
    for loss in done.losses[:_SAID]:
        context.log(f"lost: {loss}")
    results: Results = {"actions": done.actions[:_SAID], "aside": done.aside[:_SAID]}
    results["losses"] = len(done.losses)
    if done.is_applied:
        let_family_open(context, repository, order.family)
    if done.after:
        expected = expected_backups(context, repository, done.after)
        complete = complete_report(order.destination.guid, done.after, expected)
        results["damage"] = msgspec.to_builtins(complete.report)
    return results | context.repositories.space(order.destination)


def _users(context: TaskContext, destination: str) -> Set[str]:
    """The other tasks that use a destination, after a wait of at most a minute for their end.

    Raises Cancelled or Fenced.
    """
    if users := context.server.pins(destination):
        reason = f"{counted(len(users), 'other task')} may still use the damaged packs"
        pause(context, _PATIENCE, reason, lambda: not context.server.pins(destination))
        users = context.server.pins(destination)
    return users


WORK = TaskWork("REPAIR", RepairOrder, run)
