"""Losses by submissions and removals of tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from haulback.contract.backup_cleanup import BackupCleanupRequest
from haulback.contract.delete import DeleteRequest
from haulback.contract.import_machine import ImportMachineRequest
from haulback.contract.losses import SHOWN, Losses, LostItem
from haulback.contract.mounts import MountMode
from haulback.contract.repair import RepairRequest
from haulback.contract.snapshot_cleanup import SnapshotCleanupRequest
from haulback.contract.snapshot_reversion import SnapshotReversionRequest
from haulback.contract.task_states import FINAL, State
from haulback.contract.unmount import UnmountRequest
from haulback.kinds import delete, import_machine, snapshot_cleanup
from haulback.kinds.api import Context, Submission
from haulback.server.caller import Caller
from haulback.server.queries import Filter
from haulback.server.scope import Scope
from haulback.server.services import retention_losses, workflows
from haulback.server.services.app import App
from haulback.server.services.losses import Tally
from haulback.server.services.recovery_run import plan_recovery
from haulback.server.store import loss_rows, task_lists, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.tasks.record import Plan, Task
from haulback.units import counted
from haulback.wire import parse, read

Preview = Callable[[App, Any, Caller], Losses]
_MANY = 500  # guids in one statement
# An unmount loses the writes of the machine that runs from the backup, or of an initiator.
_WRITTEN = (MountMode.INSTANT_RESTORE.value, MountMode.ISCSI.value)


def of_submission(app: App, way: Submission, body: bytes, who: Caller) -> Losses:
    """The objects that the tasks of a submission would remove.

    Raises Malformed, NotFound, Conflict.
    """
    return PREVIEWS[way.path](app, read(parse(body), way.request, ""), who)


def of_recovery(app: App, guid: str, who: Caller) -> Losses:
    """The machines that a run of a recovery plan would overwrite.  Raises the errors of the run."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql, who.scope)
        return _overwritten(plan_recovery(guid, known, Context(app.clock.now_ms())))


def of_task(app: App, guid: str, scope: Scope) -> Losses:
    """The task that a removal hides from the lists, or cancels.  Raises NotFound."""
    tally = Tally()
    with app.store.read() as sql:
        _add_tasks(tally, [tasks.visible(sql, guid, scope)])
    return tally.losses


def of_tasks(app: App, guids: Iterable[str], states: Collection[State], scope: Scope) -> Losses:
    """The tasks in one of `states` that a removal hides from lists, or cancels."""
    tally, wanted = Tally(), list(dict.fromkeys(guids))
    names = {state.value for state in states}
    for at in range(0, len(wanted), _MANY):
        with app.store.read() as sql:
            _add_tasks(tally, tasks.seen(sql, wanted[at : at + _MANY], names, scope))
    return tally.losses


def of_workflow(app: App, guid: str, scope: Scope) -> Losses:
    """The ended tasks of a workflow, which are hidden from lists.  Raises NotFound."""
    _, steps = workflows.workflow(app, guid, scope)
    return of_tasks(app, [task.guid for task in steps], FINAL, scope)


def of_all_tasks(app: App, states: Collection[State], scope: Scope) -> Losses:
    """All tasks in one of `states` that a removal hides from lists, or cancels."""
    tally = Tally()
    for state in states:
        wanted = Filter(states=[state.value], scope=scope, unwished=True, size=SHOWN)
        with app.store.read() as sql:
            rows, total = task_lists.page(sql, wanted)
        tally.add(loss_rows.LossRows([_task(task) for task in rows], total))
    return tally.losses


def _add_tasks(tally: Tally, rows: Iterable[Task]) -> None:
    for task in rows:
        tally.loss(_task(task))


def _task(task: Task) -> LostItem:
    fate = {
        State.RUNNING.value: "cancelled",
        State.QUEUED.value: "cancelled",
    }.get(task.state, "off the lists")
    return LostItem(
        kind="task",
        fate=fate,
        guid=task.guid,
        name=task.subject,
        time=task.created,
        note=f"{task.type} {task.state}",
    )


def _delete(app: App, wanted: DeleteRequest, who: Caller) -> Losses:
    tally = Tally()
    _add_machines(app, tally, [wanted.value], who)
    return tally.losses


