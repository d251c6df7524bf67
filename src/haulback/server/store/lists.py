"""Lists of machines, backups, restore jobs, workflows and records, a page at a time; figures."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.hypervisor_types import INNER
from haulback.ids import is_beginning
from haulback.inventory.alarms import Alarm
from haulback.inventory.own_server import OWN_ENTITY
from haulback.inventory.records import Backup, Entity, Mount, PlatformSnapshot, Record, RestoreJob
from haulback.server.queries import ListQuery
from haulback.server.scope import Scope
from haulback.server.store import (
    alarm_tables,
    backup_locations,
    mount_tables,
    recovery_plans,
    tables,
    tasks,
)
from haulback.server.store.expressions import Column, Condition, Expression, number_in
from haulback.server.store.nodes import with_node_names
from haulback.server.store.policy_tables import promise
from haulback.server.store.rows import records
from haulback.tasks.record import Task
from haulback.wire import JsonObject

T = TypeVar("T", bound=msgspec.Struct)
PLACES: dict[type[msgspec.Struct], sa.Table] = {
    Hypervisor: tables.hypervisor,
    BackupDestination: tables.destination,
}


def places(sql: sa.Connection, kind: type[T]) -> list[T]:
    """All hypervisors of users, or all destinations, ordered by name."""
    table = PLACES[kind]
    query = sa.select(table).where(table.c.driver.not_in(INNER))
    return records(sql, query.order_by(table.c.name), kind)


def machine_counts(sql: sa.Connection, scope: Scope) -> dict[str, int]:
    """The number of present machines on each hypervisor, within the caller's projects."""
    table = tables.entity.c
    where = [table.present, *_scoped(table.project, scope)]
    query = sa.select(table.hypervisor, sa.func.count()).where(*where)
    return {row[0]: row[1] for row in sql.execute(query.group_by(table.hypervisor))}


def machines(sql: sa.Connection, wanted: ListQuery) -> tuple[list[Entity], int]:
    """A page of machines by name, and the number of all; the server's own database is left out."""
    table = tables.entity
    where = [table.c.guid != OWN_ENTITY, *_scoped(table.c.project, wanted.scope)]
    where += _text(table, table.c.name, wanted)
    for column, value in (
        (table.c.hypervisor, wanted.hypervisor),
        (table.c.backup_policy, wanted.policy),
        (table.c.snapshot_policy, wanted.snapshot_policy),
    ):
        where += [column == value] if value else []
    where += [table.c.protection.in_(wanted.statuses)] if wanted.statuses else []
    sorts = machine_sorts(sql, wanted)
    order = _order(sorts, "name", wanted, table.c.guid)
    return _page(sql, _Rows(table, where, order), wanted, Entity)


def machine_sorts(sql: sa.Connection, wanted: ListQuery) -> JsonObject:
    """Sort columns of machines; absent values come first on both databases."""
    table, order = tables.entity.c, wanted.order
    result: JsonObject = {
        "name": table.name,
        "present": table.present,
        "uuid": table.uuid,
        "hypervisor": sa.select(tables.hypervisor.c.name)
        .where(tables.hypervisor.c.guid == table.hypervisor)
        .scalar_subquery(),
    }
    if order in ("lastBackup", "lastSuccessfulBackupSize", "lastSuccessfulFullBackupSize"):
        result[order] = number_in(sql, table.facts, order)
    if order == "backupUpToDate":
        result[order] = _up_to_date(wanted.now)
    for name, guid in (
        ("vmBackupPolicy", table.backup_policy),
        ("snapshotMgmtPolicy", table.snapshot_policy),
    ):
        if order == name:
            named = sa.select(tables.record.c.name).where(tables.record.c.guid == guid)
            result[name] = sa.func.coalesce(named.scalar_subquery(), "")
    return result


def _up_to_date(now: int) -> Expression:
    """2 for machines within the RPO of their policy, 1 for others, 0 without an RPO."""
    state, due = tables.entity.c.protection, tables.entity.c.protection_due
    promised = sa.select(promise.c.rpo).where(promise.c.policy == tables.entity.c.backup_policy)
    rpo = promised.where(promise.c.active).scalar_subquery()
    return sa.case((rpo.is_(None), 0), (sa.and_(state.in_(_FRESH), due >= now), 2), else_=1)


_FRESH = ("PROTECTED", "FAILING")


def absent_machines(sql: sa.Connection, scope: Scope) -> list[Entity]:
    """Machines that their platform no longer lists."""
    table = tables.entity
    where = [~table.c.present, *_scoped(table.c.project, scope)]
    return records(sql, sa.select(table).where(*where), Entity)


