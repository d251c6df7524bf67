"""Settings of machines, written independently of inventory scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from haulback.inventory.records import Entity
from haulback.server.store import expressions, tables
from haulback.server.store.raw_sql import Statement
from haulback.server.store.rows import json_text, records, row_of
from haulback.wire import JsonMapping, JsonObject

_ENTITY = tables.entity
# Columns that repeat members of the settings for an index; they are written with the settings only.
POLICIES: Mapping[str, sa.Column[str]] = {
    "backupPolicy": _ENTITY.c.backup_policy,
    "snapshotPolicy": _ENTITY.c.snapshot_policy,
}


_SET = Statement(
    "UPDATE entity SET settings = :settings, backup_policy = :backup_policy, snapshot_policy = "
    ":snapshot_policy, protection_due = :protection_due WHERE guid = :guid"
)


def policy_columns(settings: JsonMapping) -> JsonObject:
    """The columns of the policies in the settings; the protection becomes due for evaluation."""
    columns = {column.name: settings.get(member) for member, column in POLICIES.items()}
    return {**columns, "protection_due": 0}


def write_settings(sql: sa.Connection, machine: Entity) -> None:
    """Write settings and project only, because a scan may change other columns at the same time."""
    row = row_of(machine, _ENTITY)
    values = {name: row[name] for name in ("settings", "project")}
    values |= policy_columns(machine.settings)
    sql.execute(sa.update(_ENTITY).where(_ENTITY.c.guid == machine.guid).values(values))


def set_settings(sql: sa.Connection, guid: str, settings: JsonMapping) -> None:
    """Write only the settings of a machine."""
    here = sa.update(_ENTITY).where(_ENTITY.c.guid == guid)
    sql.execute(here.values(settings=json_text(settings), **policy_columns(settings)))


def unchanged(sql: sa.Connection, machines: Sequence[Entity]) -> list[Entity]:
    """Machines, among at most 500, whose settings are unchanged since their read; locked."""
    column = _ENTITY.c
    query = sa.select(column.guid, column.settings)
    query = query.where(column.guid.in_([machine.guid for machine in machines]))
    decode = msgspec.json.decode
    stored = {row.guid: decode(row.settings) for row in sql.execute(query.with_for_update())}
    return [machine for machine in machines if stored.get(machine.guid) == machine.settings]


def set_many(sql: sa.Connection, changes: Mapping[str, JsonMapping]) -> None:
    """Write the settings of machines, by guid, in one statement."""
    rows = [
        {"guid": guid, "settings": json_text(settings), **policy_columns(settings)}
        for guid, settings in changes.items()
    ]
    if rows:
        _SET.many(sql, rows)


class Member(NamedTuple):
    """A machine of a policy; `size` of its last good backup in bytes, None without a backup."""

    guid: str
    name: str
    project: str | None
    size: int | None


def members(sql: sa.Connection, setting: str, policy: str) -> list[Member]:
    """The machines of a policy ordered by name; `setting` is the member that names the policy."""
    column = _ENTITY.c
    size = expressions.number_in(sql, column.facts, "lastSuccessfulBackupSize")
    query = sa.select(column.guid, column.name, column.project, size.label("size"))
    query = query.where(POLICIES[setting] == policy).order_by(column.name, column.guid)
    return [
        Member(row.guid, row.name, row.project, row.size if row.size >= 0 else None)
        for row in sql.execute(query)
    ]


def leave_policy(sql: sa.Connection, setting: str, policy: str) -> None:
    """Remove a policy from the settings of all its machines."""
    settings = expressions.without_member(sql, _ENTITY.c.settings, setting)
    here = sa.update(_ENTITY).where(POLICIES[setting] == policy)
    values = {POLICIES[setting]: None, _ENTITY.c.protection_due: 0}
    sql.execute(here.values({_ENTITY.c.settings: settings, **values}))


def of_policy(
    sql: sa.Connection, setting: str, policy: str, *, after: str = "", limit: int = 500
) -> list[Entity]:
    """Machines of a policy by guid, from the first guid later than `after`.

    `setting` is the member of the settings that names the policy.
    """
    column = _ENTITY.c
    query = sa.select(_ENTITY).where(POLICIES[setting] == policy, column.guid > after)
    return records(sql, query.order_by(column.guid).limit(limit), Entity)


def is_known(sql: sa.Connection, guid: str) -> bool:
    """Whether a machine has a record."""
    return sql.scalar(sa.select(_ENTITY.c.guid).where(_ENTITY.c.guid == guid)) is not None