def _delete_many(app: App, wanted: list[DeleteRequest], who: Caller) -> Losses:
    """The machines that the request accepts; a note gives the reason of each refusal."""
    tally = Tally()
    with app.store.read() as sql:
        plan = delete.plan_many(wanted, SqlCatalogue(sql, who.scope), Context(app.clock.now_ms()))
    _add_machines(app, tally, [item.guid for item in plan.accepted], who)
    for refused in plan.refused[:SHOWN]:
        tally.note(f"{refused.name or refused.guid} stays: {refused.message}")
    if len(plan.refused) > SHOWN:
        tally.note(f"kept: {counted(len(plan.refused) - SHOWN, 'more machine')}")
    return tally.losses


def _add_machines(app: App, tally: Tally, guids: Sequence[str], who: Caller) -> None:
    """Add machines with their backups and snapshots of Haulback; unknown machines are left out."""
    for at in range(0, len(guids), _MANY):
        with app.store.read() as sql:
            named = loss_rows.seen_machines(sql, guids[at : at + _MANY], who.scope)
            tally.add(loss_rows.machines(sql, "removed", loss_rows.among("machine", named)))
            of_machines = loss_rows.backups_of_machines(named)
            tally.add(loss_rows.backups(sql, "deleted", of_machines))
            tally.add(loss_rows.snapshots(sql, "deleted", loss_rows.own_snapshots_of(named)))


def _clean_up(app: App, wanted: BackupCleanupRequest, _: Caller) -> Losses:
    return retention_losses.at_clean_up(app, [ref.guid for ref in wanted.backupDestinations])


def _clean_snapshots(app: App, wanted: SnapshotCleanupRequest, who: Caller) -> Losses:
    tally = Tally()
    with app.store.read() as sql:
        known, now = SqlCatalogue(sql, who.scope), app.clock.now_ms()
        going = snapshot_cleanup.expected(wanted, known, now)
        for at in range(0, len(going), _MANY):
            chosen = loss_rows.among("snapshot", going[at : at + _MANY])
            tally.add(loss_rows.snapshots(sql, "deleted", chosen))
    return tally.losses


def _revert(app: App, wanted: SnapshotReversionRequest, who: Caller) -> Losses:
    tally = Tally()
    named = wanted.snapshot or wanted.protectedEntitySnapshot
    if named is None:
        return tally.losses  # the dry run refuses this request
    with app.store.read() as sql:
        known = SqlCatalogue(sql, who.scope)
        snapshot = known.snapshots.get(named.guid)
        machine = known.machines.get(snapshot.entity)
    tally.item("machine", "reverted", machine.guid, machine.name, f"to {snapshot.uuid}")
    tally.note("the current disks are kept as another snapshot")
    return tally.losses


def _import(app: App, wanted: ImportMachineRequest, who: Caller) -> Losses:
    if not wanted.overwrite:
        return Tally().losses
    with app.store.read() as sql:
        known = SqlCatalogue(sql, who.scope)
        return _overwritten(import_machine.plan(wanted, known, Context(app.clock.now_ms())))


def _overwritten(plan: Plan) -> Losses:
    """The machines whose disks the IMPORT tasks of a plan replace."""
    tally = Tally()
    for task in plan.tasks:
        machine = task.refs.get("dstProtectedEntity")
        if task.type == "IMPORT" and task.params.get("replaces") and machine:
            note = "its present disks are replaced"
            tally.item("machine", "overwritten", machine.guid, machine.name, note)
    return tally.losses


def _unmount(app: App, wanted: UnmountRequest, who: Caller) -> Losses:
    tally = Tally()
    with app.store.read() as sql:
        mount = SqlCatalogue(sql, who.scope).mounts.get(wanted.mountedBackup.guid)
    if mount.mode in _WRITTEN:
        note = f"{mount.mode}: data written since the mount is lost"
        tally.item("mount", "ended", mount.guid, mount.entity_name, note)
    return tally.losses


def _repair(app: App, wanted: RepairRequest, who: Caller) -> Losses:
    tally = Tally()
    if wanted.apply:
        with app.store.read() as sql:
            places = SqlCatalogue(sql, who.scope).places
            for ref in wanted.backupDestinations:
                to = places.destination(ref.guid)
                note = "damaged objects are set aside; a run without apply lists them in its log"
                tally.item("destination", "repaired", to.guid, to.name, note)
    return tally.losses


PREVIEWS: Mapping[str, Preview] = {
    "delete": _delete,
    "batch-delete": _delete_many,
    "remove-old-backups": _clean_up,
    "remove-old-snapshots": _clean_snapshots,
    "revert": _revert,
    "restore-and-import": _import,
    "unmount": _unmount,
    "repair": _repair,
}