def backups(sql: sa.Connection, wanted: ListQuery) -> tuple[list[Backup], int]:
    """A page of backups, the newest first, and the number of all."""
    table = tables.backup
    when = sa.func.coalesce(table.c.snapshot_time, table.c.created)
    where = _scoped(table.c.project, wanted.scope)
    where += [] if wanted.locations else [table.c.copy_of.is_(None)]
    where += _text(table, table.c.entity_name, wanted)
    for column, value in (
        (table.c.entity, wanted.entity),
        (table.c.rule, wanted.rule),
        (table.c.parent, wanted.parent),
    ):
        if value:
            where.append(column == value)
    where += backup_locations.on(wanted)
    if wanted.hypervisor:
        on = sa.select(tables.entity.c.guid)
        on = on.where(tables.entity.c.hypervisor == wanted.hypervisor)
        where.append(table.c.entity.in_(on))
    where += backup_locations.in_state(wanted)
    where += [table.c.type.in_(wanted.types)] if wanted.types else []
    where += [when >= wanted.since] if wanted.since is not None else []
    where += [when <= wanted.until] if wanted.until is not None else []
    where += [held() >= wanted.min_size] if wanted.min_size is not None else []
    sorts = {
        "backupTime": table.c.created,
        "snapshotTime": table.c.snapshot_time,
        "size": held(),
        "status": table.c.status,
        "type": table.c.type,
        "protectedEntity": table.c.entity_name,
    }
    order = _order(sorts, "backupTime", wanted, table.c.guid)
    return _page(sql, _Rows(table, where, order), wanted, Backup)


def held() -> sa.ColumnElement[int]:
    """Bytes that only one backup uses, as in `records.Backup.held`."""
    table = tables.backup.c
    part = sa.case((table.read < table.size, table.read), else_=table.size)
    return sa.case((table.type == "FULL", table.size), else_=part)


def snapshots(
    sql: sa.Connection, wanted: ListQuery, *, alone: bool | None = None
) -> tuple[list[PlatformSnapshot], int]:
    """A page of snapshots, newest first, and the number of all; `alone` limits the page to
    snapshots without a policy (true) or with a policy (false).
    """
    table = tables.snapshot
    where = _scoped(table.c.project, wanted.scope)
    where += _text(table, table.c.uuid, wanted)
    where += [table.c.entity == wanted.entity] if wanted.entity else []
    where += [] if alone is None else [table.c.policy.is_(None) == alone]
    where += [table.c.snapshot_time >= wanted.since] if wanted.since is not None else []
    where += [table.c.snapshot_time <= wanted.until] if wanted.until is not None else []
    sorts = {"snapshotTime": table.c.snapshot_time, "uuid": table.c.uuid}
    order = _order(sorts, "snapshotTime", wanted, table.c.guid)
    return _page(sql, _Rows(table, where, order), wanted, PlatformSnapshot)


def mounts(
    sql: sa.Connection, wanted: ListQuery, *, over: bool | None = None
) -> tuple[list[Mount], int]:
    """A page of mounted backups, newest first, and the number of all; `over` limits the page to
    ended mounts (true) or to mounts that have not ended (false).
    """
    table = mount_tables.mounted_backup
    where = _scoped(table.c.project, wanted.scope)
    where += _text(table, table.c.entity_name, wanted)
    for column, value in (
        (table.c.entity, wanted.entity),
        (table.c.backup, wanted.backup),
        (table.c.node, wanted.node),
    ):
        if value:
            where.append(column == value)
    where += [table.c.mode.in_(wanted.types)] if wanted.types else []
    where += [] if over is None else [table.c.state.in_(("UNMOUNTED", "FAILED")) == over]
    where += [table.c.created >= wanted.since] if wanted.since is not None else []
    where += [table.c.created <= wanted.until] if wanted.until is not None else []
    sorts = {"creationTime": table.c.created, "mode": table.c.mode, "state": table.c.state}
    order = _order(sorts, "creationTime", wanted, table.c.guid)
    return _page(sql, _Rows(table, where, order), wanted, Mount)


def alarms(sql: sa.Connection, wanted: ListQuery) -> tuple[list[Alarm], int]:
    """A page of alarms, the newest first, and the number of all."""
    table = alarm_tables.alarm
    where = _scoped(table.c.project, wanted.scope)
    where += _text(table, table.c.subject_name, wanted)
    where += [table.c.subject == wanted.subject] if wanted.subject else []
    where += [table.c.kind.in_(wanted.types)] if wanted.types else []
    where += [table.c.since >= wanted.since] if wanted.since is not None else []
    where += [table.c.since <= wanted.until] if wanted.until is not None else []
    columns = (table.c.since, table.c.seen, table.c.kind, table.c.text)
    sorts = {column.name: column for column in columns}
    sorts["subject"] = table.c.subject_name
    order = _order(sorts, "since", wanted, table.c.guid)
    return _page(sql, _Rows(table, where, order), wanted, Alarm)


def restore_jobs(sql: sa.Connection, wanted: ListQuery) -> tuple[list[RestoreJob], int]:
    """A page of restore jobs, the newest first, and the number of all."""
    table = tables.restore_job
    where = _scoped(table.c.project, wanted.scope)
    where += _text(table, table.c.entity_name, wanted)
    where += [table.c.entity == wanted.entity] if wanted.entity else []
    where += [table.c.created >= wanted.since] if wanted.since is not None else []
    where += [table.c.created <= wanted.until] if wanted.until is not None else []
    sorts = {"restoreTime": table.c.created, "status": table.c.status}
    order = _order(sorts, "restoreTime", wanted, table.c.guid)
    return _page(sql, _Rows(table, where, order), wanted, RestoreJob)


