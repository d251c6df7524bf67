"""EXPORT: reads what changed on a machine into staging; a STORE follows it."""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.backups import BackupType
from haulback.contract.export import ExportOrder, ExportRequest
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import OPERATORS
from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Entity
from haulback.kinds.api import Ask, Submission, TaskKind
from haulback.kinds.support import machine_scan, planning
from haulback.kinds.support.destination_choice import Goal, Goals
from haulback.kinds.support.export_report import (
    EXPORT_REPORT,
    WINDOW,
    asked_type,
    other_type,
    read_results,
    unreported,
)
from haulback.tasks.record import NewBackup, Plan, Task
from haulback.wire import Named

_INCREMENTAL = BackupType.INCREMENTAL.value


def plan(request: ExportRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """One EXPORT and its STORE for each entity and rule.

    Raises Malformed or NotFound for the first bad.
    """
    if request.backupType not in (None, BackupType.FULL, BackupType.INCREMENTAL):
        why = {
            BackupType.SYNTHETIC: "every backup here is complete in itself, none is synthesised",
            BackupType.SYNCHRONIZATION: "copies to a second destination are not made yet",
        }[request.backupType]
        raise Malformed(
            f"backupType: {request.backupType.value} is not served, {why}; ask for FULL or "
            "INCREMENTAL",
            field="backupType",
        )
    if request.tenantId and not ask.project:
        ask = ask.of(request.tenantId[:80])
    refs = planning.some("protectedEntities", request.protectedEntities)
    goals, whole = Goals(request.backupDestination, request.rules, catalogue), Plan()
    entities = catalogue.machines.get_many([ref.guid for ref in refs])
    for entity in entities:
        _check(entity, request)
        for goal in goals.of(entity):
            _plan_one(whole, entity, goal, request, catalogue, ask)
    whole.besides = machine_scan.before(entities, catalogue, ask, request)
    return whole


def _check(entity: Entity, request: ExportRequest) -> None:
    if not entity.present:
        raise Malformed(f"protectedEntities: {entity.name} is no longer on its hypervisor")
    wanted = request.protectedEntityType
    if wanted and wanted.value != entity.type:
        raise Malformed(
            f"protectedEntityType: {entity.name} is a {entity.type}, not a {wanted.value}",
            field="protectedEntityType",
        )


def _plan_one(
    whole: Plan,
    entity: Entity,
    goal: Goal,
    request: ExportRequest,
    catalogue: Catalogue,
    ask: Ask,
) -> None:
    source = catalogue.places.hypervisor(entity.hypervisor)
    kind = request.backupType or BackupType.FULL
    request = goal.applied(request)
    project = entity.project or ask.project
    backup = NewBackup(
        guid=new_guid(),
        entity=entity.guid,
        entity_name=entity.name,
        destination=goal.to.guid,
        type=kind.value,
        project=project,
        rule=goal.rule.guid if goal.rule else None,
    )
    refs: dict[str, Named | None] = {
        "protectedEntity": entity.named(),
        **planning.platform(source, catalogue),
        "backupDestination": planning.named(goal.to),
        "backup": Named(backup.guid, entity.name),
        "rule": planning.named(goal.rule) if goal.rule else None,
    }
    ask = ask.of(project)
    params = {"incSnapRequired": catalogue.machines.is_scheduled(entity.guid)}
    if goal.thresholds:
        params["thresholds"] = goal.thresholds  # type: ignore[assignment]
    export = planning.task(
        "EXPORT",
        "export",
        ask,
        request,
        refs=refs,
        params=params,
        window=WINDOW,
        locked=entity.guid,
        source=source.guid,
        pinned=planning.pinned(source, goal.to),
        run=goal.run,
    )
    store = planning.task(
        "STORE",
        "store",
        ask,
        request,
        refs=refs,
        params=dict(params),
        window=WINDOW,
        follows=export,
        run=goal.run,
    )
    export.backup_type = store.backup_type = kind.value
    whole.tasks += [export, store]
    whole.backups.append(backup)


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    ledger.backups.started(task.ref("backup") or "")


def prepare(task: Task, catalogue: Catalogue) -> ExportOrder:
    entity = catalogue.machines.get(task.ref("protectedEntity") or "")
    destination = catalogue.places.destination(task.ref("backupDestination") or "")
    wanted = asked_type(task)
    return ExportOrder(
        backup=task.ref("backup") or "",
        uuid=entity.uuid,
        entity=entity.guid,
        hypervisor=catalogue.places.hypervisor(entity.hypervisor),
        destination=destination,
        base=catalogue.backups.base(entity.guid, destination.guid)
        if wanted == _INCREMENTAL
        else None,
        wanted=wanted,
        machine=entity.name,
        disks=entity.disks,
        place=entity.place,
        excluded=entity.settings.get("excludedDisks", []),
        before=entity.settings.get("preCommand", ""),
        after=entity.settings.get("postCommand", ""),
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    backup = task.ref("backup") or ""
    ledger.backups.timed(task)
    if state is not State.FINISHED:
        ledger.backups.failed(backup, task.status_info or state.value)
        return
    found = read_results(task.results)
    if found is None:
        ledger.backups.partial(backup, unreported("EXPORT", EXPORT_REPORT, task.results))
        return
    asked = asked_type(task)
    if found.type != task.backup_type:
        ledger.backups.type_changed(task, found.type, [])
    ledger.backups.exported(backup, found.type, found.snapshotTime, found.size, found.read)
    ledger.backups.described(backup, msgspec.to_builtins(found.files), found.definition)
    other = [other_type(asked, found.type)] if found.type != asked else []
    ledger.backups.warned(backup, [*other, *found.warnings])
    ledger.backups.consistent(backup, found.consistency)


Request = ExportRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="EXPORT",
    lane="export",
    order=ExportOrder,
    prepare=prepare,
    start=start,
    settle=settle,
    report=EXPORT_REPORT,
    submissions=(
        Submission(
            "export",
            ExportRequest,
            plan,
            summary="Create list of export tasks.",
            roles=OPERATORS,
            projects=ProjectAccess.OBJECTS,
            examples=[
                {
                    "protectedEntities": [example.REF],
                    "backupType": {"name": "FULL", "description": "Full"},
                    "priority": 50,
                    "retryCount": 0,
                    "rules": [],
                    "protectedEntityType": "VM",
                    "async": True,
                },
                {
                    "protectedEntities": [example.GUID],
                    "backupType": "INCREMENTAL",
                    **example.WINDOW,
                },
            ],
            command="backup create MACHINE --destination DESTINATION",
        ),
    ),
    window=WINDOW,
    members=frozenset({"backupType", "cbtId", "incSnapRequired", "taskFiles"}),
    retries=True,
    stages=True,
)
