"""Protection of machines, by the schedules of their policies and the age of their backups."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from haulback.server.store import tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.expressions import number_in
from haulback.wire import Named

RPO_MS = 86_400_000  # largest age of an up-to-date backup
_MANY = 500


def scheduled_policies(sql: sa.Connection) -> frozenset[str]:
    """The guids of the backup policies with an active rule and an active schedule of the rule."""
    known = SqlCatalogue(sql)
    fired = {
        ref["guid"]
        for item in known.records.of_kind("schedule")
        if item.body.get("active", True) and item.body.get("type", "VM_BACKUP") == "VM_BACKUP"
        for ref in item.body.get("rules", [])
    }
    if not fired:
        return frozenset()
    active = {
        record.guid
        for record in known.records.of_kind("vm-backup")
        if record.body.get("active", True)
    }
    rules = [record for record in known.records.of_kind("rule") if record.body.get("active", True)]
    return frozenset(rule.parent for rule in rules if rule.guid in fired and rule.parent in active)


def last_snapshots(sql: sa.Connection, entities: Sequence[str]) -> dict[str, Named]:
    """The newest snapshot that each of these machines keeps on its platform."""
    table, found = tables.snapshot.c, dict[str, Named]()
    for at in range(0, len(entities), _MANY):
        query = sa.select(table.entity, table.guid, table.uuid)
        query = query.where(table.entity.in_(entities[at : at + _MANY]))
        for row in sql.execute(query.order_by(table.snapshot_time, table.guid)):
            found[row.entity] = Named(row.guid, row.uuid)
    return found


def standing(sql: sa.Connection, now: int) -> sa.ColumnElement[str]:
    """Protection of a machine: SCHEDULED_FRESH, SCHEDULED_STALE, or "" without a schedule."""
    column = tables.entity.c
    scheduled = column.backup_policy.in_(sorted(scheduled_policies(sql)))
    fresh = number_in(sql, column.facts, "lastBackup") >= now - RPO_MS
    return sa.case(
        (sa.and_(scheduled, fresh), "SCHEDULED_FRESH"), (scheduled, "SCHEDULED_STALE"), else_=""
    )
