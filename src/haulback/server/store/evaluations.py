"""Evaluations of machines in bounded pieces, which continue with the next piece after a restart."""

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
PIECE = 500  # machines that one transaction evaluates


class EvaluationKind(Enum):
    """Kinds of evaluations; the comment of each kind names its subject."""

    HOST = "HOST"  # hypervisor: policies take and lose its machines
    POLICY = "POLICY"  # policy: the policy takes and loses machines of all hosts
    MEMBERS = "MEMBERS"  # backup policy: the protection of its machines changes


class Evaluation(NamedTuple):
    """An evaluation: the guid of the last evaluated machine, and the number of the request."""

    kind: EvaluationKind
    subject: str
    since: int
    cursor: str
    asked: int


def request(sql: sa.Connection, kind: EvaluationKind, subject: str, since: int = 0) -> None:
    """Request an evaluation of machines seen since `since` (epoch ms).

    An evaluation that is under way starts again.
    """
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    row = {"kind": kind.value, "subject": subject, "since": since, "cursor": "", "asked": 1}
    new, old = insert(_walk).values(row), _walk.c
    earlier = sa.case((old.since < since, old.since), else_=since)
    again = {"since": earlier, "cursor": "", "asked": old.asked + 1}
    sql.execute(new.on_conflict_do_update(index_elements=["kind", "subject"], set_=again))


def next_evaluation(sql: sa.Connection, kinds: Collection[EvaluationKind]) -> Evaluation | None:
    """An evaluation of some kinds that no other server works on, locked; None without a request."""
    query = sa.select(_walk).where(_walk.c.kind.in_([kind.value for kind in kinds]))
    query = query.order_by(_walk.c.kind, _walk.c.subject).limit(1)
    row = sql.execute(query.with_for_update(skip_locked=True)).one_or_none()
    return _read(row) if row else None


def of_subject(sql: sa.Connection, kind: EvaluationKind, subject: str) -> Evaluation | None:
    """The evaluation of a kind and a subject, locked; None once it has ended."""
    query = sa.select(_walk).where(_walk.c.kind == kind.value, _walk.c.subject == subject)
    row = sql.execute(query.with_for_update()).one_or_none()
    return _read(row) if row else None


def is_assigning(sql: sa.Connection) -> bool:
    """Whether an evaluation that assigns policies is requested."""
    row = _ASSIGNING.row(sql)
    return bool(row and row[0])


def next_machines(sql: sa.Connection, evaluation: Evaluation) -> list[Entity]:
    """The next machines of an evaluation, at most PIECE, in the order of their guids."""
    table = tables.entity.c
    query = sa.select(tables.entity).where(table.guid > evaluation.cursor, table.guid != OWN_ENTITY)
    if evaluation.kind is EvaluationKind.HOST:
        query = query.where(table.hypervisor == evaluation.subject)
    if evaluation.kind is EvaluationKind.MEMBERS:
        query = query.where(table.backup_policy == evaluation.subject)
    if evaluation.since:
        query = query.where(table.seen >= evaluation.since)
    return records(sql, query.order_by(table.guid).limit(PIECE), Entity)


def advance(sql: sa.Connection, evaluation: Evaluation, machines: Sequence[Entity]) -> bool:
    """Record the evaluated machines; a piece that is not full ends the evaluation.

    Returns whether the evaluation has ended.  An evaluation that was requested again meanwhile
    starts from the beginning.
    """
    here = [_walk.c.kind == evaluation.kind.value, _walk.c.subject == evaluation.subject]
    here.append(_walk.c.asked == evaluation.asked)
    if len(machines) < PIECE:
        return sql.execute(sa.delete(_walk).where(*here)).rowcount > 0
    sql.execute(sa.update(_walk).where(*here).values(cursor=machines[-1].guid))
    return False


def _read(row: sa.Row[tuple[object, ...]]) -> Evaluation:
    return Evaluation(EvaluationKind(row.kind), row.subject, row.since, row.cursor, row.asked)
