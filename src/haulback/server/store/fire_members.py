"""Machines for which a fire plans, in pieces, and the pending plans of a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from haulback.server.store import tables
from haulback.server.store.raw_sql import Statement
from haulback.server.store.tables import task

_COLUMNS = {"backupPolicy": "backup_policy", "snapshotPolicy": "snapshot_policy"}
_MEMBERS = {
    setting: Statement(
        f"SELECT guid, name, project, present FROM entity WHERE {column} = :policy "
        "AND guid > :after ORDER BY guid LIMIT :most"
    )
    for setting, column in _COLUMNS.items()
}
_LIVE = sa.text("task.state IN ('QUEUED', 'RUNNING', 'PLANNED')")


class FireMember(NamedTuple):
    """A machine of a policy, with the facts that decide about its plan."""

    guid: str
    name: str
    project: str | None
    present: bool


def piece(sql: sa.Connection, setting: str, policy: str, after: str, most: int) -> list[FireMember]:
    """The next machines of a policy by guid; `setting` is the setting that names the policy."""
    rows = _MEMBERS[setting].rows(sql, policy=policy, after=after, most=most)
    return [FireMember(row[0], row[1], row[2], bool(row[3])) for row in rows]


def hold_rule(sql: sa.Connection, rule: str) -> None:
    """Lock a rule until the transaction ends, because two fires of a rule must see each other's
    plans.
    """
    query = sa.select(tables.record.c.guid).where(tables.record.c.guid == rule)
    sql.execute(query.with_for_update(key_share=True))


def pending(sql: sa.Connection, rule: str, entities: Sequence[str]) -> dict[str, str]:
    """Machines, among some, that have a waiting or running task of the rule, each with its task.

    A copy that waits for a second destination must not keep a machine from its next backup.
    """
    query = sa.select(task.c.entity, task.c.guid, task.c.refs).where(
        _LIVE, task.c.entity.in_(entities), task.c.type != "BACKUP_DESTINATION_SYNC"
    )
    busy: dict[str, str] = {}
    for row in sql.execute(query.order_by(task.c.created.desc())):
        of_rule = msgspec.json.decode(row.refs).get("rule", {})
        if of_rule.get("guid") == rule:
            busy[row.entity] = row.guid
    return busy


def pending_of(sql: sa.Connection, schedule: str, kind: str) -> str | None:
    """A waiting or running task of one type that a schedule made."""
    where = (_LIVE, task.c.schedule == schedule, task.c.type == kind)
    found: str | None = sql.scalar(sa.select(task.c.guid).where(*where).limit(1))
    return found


def scanned(sql: sa.Connection) -> set[str]:
    """The hypervisors with a waiting or running scan."""
    query = sa.select(task.c.hypervisor).where(_LIVE, task.c.type == "INVENTORY_SYNC")
    return set(sql.scalars(query.distinct()))


def unstarted(sql: sa.Connection, run: str, most: int) -> list[str]:
    """Some waiting tasks of a run that no node has started."""
    waiting = (sa.text("run <> ''"), sa.text("state = 'QUEUED'"), task.c.attempt == 0)
    query = sa.select(task.c.guid).where(task.c.run == run, *waiting)
    return list(sql.scalars(query.order_by(task.c.guid).limit(most)))


def has_started(sql: sa.Connection, runs: Sequence[str]) -> bool:
    """Whether a node has started a task of these runs."""
    where = (task.c.run.in_(runs), sa.text("run <> ''"), task.c.attempt > 0)
    return sql.scalar(sa.select(task.c.guid).where(*where).limit(1)) is not None
