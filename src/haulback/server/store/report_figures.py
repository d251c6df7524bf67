"""Figures of reports: sums and counts over the backups that were made between two moments.

Each statement reads the index `backup_report` alone, whatever the rows hold, and answers with one
row for each group.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from haulback.contract.reports import Measure
from haulback.server.scope import Scope
from haulback.server.store import lists, tables
from haulback.server.store.event_tables import event
from haulback.server.store.expressions import Condition, number_in
from haulback.server.store.report_tables import FAILED

_MOST_LATE = 50
_STORED = ("SUCCESS", "SUCCESS_REMOVED")


class ReportedBackups(NamedTuple):
    """The backups of a table: created within `span` (epoch ms, without its stop), in these groups.

    None stands for all.  `entity_type` is the type of the machines.
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
    """A late machine; `last_backup` in epoch ms, -1 for none."""

    machine: str
    last_backup: int
    policy: str


class Late(NamedTuple):
    """The first late machines, and the number of all."""

    rows: list[LateRow]
    total: int


def by_column(
    sql: sa.Connection, wanted: ReportedBackups, measure: Measure, column: str
) -> list[SizeGroup]:
    """Bytes by a column of backups that has few values: destination, rule or project."""
    key = sa.func.coalesce(tables.backup.c[column], "")
    query = sa.select(key, _sum(measure)).where(*_where(wanted), *_counted(measure)).group_by(key)
    return [SizeGroup(str(row[0]), int(row[1])) for row in sql.execute(query)]


def by_hypervisor(sql: sa.Connection, wanted: ReportedBackups, measure: Measure) -> list[SizeGroup]:
    """Bytes by the hypervisor that shows, or last showed, the machine."""
    sums, entity = _by_machine(wanted, measure), tables.entity.c
    query = sa.select(entity.hypervisor, sa.func.sum(sums.c.size))
    query = query.join_from(tables.entity, sums, entity.guid == sums.c.entity)
    rows = sql.execute(query.group_by(entity.hypervisor))
    return [SizeGroup(str(row[0]), int(row[1])) for row in rows]


def by_machine(
    sql: sa.Connection, wanted: ReportedBackups, measure: Measure, most: int
) -> LargestGroups:
    """Bytes of the `most` largest machines by their guids."""
    sums = _by_machine(wanted, measure)
    row = sql.execute(sa.select(sa.func.count(), sa.func.sum(sums.c.size))).one()
    query = sa.select(sums.c.entity, sums.c.size)
    rows = sql.execute(query.order_by(sums.c.size.desc(), sums.c.entity).limit(most))
    groups = [SizeGroup(str(row[0]), int(row[1])) for row in rows]
    return LargestGroups(groups, int(row[0]) - len(groups), int(row[1] or 0))


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
    query = sa.select(*keys, sa.func.count(), *sums).where(*_where(wanted)).group_by(*keys)
    return [
        PolicyFigures(str(row[0]), str(row[1]), *(int(value or 0) for value in row[2:]))
        for row in sql.execute(query)
    ]


def failures(sql: sa.Connection, wanted: ReportedBackups, most: int) -> list[Failure]:
    """The newest failed backups."""
    table = tables.backup.c
    query = sa.select(table.entity_name, table.created, table.status_info, table.rule)
    query = query.where(*_where(wanted), FAILED)
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
    """Numbers of present machines by backup policy and protection state."""
    table = tables.entity.c
    policy = sa.func.coalesce(table.backup_policy, "")
    query = sa.select(policy, table.protection, sa.func.count())
    query = query.where(*_present(scope, entity_type))
    rows = sql.execute(query.group_by(policy, table.protection))
    return [PolicyProtection(str(row[0]), str(row[1]), int(row[2])) for row in rows]


def late(sql: sa.Connection, scope: Scope, entity_type: str, policies: list[str] | None) -> Late:
    """The present machines whose last good backup is too old or missing, and their number.

    The machine that is longest without a backup comes first.
    """
    table = tables.entity.c
    policy = sa.func.coalesce(table.backup_policy, "")
    last = number_in(sql, table.facts, "lastBackup")
    where = [*_present(scope, entity_type), table.protection.in_(("LATE", "NEVER"))]
    where += [] if policies is None else [policy.in_(policies)]
    total = sql.scalar(sa.select(sa.func.count()).where(*where)) or 0
    query = sa.select(table.name, last, policy).where(*where).order_by(last, table.guid)
    rows = sql.execute(query.limit(_MOST_LATE))
    return Late([LateRow(str(row[0]), int(row[1]), str(row[2])) for row in rows], total)


def _present(scope: Scope, entity_type: str) -> list[Condition]:
    table = tables.entity.c
    where: list[Condition] = [table.present, table.type == entity_type]
    return where if scope.listed is None else [*where, table.project.in_(scope.listed)]


def _by_machine(wanted: ReportedBackups, measure: Measure) -> sa.Subquery:
    """Bytes by machine, of the machines on the wanted hypervisors."""
    table = tables.backup.c
    query = sa.select(table.entity, _sum(measure).label("size"))
    query = query.where(*_where(wanted), *_counted(measure)).group_by(table.entity)
    return query.subquery("sums")


def _sum(measure: Measure) -> sa.ColumnElement[int]:
    column = lists.held() if measure is Measure.BACKUP_SIZE else tables.backup.c.read
    # PostgreSQL sums bigints to numeric, which is no integer for the caller
    return sa.cast(sa.func.sum(column), sa.BigInteger)


def _counted(measure: Measure) -> list[Condition]:
    """Failed backups have no size; the bytes that they read were transferred."""
    return [tables.backup.c.status.in_(_STORED)] if measure is Measure.BACKUP_SIZE else []


def _where(wanted: ReportedBackups) -> list[Condition]:
    table = tables.backup.c
    where: list[Condition] = [table.created >= wanted.span.start, table.created < wanted.span.stop]
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
    return [*where, *_of_machines(wanted)]


def _of_machines(wanted: ReportedBackups) -> list[Condition]:
    """Conditions that the rows of machines answer, as sets that the database computes once."""
    entity, machine = tables.entity.c, tables.backup.c.entity
    others = sa.select(entity.guid).where(entity.type != "VM")
    where: list[Condition] = [machine.not_in(others)]
    if wanted.entity_type != "VM":
        where = [machine.in_(sa.select(entity.guid).where(entity.type == wanted.entity_type))]
    if wanted.hypervisors is not None:
        where.append(
            machine.in_(sa.select(entity.guid).where(entity.hypervisor.in_(wanted.hypervisors)))
        )
    return where
