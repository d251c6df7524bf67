"""Protection of machines in the database: the machines to evaluate, states, counts and lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from haulback.inventory.own_server import OWN_ENTITY
from haulback.inventory.records import NOT_DECIDED, REMOVED, Entity
from haulback.server.queries import ListQuery
from haulback.server.scope import Scope
from haulback.server.store import tables
from haulback.server.store.raw_sql import Statement
from haulback.server.store.rows import records
from haulback.wire import Named

_MANY = 500  # machines in one transaction
_ENTITY = tables.entity
_UNASSIGNED = "UNASSIGNED"
_DUE = Statement(
    "SELECT EXISTS (SELECT 1 FROM entity WHERE protection_due < :now) "
    "OR EXISTS (SELECT 1 FROM promise WHERE recheck <= :now) "
    "OR EXISTS (SELECT 1 FROM walk WHERE kind = 'MEMBERS')"
)
_WRITE = Statement(
    "UPDATE entity SET protection = :state, protection_since = :since, protection_due = :due "
    "WHERE guid = :guid"
)


class UnjudgedMachine(NamedTuple):
    """A machine whose protection must be evaluated; `since` is None before the first evaluation."""

    guid: str
    name: str
    project: str | None
    policy: str | None
    before: str
    since: int | None
    last_good: int | None
    failed: bool
    pending: bool


def is_anything_due(sql: sa.Connection, now: int) -> bool:
    """Whether the RPO of a policy must be computed, or the protection of a machine must be
    evaluated.
    """
    row = _DUE.row(sql, now=now)
    return bool(row and row[0])


def due(sql: sa.Connection, now: int) -> list[UnjudgedMachine]:
    """Some due machines, locked; machines that another server evaluates are skipped."""
    column, ended = _ENTITY.c, tables.backup.c.status.not_in(NOT_DECIDED)
    names = ("guid", "name", "project", "backup_policy", "protection", "protection_since", "facts")
    newest, decided = _newest_status(), _newest_status(ended)
    columns = (*(column[name] for name in names), newest.label("newest"), decided.label("decided"))
    query = sa.select(*columns)
    query = query.where(column.protection_due < now).order_by(column.protection_due)
    query = query.limit(_MANY).with_for_update(skip_locked=True, of=_ENTITY)
    return [_unjudged(row) for row in sql.execute(query)]


def _unjudged(row: sa.Row[tuple[object, ...]]) -> UnjudgedMachine:
    return UnjudgedMachine(
        guid=row.guid,
        name=row.name,
        project=row.project,
        policy=row.backup_policy,
        before=row.protection,
        since=row.protection_since,
        last_good=msgspec.json.decode(row.facts).get("lastBackup"),
        failed=row.decided not in (None, "SUCCESS", REMOVED),
        pending=row.newest in NOT_DECIDED,
    )


def _newest_status(*where: sa.ColumnElement[bool]) -> sa.ScalarSelect[str]:
    table = tables.backup.c
    of_machine = (table.entity == _ENTITY.c.guid, table.copy_of.is_(None))
    query = sa.select(table.status).where(*of_machine, *where)
    query = query.order_by(table.created.desc(), table.guid.desc()).limit(1)
    return query.correlate(_ENTITY).scalar_subquery()


class JudgedMachine(NamedTuple):
    """The state of a machine, its beginning, and the time of its next evaluation (epoch ms)."""

    guid: str
    state: str
    since: int
    due: int | None


def write(sql: sa.Connection, judged: Sequence[JudgedMachine]) -> None:
    """Write the states of machines that were evaluated in this transaction."""
    if judged:
        _WRITE.many(sql, [item._asdict() for item in judged])


def judge_anew(sql: sa.Connection, machines: Sequence[str]) -> None:
    """Make the protection of at most 500 machines due for evaluation."""
    here = sa.update(_ENTITY).where(_ENTITY.c.guid.in_(machines))
    sql.execute(here.values(protection_due=0))


def judge_late(sql: sa.Connection) -> None:
    """Make all late machines due, because the clock that made them late was set back."""
    here = sa.update(_ENTITY).where(_ENTITY.c.protection == "LATE")
    sql.execute(here.values(protection_due=0))


def counts(sql: sa.Connection, scope: Scope) -> dict[str, int]:
    """The numbers of machines by state; an absent machine without a policy does not count."""
    state = _ENTITY.c.protection
    query = sa.select(state, sa.func.count()).where(*counted(scope)).group_by(state)
    return {row[0]: int(row[1]) for row in sql.execute(query)}


def page(sql: sa.Connection, wanted: ListQuery) -> tuple[list[Entity], int]:
    """A page of the counted machines by name, and the number of all; `statuses` are states."""
    column = _ENTITY.c
    where = counted(wanted.scope)
    where += [column.protection.in_(wanted.statuses)] if wanted.statuses else []
    where += [column.backup_policy == wanted.policy] if wanted.policy else []
    where += [column.name.icontains(wanted.text, autoescape=True)] if wanted.text else []
    query = sa.select(_ENTITY).where(*where).order_by(column.name, column.guid)
    query = query.limit(wanted.size).offset(wanted.page * wanted.size)
    total = sql.scalar(sa.select(sa.func.count()).select_from(_ENTITY).where(*where)) or 0
    return records(sql, query, Entity), total


def counted(scope: Scope) -> list[sa.ColumnElement[bool]]:
    """The condition of the counted machines, within the caller's projects."""
    column = _ENTITY.c
    where = [sa.or_(column.present, column.protection != _UNASSIGNED), column.guid != OWN_ENTITY]
    return where if scope.listed is None else [*where, column.project.in_(scope.listed)]


def last_snapshots(sql: sa.Connection, entities: Sequence[str]) -> dict[str, Named]:
    """The newest snapshot of each of these machines on its platform."""
    table, found = tables.snapshot.c, dict[str, Named]()
    for at in range(0, len(entities), _MANY):
        query = sa.select(table.entity, table.guid, table.uuid)
        query = query.where(table.entity.in_(entities[at : at + _MANY]))
        for row in sql.execute(query.order_by(table.snapshot_time, table.guid)):
            found[row.entity] = Named(row.guid, row.uuid)
    return found
