"""EXPORT: reads the changes of a machine into staging; a STORE follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

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
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import machine_scan, planning, second_copies
from haulback.kinds.support.destination_choice import ChosenDestination, ChosenDestinations
from haulback.kinds.support.export_report import (
    EXPORT_REPORT,
    WINDOW,
    asked_type,
    other_type,
    read_results,
    unreported,
)
from haulback.kinds.support.missing_base import why_no_base
from haulback.tasks.record import NewBackup, Plan, Task
from haulback.wire import JsonObject, Named

_INCREMENTAL = BackupType.INCREMENTAL.value


def plan(request: ExportRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan an EXPORT and its STORE for each entity and rule.

    Raises Malformed or NotFound for the first fault.
    """
    _check_type(request)
    if request.tenantId and not context.project:
        context = context.of(request.tenantId[:80])
    refs = planning.some("protectedEntities", request.protectedEntities)
    goals, whole = ChosenDestinations(request.backupDestination, request.rules, catalogue), Plan()
    entities = catalogue.machines.get_many([ref.guid for ref in refs])
    is_copy = request.backupType is BackupType.SYNCHRONIZATION
    for entity in entities:
        _check(entity, request)
        for goal in goals.of(entity):
            wanted = _Backup(entity, goal, request, context)
            whole.add((_plan_copies if is_copy else _plan_backup)(wanted, catalogue))
    if is_copy:
        return whole
    whole.besides = machine_scan.before(entities, catalogue, context, request)
    return whole


def _check_type(request: ExportRequest) -> None:
    if request.backupType is BackupType.SYNTHETIC:
        raise Malformed(
            "backupType: SYNTHETIC is not supported, because every backup of Haulback "
            "can be restored alone; send FULL or INCREMENTAL",
            field="backupType",
        )


def _check(entity: Entity, request: ExportRequest) -> None:
    # A copy reads the backups of a machine rather than the machine.
    if not entity.present and request.backupType is not BackupType.SYNCHRONIZATION:
        raise Malformed(f"protectedEntities: {entity.name} is no longer on its hypervisor")
    wanted = request.protectedEntityType
    if wanted and wanted.value != entity.type:
        raise Malformed(
            f"protectedEntityType: {entity.name} is a {entity.type}, not a {wanted.value}",
            field="protectedEntityType",
        )


class _Backup(NamedTuple):
    """A backup to plan: the machine, the destination, and the circumstances."""

    entity: Entity
    goal: ChosenDestination
    request: ExportRequest
    context: Context

    @property
    def project(self) -> str | None:
        return self.entity.project or self.context.project

    @property
    def type(self) -> str:
        return (self.request.backupType or BackupType.FULL).value


def _plan_backup(wanted: _Backup, catalogue: Catalogue) -> Plan:
    """The EXPORT, the STORE that follows it, and the record of the backup."""
    entity, goal, backup = wanted.entity, wanted.goal, _new_backup(wanted)
    source = catalogue.places.hypervisor(entity.hypervisor)
    refs: dict[str, Named | None] = {
        "protectedEntity": entity.named(),
        **planning.platform(source, catalogue),
        "backupDestination": planning.named(goal.to),
        "backup": Named(backup.guid, entity.name),
        "rule": planning.named(goal.rule) if goal.rule else None,
    }
    params: JsonObject = {"incSnapRequired": catalogue.machines.is_scheduled(entity.guid)}
    if goal.thresholds:
        params["thresholds"] = goal.thresholds
    first = planning.TaskSpec(
        refs=refs,
        params=params,
        window=WINDOW,
        locked=entity.guid,
        source=source.guid,
        pinned=planning.pinned(catalogue, source, goal.to),
        run=goal.run,
    )
    request, context = goal.applied(wanted.request), wanted.context.of(wanted.project)
    export = planning.task("EXPORT", "export", context, request, first)
    second = planning.TaskSpec(
        refs=refs, params=dict(params), window=WINDOW, follows=export, run=goal.run
    )
    store = planning.task("STORE", "store", context, request, second)
    export.backup_type = store.backup_type = wanted.type
    whole = Plan([export, store], backups=[backup])
    for copied in () if goal.copied_later else goal.copies:
        copy = second_copies.new_copy(backup, copied)
        work = _copy_work(goal, copied, copy, refs)
        whole.tasks.append(second_copies.copy_task(work, context, request, store))
        whole.backups.append(copy)
    return whole


