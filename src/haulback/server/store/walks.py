"""Walks over machines in bounded pieces; after a restart a walk continues with the next piece."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.inventory.own_server import OWN_ENTITY
from haulback.inventory.records import Entity
from haulback.server.store import tables
from haulback.server.store.policy_tables import walk as _walk
from haulback.server.store.raw_sql import Statement
from haulback.server.store.rows import records

_ASSIGNING = Statement("SELECT EXISTS (SELECT 1 FROM walk WHERE kind IN ('HOST', 'POLICY'))")
PIECE = 500  # machines that one transaction judges


class WalkKind(Enum):
    """Kinds of walks; the comment of each kind names its subject."""

    HOST = "HOST"  # hypervisor: policies take and lose its machines
    POLICY = "POLICY"  # policy: it takes and loses machines of all hosts
    MEMBERS = "MEMBERS"  # backup policy: the protection of its machines is judged again


class Walk(NamedTuple):
    """A walk: the guid of the last evaluated machine, and the number of the request."""

    kind: WalkKind
    subject: str
    since: int
    cursor: str
    asked: int


def ask(sql: sa.Connection, kind: WalkKind, subject: str, since: int = 0) -> None:
    """Request a walk over machines seen since `since` (epoch ms); a present walk starts again."""
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    row = {"kind": kind.value, "subject": subject, "since": since, "cursor": "", "asked": 1}
    new, old = insert(_walk).values(row), _walk.c
    earlier = sa.case((old.since < since, old.since), else_=since)
    again = {"since": earlier, "cursor": "", "asked": old.asked + 1}
    sql.execute(new.on_conflict_do_update(index_elements=["kind", "subject"], set_=again))


def next_walk(sql: sa.Connection, kinds: Collection[WalkKind]) -> Walk | None:
    """A walk of some kinds that no other server works on, locked; None without a request."""
    query = sa.select(_walk).where(_walk.c.kind.in_([kind.value for kind in kinds]))
    query = query.order_by(_walk.c.kind, _walk.c.subject).limit(1)
    row = sql.execute(query.with_for_update(skip_locked=True)).one_or_none()
    return _read(row) if row else None


def the_walk(sql: sa.Connection, kind: WalkKind, subject: str) -> Walk | None:
    """The walk of a kind and a subject, locked; None once the walk has ended."""
    query = sa.select(_walk).where(_walk.c.kind == kind.value, _walk.c.subject == subject)
    row = sql.execute(query.with_for_update()).one_or_none()
    return _read(row) if row else None


def is_assigning(sql: sa.Connection) -> bool:
    """Whether a walk that assigns policies is requested."""
    row = _ASSIGNING.row(sql)
    return bool(row and row[0])


def piece(sql: sa.Connection, walk: Walk) -> list[Entity]:
    """The next machines of a walk, at most PIECE, in the order of their guids."""
    table = tables.entity.c
    query = sa.select(tables.entity).where(table.guid > walk.cursor, table.guid != OWN_ENTITY)
    if walk.kind is WalkKind.HOST:
        query = query.where(table.hypervisor == walk.subject)
    if walk.kind is WalkKind.MEMBERS:
        query = query.where(table.backup_policy == walk.subject)
    if walk.since:
        query = query.where(table.seen >= walk.since)
    return records(sql, query.order_by(table.guid).limit(PIECE), Entity)


def moved(sql: sa.Connection, walk: Walk, judged: Sequence[Entity]) -> bool:
    """Record the evaluated machines; a piece that is not full ends the walk.

    Returns whether the walk has ended.  A walk that was requested again meanwhile starts from the
    beginning.
    """
    here = [_walk.c.kind == walk.kind.value, _walk.c.subject == walk.subject]
    here.append(_walk.c.asked == walk.asked)
    if len(judged) < PIECE:
        return sql.execute(sa.delete(_walk).where(*here)).rowcount > 0
    sql.execute(sa.update(_walk).where(*here).values(cursor=judged[-1].guid))
    return False


def _read(row: sa.Row[tuple[object, ...]]) -> Walk:
    return Walk(WalkKind(row.kind), row.subject, row.since, row.cursor, row.asked)
