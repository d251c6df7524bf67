"""Figures for a first look: what is protected, what was done, how full it is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from haulback.inventory.records import Destination
from haulback.inventory.requests import ProtectedEntities
from haulback.inventory.shapes import (
    BackupStats,
    DestinationSpace,
    DestinationStats,
    Protection,
    SizeStats,
    StagingSpace,
)
from haulback.server.http import lists, queries
from haulback.server.http.operation import Call, Room
from haulback.server.scope import Scope
from haulback.server.store import nodes, shelves, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.units import size
from haulback.wire import Named

_DAY_MS = 86_400_000
room = Room()


@room("GET", "/dashboard/protection", "What is protected.", answer=dict[str, Protection])
def protection(call: Call) -> dict[str, Protection]:
    """How many present machines have a backup; `vm` is all there is."""
    table = tables.entity
    where = [table.c.present, *_scoped(table.c.project, call.who.scope)]
    with call.app.store.read() as sql:
        backed = sa.case((table.c.facts != "{}", 1), else_=0)
        planned = sa.case((table.c.settings.contains("backupPolicy"), 1), else_=0)
        query = sa.select(sa.func.count(), sa.func.sum(backed), sa.func.sum(planned)).where(*where)
        total, done, scheduled = (int(n or 0) for n in sql.execute(query).one())
    return {"vm": Protection(done, total - done, total - scheduled)}


@room("GET", "/dashboard/backup-stats", "The last day's backups.", answer=BackupStats,
      query=lists.SPAN)  # fmt: skip
def backup_stats(call: Call) -> BackupStats:
    """Backups of the last day, or of `from` to `to`."""
    table = tables.backup
    start = queries.number(call, "from", 1 << 53)
    end = queries.number(call, "to", 1 << 53)
    start = call.app.clock.now_ms() - _DAY_MS if start is None else start
    where = [table.c.created >= start, *_scoped(table.c.project, call.who.scope)]
    where += [table.c.created <= end] if end is not None else []
    query = sa.select(table.c.status, sa.func.count(), sa.func.sum(table.c.stored))
    with call.app.store.read() as sql:
        rows = sql.execute(query.where(*where).group_by(table.c.status)).all()
    counts = {row[0]: int(row[1]) for row in rows}
    stored = sum(int(row[2] or 0) for row in rows)
    good = counts.get("SUCCESS", 0) + counts.get("SUCCESS_REMOVED", 0)
    bad = counts.get("FAILED", 0) + counts.get("PARTIAL_SUCCESS", 0)
    under_way, queued = counts.get("INPROGRESS", 0), counts.get("QUEUED", 0)
    return BackupStats(good, bad, under_way, queued, size(stored))


@room("GET", "/dashboard/staging-space", "Staging areas.", answer=StagingSpace, many=True)
def staging_space(call: Call) -> list[StagingSpace]:
    """How full the nodes' staging areas are."""
    with call.app.store.read() as sql:
        found = nodes.nodes(sql)
    return [
        StagingSpace(
            Named(one.guid, one.name),
            one.staging_total,
            one.staging_total - one.staging_used,
            one.staging_used,
        )
        for one in found
    ]


@room("GET", "/dashboard/backup-destination-stats", "Destinations.", answer=DestinationStats)
def destination_stats(call: Call) -> DestinationStats:
    """How full the destinations are, as nodes last saw them."""
    with call.app.store.read() as sql:
        found = shelves.places(sql, Destination)
    shown = [
        DestinationSpace(
            guid=one.guid,
            name=one.name,
            totalUsedSpace=one.used_space or 0,
            totalAvailableSpace=(one.total_space or 0) - (one.used_space or 0),
        )
        for one in found
    ]
    return DestinationStats(
        totalUsedSpace=sum(one.totalUsedSpace for one in shown),
        totalAvailableSpace=sum(one.totalAvailableSpace for one in shown),
        backupDestinations=shown,
    )


@room("GET", "/dashboard/vm-backup-size-stats", "Bytes by day.", answer=SizeStats,
      query=lists.SPAN)  # fmt: skip
def size_stats(call: Call) -> SizeStats:
    """What was backed up and restored in the last month, by day."""
    now = call.app.clock.now_ms()
    start = queries.number(call, "from", 1 << 53)
    start = now - 30 * _DAY_MS if start is None else start
    with call.app.store.read() as sql:
        backed = _by_day(sql, tables.backup, "SUCCESS", start, call.who.scope)
        restored = _by_day(sql, tables.restore_job, "SUCCESS", start, call.who.scope)
    return SizeStats(backupSizeStatsResponses=backed, restoreSizeStatsResponses=restored)


def _by_day(
    sql: sa.Connection, table: sa.Table, status: str, start: int, scope: Scope
) -> dict[str, int]:
    day = sa.cast(table.c.created, sa.BigInteger) - table.c.created % _DAY_MS
    where = [table.c.created >= start, table.c.status == status, *_scoped(table.c.project, scope)]
    query = sa.select(day, sa.func.sum(table.c.size)).where(*where).group_by(day).order_by(day)
    return {str(row[0]): int(row[1]) for row in sql.execute(query)}


@room("GET", "/global-settings", "Settings of the whole server.", answer=dict[str, Any])
def global_settings(call: Call) -> dict[str, Any]:
    """What portals ask of the whole server."""
    return {"leaseMs": call.app.lease_ms, "timeZone": "UTC"}


@room("POST", "/policies/vm-backup/list-by-entities", "Policies of machines.",
      request=ProtectedEntities, answer=dict[str, Any], many=True)  # fmt: skip
def policies_of(call: Call) -> list[dict[str, Any]]:
    """The backup policies of machines, each once, with their rules."""
    wanted: ProtectedEntities = call.read(ProtectedEntities)
    with call.app.store.read() as sql:
        known = SqlCatalogue(sql, call.who.scope)
        machines = known.entities_of([ref.guid for ref in wanted.protectedEntities])
        guids = dict.fromkeys(one.settings.get("backupPolicy") for one in machines)
        found = [known.record("vm-backup", guid) for guid in guids if guid]
        return [
            {
                "guid": one.guid,
                "name": one.name,
                "rules": [
                    {"guid": rule.guid, "name": rule.name, "markedForDeletion": False}
                    for rule in known.records("rule", one.guid)
                ],
            }
            for one in found
        ]


def _scoped(column: sa.Column[Any], scope: Scope) -> list[Any]:
    return [] if scope.listed is None else [column.in_(scope.listed)]
