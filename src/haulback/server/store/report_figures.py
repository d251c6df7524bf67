"""Figures of reports: sums and counts of the backups that were made between two times.

Each statement reads only the index `backup_report`, and returns one row for each group.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from haulback.contract.reports import Measure
from haulback.server.scope import Scope
from haulback.server.store import lists, protection, report_tables, tables
from haulback.server.store.event_tables import event
from haulback.server.store.expressions import Condition, number_in
from haulback.server.store.report_tables import FAILED
from haulback.units import DAY_MS

_MOST_LATE = 50  # machines that the report names
_MOST_PARTS = 200  # parts of a period
_FEW = 50  # guids in one statement
_STORED = ("SUCCESS", "SUCCESS_REMOVED")


class ReportedBackups(NamedTuple):
    """The backups of a table: created within `span` (epoch ms, end excluded), in these groups.

    None means all.  `entity_type` is the type of the machines.
    """

    scope: Scope
    span: range
    entity_type: str = "VM"
    destinations: list[str] | None = None
    rules: list[str] | None = None
    hypervisors: list[str] | None = None
    projects: list[str] | None = None
    machines: list[str] | None = None


class SizeGroup(NamedTuple):
    """A key of a group, "" for none, and its bytes."""

    key: str
    size: int


class LargestGroups(NamedTuple):
    """The largest groups, the number of the other groups, and the bytes of all groups."""

    groups: list[SizeGroup]
    others: int
    total: int


class PolicyFigures(NamedTuple):
    """Number and bytes of the backups of one rule and one status."""

    rule: str
    status: str
    backups: int
    size: int
    read: int
    stored: int


class Failure(NamedTuple):
    """A failed backup."""

    machine: str
    time: int
    reason: str
    rule: str


class PolicyProtection(NamedTuple):
    """Number of the machines of a policy ("" for none) in a state of protection."""

    policy: str
    state: str
    machines: int


class LateRow(NamedTuple):
    """A late machine with its state of protection; `last_backup` in epoch ms, -1 for none."""

    machine: str
    last_backup: int
    policy: str
    state: str


class LatePage(NamedTuple):
    """The first late machines, and the number of all."""

    rows: list[LateRow]
    total: int


def by_column(
    sql: sa.Connection, wanted: ReportedBackups, measure: Measure, column: str
) -> list[SizeGroup]:
    """Bytes by a column of backups with few values: destination, rule or project."""
    key = sa.func.coalesce(tables.backup.c[column], "")
    query = sa.select(key, _sum(measure)).where(*_counted(measure)).group_by(key)
    return [SizeGroup(key, sums[0]) for key, sums in _added(sql, wanted, query, 1).items()]


def by_hypervisor(sql: sa.Connection, wanted: ReportedBackups, measure: Measure) -> list[SizeGroup]:
    """Bytes by the present or last hypervisor of the machine."""
    entity, backup = tables.entity.c, tables.backup.c
    query = sa.select(entity.hypervisor, _sum(measure)).where(*_counted(measure))
    query = query.join_from(tables.backup, tables.entity, entity.guid == backup.entity)
    sums = _added(sql, wanted, query.group_by(entity.hypervisor), 1)
    return [SizeGroup(key, total[0]) for key, total in sums.items()]


def by_machine(
    sql: sa.Connection, wanted: ReportedBackups, measure: Measure, most: int
) -> LargestGroups:
    """Bytes of the `most` largest machines, by guid."""
    found = by_column(sql, wanted, measure, "entity")
    groups = heapq.nsmallest(most, found, key=lambda group: (-group.size, group.key))
    return LargestGroups(groups, len(found) - len(groups), sum(group.size for group in found))


def names(sql: sa.Connection, machines: list[str]) -> dict[str, str]:
    """The names of machines by guid."""
    result: dict[str, str] = {}
    table = tables.entity.c
    for at in range(0, len(machines), 500):
        query = sa.select(table.guid, table.name).where(table.guid.in_(machines[at : at + 500]))
        result |= {row[0]: row[1] for row in sql.execute(query)}
    return result


def by_rule(sql: sa.Connection, wanted: ReportedBackups) -> list[PolicyFigures]:
    """Numbers and bytes of backups by rule and status."""
    table = tables.backup.c
    keys = (sa.func.coalesce(table.rule, ""), table.status)
    sums = (sa.func.sum(column) for column in (lists.held(), table.read, table.stored))
    query = sa.select(*keys, sa.func.count(), *sums).group_by(*keys)
    added = _added(sql, wanted, query, 4)
    return [PolicyFigures(rule, status, *counts) for (rule, status), counts in added.items()]


def failures(sql: sa.Connection, wanted: ReportedBackups, most: int) -> list[Failure]:
    """The newest failed backups."""
    table = tables.backup.c
    query = sa.select(table.entity_name, table.created, table.status_info, table.rule)
    query = query.where(*_where(sql, wanted), FAILED)
    query = query.where(table.created >= wanted.span.start, table.created < wanted.span.stop)
    query = query.order_by(table.created.desc(), table.guid).limit(most)
    return [
        Failure(str(row[0]), int(row[1]), str(row[2] or ""), str(row[3] or ""))
        for row in sql.execute(query)
    ]


def runs(sql: sa.Connection, span: range) -> dict[str, int]:
    """Numbers of ended runs by policy."""
    table = event.c
    where = (table.time >= span.start, table.time < span.stop, table.kind == "RUN_ENDED")
    query = sa.select(table.subject, sa.func.count()).where(*where).group_by(table.subject)
    return {row[0]: int(row[1]) for row in sql.execute(query)}


def protection_by_policy(
    sql: sa.Connection, scope: Scope, entity_type: str
) -> list[PolicyProtection]:
    """Numbers of machines by backup policy and protection state."""
    table = tables.entity.c
    policy = sa.func.coalesce(table.backup_policy, "")
    query = sa.select(policy, table.protection, sa.func.count())
    query = query.where(*_counted_machines(scope, entity_type))
    rows = sql.execute(query.group_by(policy, table.protection))
    return [PolicyProtection(str(row[0]), str(row[1]), int(row[2])) for row in rows]


def late(
    sql: sa.Connection, scope: Scope, entity_type: str, policies: list[str] | None
) -> LatePage:
    """The machines whose last good backup is too old or missing, and their number.

    The machine that has been without a backup for the longest time comes first.
    """
    table = tables.entity.c
    policy = sa.func.coalesce(table.backup_policy, "")
    last = number_in(sql, table.facts, "lastBackup")
    where = [*_counted_machines(scope, entity_type), table.protection.in_(("LATE", "NEVER"))]
    where += [] if policies is None else [policy.in_(policies)]
    total = sql.scalar(sa.select(sa.func.count()).where(*where)) or 0
    columns = (table.name, last, policy, table.protection)
    query = sa.select(*columns).where(*where).order_by(last, table.guid)
    rows = sql.execute(query.limit(_MOST_LATE))
    late = [LateRow(str(row[0]), int(row[1]), str(row[2]), str(row[3])) for row in rows]
    return LatePage(late, total)


def _counted_machines(scope: Scope, entity_type: str) -> list[Condition]:
    """The machines that count: present machines, and absent machines with a policy."""
    return [*protection.counted(scope), tables.entity.c.type == entity_type]


def _added(
    sql: sa.Connection, wanted: ReportedBackups, query: Any, sums: int
) -> dict[Any, list[int]]:
    """The last `sums` columns of a grouped query by its first columns, added over parts of a
    period.

    The databases sort the rows of a statement to group them, SQLite in memory: parts limit the
    memory, however many backups the period has.
    """
    result: dict[object, list[int]] = {}
    where = _where(sql, wanted)
    created = tables.backup.c.created
    for part in _parts(_inhabited(sql, wanted.span)):
        rows = query.where(created >= part.start, created < part.stop, *where)
        for row in sql.execute(rows):
            key = row[0] if len(row) == sums + 1 else tuple(row[:-sums])
            total = result.setdefault(key, [0] * sums)
            for at, value in enumerate(row[-sums:]):
                total[at] += int(value or 0)
    return result


def _inhabited(sql: sa.Connection, span: range) -> range:
    """The part of a period in which backups were made."""
    created = tables.backup.c.created
    within = (created >= span.start, created < span.stop)
    first = sql.scalar(sa.select(sa.func.min(created)).where(*within))
    last = sql.scalar(sa.select(sa.func.max(created)).where(*within))
    return range(0) if first is None or last is None else range(int(first), int(last) + 1)


def _parts(span: range) -> Iterator[range]:
    """The period in parts of a day, or in the largest allowed number of parts."""
    length = max(DAY_MS, -(-len(span) // _MOST_PARTS))
    return (span[at : at + length] for at in range(0, len(span), length))


def _sum(measure: Measure) -> sa.ColumnElement[int]:
    return sa.func.sum(lists.held() if measure is Measure.BACKUP_SIZE else tables.backup.c.read)


def _counted(measure: Measure) -> list[Condition]:
    """Failed backups have no size, but the bytes that they read count as transferred."""
    return [tables.backup.c.status.in_(_STORED)] if measure is Measure.BACKUP_SIZE else []


def _where(sql: sa.Connection, wanted: ReportedBackups) -> list[Condition]:
    table = tables.backup.c
    where: list[Condition] = [report_tables.IS_FIRST]
    if wanted.scope.listed is not None:
        where.append(table.project.in_(wanted.scope.listed))
    for column, values in (
        (table.destination, wanted.destinations),
        (table.rule, wanted.rules),
        (table.project, wanted.projects),
        (table.entity, wanted.machines),
    ):
        if values is not None:
            where.append(column.in_(values))
    return [*where, *_of_machines(sql, wanted)]


def _of_machines(sql: sa.Connection, wanted: ReportedBackups) -> list[Condition]:
    """Conditions on the machines of backups, as sets that the database computes once."""
    entity, machine = tables.entity.c, tables.backup.c.entity
    where = _virtual_machines(sql)
    if wanted.entity_type != "VM":
        where = [machine.in_(sa.select(entity.guid).where(entity.type == wanted.entity_type))]
    if wanted.hypervisors is not None:
        where.append(
            machine.in_(sa.select(entity.guid).where(entity.hypervisor.in_(wanted.hypervisors)))
        )
    return where


def _virtual_machines(sql: sa.Connection) -> list[Condition]:
    """A condition that excludes the few entities that are no virtual machines."""
    entity, machine = tables.entity.c, tables.backup.c.entity
    others = sa.select(entity.guid).where(entity.type != "VM")
    few = list(sql.scalars(others.limit(_FEW + 1)))
    if not few:
        return []
    return [machine.not_in(few if len(few) <= _FEW else others)]