def restore_job(sql: sa.Connection, guid: str, scope: Scope) -> RestoreJob | None:
    """A restore job, None for a job outside the caller's projects."""
    table = tables.restore_job
    row = sql.execute(sa.select(table).where(table.c.guid == guid)).one_or_none()
    if row is None or not scope.allows(row.project):
        return None
    return records(sql, sa.select(table).where(table.c.guid == guid), RestoreJob)[0]


def heads(sql: sa.Connection, wanted: ListQuery) -> tuple[list[Task], int]:
    """A page of the first tasks of workflows, the newest first, and the number of all."""
    table = tables.task
    where: list[Any] = [sa.text("guid = workflow AND NOT archived")]
    where += _scoped(table.c.project, wanted.scope)
    if wanted.text:
        text = wanted.text.lower()
        named = table.c.names.contains(text, autoescape=True)
        begins = table.c.guid.startswith(text, autoescape=True)
        where.append(sa.or_(named, begins) if is_beginning(text) else named)
    sorts = {
        "state": table.c.state,
        "type": table.c.type,
        "step": table.c.type,
        "instance": table.c.subject,
        "originEntity": table.c.names,
        "priority": table.c.priority,
        "startTime": table.c.created,
    }
    order = _order(sorts, "startTime", wanted, table.c.guid)
    query = sa.select(*tasks.COLUMNS).where(*where).order_by(*order)
    query = query.limit(wanted.size).offset(wanted.page * wanted.size)
    total = sql.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0
    return [tasks.task_of(row) for row in sql.execute(query)], total


def of_workflows(sql: sa.Connection, guids: list[str]) -> dict[str, list[Task]]:
    """All tasks of these workflows, including removed and planned tasks."""
    found: dict[str, list[Task]] = {guid: [] for guid in guids}
    for at in range(0, len(guids), 500):
        query = sa.select(*tasks.COLUMNS).where(tables.task.c.workflow.in_(guids[at : at + 500]))
        for row in sql.execute(query.order_by(tables.task.c.created, tables.task.c.guid)):
            task = tasks.task_of(row)
            found[task.workflow].append(task)
    with_node_names(sql, [task for steps in found.values() for task in steps])
    return found


def kept(sql: sa.Connection, kind: str, wanted: ListQuery) -> tuple[list[Record], int]:
    """A page of records of one kind by name, and the number of all."""
    table = tables.record
    where = [table.c.kind == kind, *_text(table, table.c.name, wanted)]
    where += [table.c.parent == wanted.parent] if wanted.parent else []
    where += [] if wanted.only is None else [table.c.guid.in_(wanted.only)]
    if (listed := wanted.scope.listed) is not None:
        where.append(sa.or_(table.c.project.is_(None), table.c.project.in_(listed)))
    if kind == recovery_plans.RECOVERY_PLAN and (
        unseen := recovery_plans.hidden(sql, wanted.scope)
    ):
        where.append(table.c.guid.not_in(unseen))
    sorts = {"name": table.c.name}
    order = _order(sorts, "name", wanted, table.c.guid)
    return _page(sql, _Rows(table, where, order), wanted, Record)


def _scoped(column: Column, scope: Scope) -> list[Condition]:
    return [] if scope.listed is None else [column.in_(scope.listed)]


def _text(table: sa.Table, column: Column, wanted: ListQuery) -> list[Condition]:
    """The conditions of a search text: a part of the name, or the beginning of the guid or uuid."""
    found = [column.icontains(wanted.name, autoescape=True)] if wanted.name else []
    if text := wanted.text:
        named = column.icontains(text, autoescape=True)
        ids = [table.c[name] for name in ("guid", "uuid") if name in table.c]
        begins = [item.startswith(text.lower(), autoescape=True) for item in ids]
        found.append(sa.or_(named, *begins) if is_beginning(text) else named)
    return found


def _order(sorts: JsonObject, usual: str, wanted: ListQuery, last: Column) -> list[Expression]:
    """The sort column of the requested member, or the default order for other members."""
    name = wanted.order if wanted.order in sorts else usual
    newest = name == usual and wanted.order is None and usual.endswith(("Time", "since"))
    columns = (sorts[name], last)
    return [c.desc() if wanted.descending or newest else c.asc() for c in columns]


class _Rows(NamedTuple):
    """The rows of a list: their table, the conditions that they meet, and their order."""

    table: sa.Table
    where: list[Condition]
    order: list[Expression]


def _page(sql: sa.Connection, rows: _Rows, wanted: ListQuery, kind: type[T]) -> tuple[list[T], int]:
    table, where, order = rows
    query = sa.select(table).where(*where).order_by(*order)
    query = query.limit(wanted.size).offset(wanted.page * wanted.size)
    total = sql.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0
    return records(sql, query, kind), total
