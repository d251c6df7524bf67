"""Settings of machines, written independently of inventory scans."""

from __future__ import annotations

import sqlalchemy as sa

from haulback.inventory.records import Entity
from haulback.server.store import tables
from haulback.server.store.rows import json_text, records, row_of
from haulback.wire import JsonMapping

_ENTITY = tables.entity


def write_settings(sql: sa.Connection, machine: Entity) -> None:
    """Write settings and project only: a scan may change other columns at the same time."""
    row = row_of(machine, _ENTITY)
    values = {name: row[name] for name in ("settings", "project")}
    sql.execute(sa.update(_ENTITY).where(_ENTITY.c.guid == machine.guid).values(values))


def set_settings(sql: sa.Connection, guid: str, settings: JsonMapping) -> None:
    """Write the settings of a machine alone."""
    here = sa.update(_ENTITY).where(_ENTITY.c.guid == guid)
    sql.execute(here.values(settings=json_text(settings)))


def with_setting(sql: sa.Connection, name: str) -> list[Entity]:
    """Machines whose settings may hold a member, by name."""
    column = _ENTITY.c
    query = sa.select(_ENTITY).where(column.settings.contains(f'"{name}"'))
    return records(sql, query.order_by(column.name, column.guid), Entity)


def is_known(sql: sa.Connection, guid: str) -> bool:
    """Tell whether a machine has a record."""
    return sql.scalar(sa.select(_ENTITY.c.guid).where(_ENTITY.c.guid == guid)) is not None