def _copy_work(
    goal: ChosenDestination,
    copied: second_copies.CopyGoal,
    copy: NewBackup,
    refs: Mapping[str, Named | None],
) -> second_copies.CopyWork:
    """The copy of a new backup, after its STORE."""
    machine, backup = refs["protectedEntity"], refs["backup"]
    assert machine
    assert backup
    return second_copies.CopyWork(
        goal.to, copied.to, machine, backup, [copy.guid], refs["rule"], goal.run
    )


def _plan_copies(wanted: _Backup, catalogue: Catalogue) -> Plan:
    """The tasks that copy the stored backups of a machine to the destinations that lack them."""
    goal, entity, whole = wanted.goal, wanted.entity, Plan()
    if not goal.rule or not goal.copies:
        raise Malformed(
            "backupType: SYNCHRONIZATION copies to the SECONDARY and ARCHIVE "
            "destinations of a rule; name a rule with such a destination, or send FULL "
            "or INCREMENTAL",
            field="backupType",
        )
    for copied in goal.copies:
        stored = catalogue.backups.lacking(
            entity.guid, goal.rule.guid, goal.to.guid, copied.to.guid
        )
        lacking = second_copies.LackingCopies(goal.to, entity.named(), stored)
        request = goal.applied(wanted.request)
        whole.add(second_copies.plan_copies(lacking, copied, wanted.context, request))
    return whole


def _new_backup(wanted: _Backup) -> NewBackup:
    entity, goal = wanted.entity, wanted.goal
    return NewBackup(
        guid=new_guid(),
        entity=entity.guid,
        entity_name=entity.name,
        destination=goal.to.guid,
        type=wanted.type,
        project=wanted.project,
        rule=goal.rule.guid if goal.rule else None,
    )


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    ledger.backups.started(task.ref("backup") or "")


def prepare(task: Task, catalogue: Catalogue) -> ExportOrder:
    entity = catalogue.machines.get(task.ref("protectedEntity") or "")
    destination = catalogue.places.destination(task.ref("backupDestination") or "")
    wanted = asked_type(task)
    is_increment = wanted == _INCREMENTAL
    base = catalogue.bases.find(entity.guid, destination.guid) if is_increment else None
    return ExportOrder(
        backup=task.ref("backup") or "",
        uuid=entity.uuid,
        entity=entity.guid,
        hypervisor=catalogue.places.hypervisor(entity.hypervisor),
        destination=destination,
        base=base,
        wanted=wanted,
        machine=entity.name,
        disks=entity.disks,
        place=entity.place,
        excluded=entity.settings.get("excludedDisks", []),
        before=entity.settings.get("preCommand", ""),
        after=entity.settings.get("postCommand", ""),
        no_base=why_no_base(entity, destination, catalogue) if is_increment and not base else "",
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    backup = task.ref("backup") or ""
    ledger.backups.timed(task)
    if state is not State.FINISHED:
        ledger.backups.failed(backup, task.status_info or state.value)
        return
    report = read_results(task.results)
    if report is None:
        ledger.backups.partial(backup, unreported("EXPORT", EXPORT_REPORT, task.results))
        return
    asked = asked_type(task)
    if report.type != task.backup_type:
        ledger.backups.type_changed(task, report.type, [])
    ledger.backups.exported(backup, report.type, report.snapshotTime, report.size, report.read)
    files = msgspec.to_builtins(report.files)
    ledger.backups.described(backup, files, report.definition, report.consistency)
    other = [other_type(asked, report.type)] if report.type != asked else []
    ledger.backups.warned(backup, [*other, *report.warnings])


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
