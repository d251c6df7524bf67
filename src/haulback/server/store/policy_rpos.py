"""The RPO of each backup policy (table `promise`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.inventory.records import Record
from haulback.server.store import rows, tables
from haulback.server.store.policy_tables import promise as table

_RECORD = tables.record
_MANY = 100  # policies in one transaction


class PolicyRpo(NamedTuple):
    """The RPO of a policy in ms, None without a limit, and whether the policy is active."""

    active: bool
    rpo: int | None


def touch(sql: sa.Connection, record: Record, before: Record | None = None) -> None:
    """Make the rows of policies that depend on a changed record due."""
    touched = {*_policies(sql, record), *(_policies(sql, before) if before else ())}
    _recheck(sql, touched)


def before_change(sql: sa.Connection, guid: str) -> Record | None:
    """A stored record, if an RPO depends on records of its kind."""
    query = sa.select(_RECORD).where(_RECORD.c.guid == guid)
    query = query.where(_RECORD.c.kind.in_(("vm-backup", "rule", "schedule")))
    return next(iter(rows.records(sql, query, Record)), None)


def _policies(sql: sa.Connection, record: Record) -> Iterable[str]:
    """The backup policies that a record belongs to."""
    if record.kind == "vm-backup":
        return [record.guid]
    if record.kind == "rule":
        return [record.parent]
    if record.kind != "schedule":
        return []
    named = [ref["guid"] for ref in record.body.get("rules", ())]
    query = sa.select(_RECORD.c.parent).where(_RECORD.c.kind == "rule", _RECORD.c.guid.in_(named))
    return list(sql.scalars(query))


def _recheck(sql: sa.Connection, policies: Iterable[str]) -> None:
    insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
    new = [{"policy": guid, "active": False, "recheck": 0} for guid in sorted(policies)]
    if new:
        statement = insert(table).on_conflict_do_update(
            index_elements=["policy"], set_={"recheck": 0}
        )
        sql.execute(statement, new)


def due(sql: sa.Connection, now: int) -> dict[str, PolicyRpo]:
    """Some due rows by policy, locked; rows that another server computes are skipped."""
    query = sa.select(table).where(table.c.recheck <= now).order_by(table.c.recheck).limit(_MANY)
    found = sql.execute(query.with_for_update(skip_locked=True))
    return {row.policy: PolicyRpo(row.active, row.rpo) for row in found}


def write(sql: sa.Connection, policy: str, promise: PolicyRpo, recheck: int) -> None:
    """Write a row that was locked in this transaction."""
    here = sa.update(table).where(table.c.policy == policy)
    sql.execute(here.values(active=promise.active, rpo=promise.rpo, recheck=recheck))


def forget(sql: sa.Connection, policy: str) -> None:
    """Delete the row of a policy that was removed."""
    sql.execute(sa.delete(table).where(table.c.policy == policy))


def active(sql: sa.Connection, policies: Iterable[str] | None = None) -> dict[str, int | None]:
    """The RPO of the active policies, among some or all, by policy."""
    query = sa.select(table.c.policy, table.c.rpo).where(table.c.active)
    query = query if policies is None else query.where(table.c.policy.in_(list(policies)))
    return {row.policy: row.rpo for row in sql.execute(query)}


def rpo(sql: sa.Connection, policy: str) -> int | None:
    """The RPO of a policy, even of an inactive one; None without a limit."""
    found: int | None = sql.scalar(sa.select(table.c.rpo).where(table.c.policy == policy))
    return found
