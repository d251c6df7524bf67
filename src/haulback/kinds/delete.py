"""DELETE: removes an entity with its backups, its snapshots and checkpoints of Haulback, and its
record.
"""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.backup_cleanup import RemovalResult
from haulback.contract.delete import DeleteOrder, DeleteRequest
from haulback.contract.order_records import BackupDestination
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS
from haulback.contract.task_states import State
from haulback.errors import Conflict, Malformed, NotFound
from haulback.ids import guid_of
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Backup, Entity
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.removal import REMOVAL_REPORT, is_blocked, settle_removal
from haulback.tasks.record import Plan, Refused, Task
from haulback.wire import Named

_MOST = 10_000  # entities of one request
_STORED = ("SUCCESS", "PARTIAL_SUCCESS")  # their removal is decided already


def plan(request: DeleteRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a task for each destination that holds data of the entity; none for a deleted entity.

    Raises Malformed, or Conflict while a backup of the entity is locked or in use.
    """
    guid = guid_of(request.value, "value")
    try:
        entity = catalogue.machines.get(guid)
    except NotFound:
        return Plan()
    _check(entity, catalogue, context)
    holding = {backup.destination for backup in _data(entity.guid, catalogue)}
    if not holding and not entity.present:
        return Plan(gone=[entity.guid])
    targets: list[BackupDestination | None] = [
        catalogue.places.destination(guid) for guid in sorted(holding)
    ]
    tasks = [_task(entity, to, catalogue, context) for to in targets]
    if entity.present and not any(task.ref("hypervisor") for task in tasks):
        tasks.append(_task(entity, None, catalogue, context))
    return Plan(tasks)


def plan_many(request: list[DeleteRequest], catalogue: Catalogue, context: Context) -> Plan:
    """Plan the deletion of many entities; a refused entity does not stop the others."""
    if len(request) > _MOST:
        raise Malformed(f"the body: at most {_MOST} entities at once")
    whole = Plan()
    for value in dict.fromkeys(item.value for item in request):
        try:
            accepted = _name(value, catalogue)
            whole.add(plan(DeleteRequest(value), catalogue, context))
            whole.accepted.append(accepted)
        except (Conflict, Malformed, NotFound) as error:
            name = _known_name(value, catalogue)
            whole.refused.append(Refused(value, name, error.message, error.details))
    return whole


def _name(value: str, catalogue: Catalogue) -> Named:
    entity = catalogue.machines.get(guid_of(value, "value"))
    return Named(entity.guid, entity.name)


def _known_name(value: str, catalogue: Catalogue) -> str:
    try:
        return _name(value, catalogue).name
    except (Malformed, NotFound):
        return ""


def _check(entity: Entity, catalogue: Catalogue, context: Context) -> None:
    for backup in _data(entity.guid, catalogue):
        if backup.status in _STORED and backup.locked(context.now):
            until = (
                f"until {backup.keep_until} (epoch ms)" if backup.keep_until else "as an archive"
            )
            raise Conflict(
                f"{entity.name} has the backup {backup.guid}, which is locked {until}; "
                "delete the machine after that time",
                backup=backup.guid,
                lockedUntil=backup.keep_until,
            )
    stored = [backup for backup in _data(entity.guid, catalogue) if backup.status in _STORED]
    if any(catalogue.work.is_in_use(backup) for backup in stored) and not catalogue.work.is_busy(
        entity.guid
    ):
        raise Conflict(
            f"a backup of {entity.name} is mounted or boots for a proof; unmount the "
            "backup, or wait for the end of the proof"
        )
    if catalogue.work.is_busy(entity.guid):
        raise Conflict(
            f"{entity.name} is being backed up or restored; cancel that task, or wait for its end"
        )


def _data(entity: str, catalogue: Catalogue) -> list[Backup]:
    """Backups that have, or may have, data on a destination."""
    statuses = ("SUCCESS", "PARTIAL_SUCCESS", "FAILED", "SUCCESS_REMOVED")
    return [one for one in catalogue.backups.of_entity(entity, *statuses) if not one.gone]


def _task(
    entity: Entity, to: BackupDestination | None, catalogue: Catalogue, context: Context
) -> Task:
    """The task for a destination, or for the platform alone.

    If no node reaches both, the task leaves the platform out and has no hypervisor.
    """
    source = catalogue.places.hypervisor(entity.hypervisor)
    pin, is_apart = reach.pin(source, to), False
    if to and pin == reach.NOWHERE:
        pin, is_apart = reach.pin(to), True
    refs = {
        "protectedEntity": entity.named(),
        **({} if is_apart else planning.platform(source, catalogue)),
        "backupDestination": planning.named(to) if to else None,
    }
    return planning.task(
        "DELETE",
        "cleanup",
        context.of(entity.project or context.project),
        None,
        planning.TaskSpec(refs=refs, locked=entity.guid, pinned=pin),
    )


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Mark the backups as removed, so that no restore uses them.  Raises Conflict for a locked
    backup.
    """
    entity, to = task.ref("protectedEntity") or "", task.ref("backupDestination")
    backups = [backup for backup in _data(entity, catalogue) if backup.destination == to]
    stored = [backup for backup in backups if backup.status in _STORED]
    if any(backup.locked(ledger.now) for backup in stored):
        raise Conflict("a backup of the machine was locked after the request")
    if any(catalogue.work.is_in_use(backup) for backup in stored):
        raise Conflict("a task uses a backup of the machine; wait for the end of that task")
    ledger.removals.remove([backup.guid for backup in stored], "the machine was deleted")
    if to:
        ledger.damage.expect(task.guid, to, forgotten=False)


def prepare(task: Task, catalogue: Catalogue) -> DeleteOrder:
    entity = catalogue.machines.get(task.ref("protectedEntity") or "")
    named = task.ref("backupDestination")
    to = catalogue.places.destination(named) if named else None
    hypervisor = task.ref("hypervisor")
    removed = [item for item in _data(entity.guid, catalogue) if to and item.destination == to.guid]
    return DeleteOrder(
        entity.uuid,
        catalogue.places.hypervisor(entity.hypervisor) if hypervisor else None,
        msgspec.structs.replace(to, may_delete=True) if to else None,
        catalogue.backups.to_delete(to.guid, entity.guid) if to else [],
        [item.uuid for item in catalogue.snapshots.of_entity(entity.guid) if item.managed],
        catalogue.backups.given_up(to.guid) if to else [],
        sum(item.stored for item in removed),
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is State.FAILED and is_blocked(task):
        ledger.damage.cleanup_blocked(task, task.status_info or "backups are missing")
    if state is State.FINISHED:
        settle_removal(task, msgspec.convert(task.results, RemovalResult), ledger)
    ledger.damage.expected_over(task.guid)
    if state is State.FINISHED:
        ledger.removals.forget_entity(task.ref("protectedEntity") or "")


Request = DeleteRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="DELETE",
    lane="cleanup",
    order=DeleteOrder,
    prepare=prepare,
    start=start,
    settle=settle,
    report=REMOVAL_REPORT,
    submissions=(
        Submission(
            "delete",
            DeleteRequest,
            plan,
            summary="Create delete tasks to remove protected entity.",
            roles=ADMINS,
            projects=ProjectAccess.OBJECTS,
            examples=[{"value": example.GUID}],
            command="machine rm MACHINE",
        ),
        Submission(
            "batch-delete",
            list[DeleteRequest],  # type: ignore[arg-type]
            plan_many,
            batch=True,
            summary="Create delete tasks to remove protected entities.",
            roles=ADMINS,
            projects=ProjectAccess.OBJECTS,
            examples=[[{"value": example.GUID}]],
            command="machine rm MACHINE MACHINE",
        ),
    ),
    removes=True,
)
