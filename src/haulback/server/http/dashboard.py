"""Figures for a first look: what is protected, what was done, how full it is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from haulback.contract import example_values as example
from haulback.contract.dashboard import (
    BackupStats,
    DestinationSpace,
    DestinationStats,
    Protection,
    SizeStats,
    StagingSpace,
)
from haulback.contract.policies import ProtectedEntities
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import PEOPLE
from haulback.errors import NotFound
from haulback.inventory.records import BackupDestination, Record
from haulback.server.http import paging, query_params
from haulback.server.http.configuration import shown_record
from haulback.server.http.operation import ApiRequest, Router
from haulback.server.http.policy_views import Surroundings
from haulback.server.scope import Scope
from haulback.server.store import lists, nodes, protection, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.units import size
from haulback.wire import Named

_DAY_MS = 86_400_000
_CHARTED = 15  # days of the chart of portals, which put values to days by their order
_MOST_DAYS = 3660
room = Router()


@room(
    "GET",
    "/dashboard/protection",
    "What is protected.",
    answer=dict[str, Protection],
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="dashboard",
)
def protected(call: ApiRequest) -> dict[str, Protection]:
    """How present machines stand: each counts once; `vm` is all there is."""
    table = tables.entity.c
    where = [table.present, *_scoped(table.project, call.who.scope)]
    with call.app.store.read() as sql:
        words = protection.standing(sql, call.app.clock.now_ms())
        words = sa.case((sa.and_(words == "", table.facts != "{}"), "BACKED_UP"), else_=words)
        query = sa.select(words, sa.func.count()).where(*where).group_by(words)
        counts = {row[0]: int(row[1]) for row in sql.execute(query)}
    good = counts.get("SCHEDULED_FRESH", 0) + counts.get("BACKED_UP", 0)
    return {"vm": Protection(good, counts.get("SCHEDULED_STALE", 0), counts.get("", 0))}


@room(
    "GET",
    "/dashboard/backup-stats",
    "The last day's backups.",
    answer=BackupStats,
    query=paging.SPAN,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="dashboard",
)
def backup_stats(call: ApiRequest) -> BackupStats:
    """Backups of the last day, or of `from` to `to`."""
    table = tables.backup
    start = query_params.number(call, "from", 1 << 53)
    end = query_params.number(call, "to", 1 << 53)
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


@room(
    "GET",
    "/dashboard/staging-space",
    "Staging areas.",
    answer=StagingSpace,
    many=True,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="dashboard",
)
def staging_space(call: ApiRequest) -> list[StagingSpace]:
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


@room(
    "GET",
    "/dashboard/backup-destination-stats",
    "Destinations.",
    answer=DestinationStats,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="dashboard",
)
def destination_stats(call: ApiRequest) -> DestinationStats:
    """How full the destinations are: what their backups take, of what they could take."""
    table = tables.backup.c
    query = sa.select(table.destination, sa.func.sum(table.stored)).where(
        ~table.gone, *_scoped(table.project, call.who.scope)
    )
    with call.app.store.read() as sql:
        found = lists.places(sql, BackupDestination)
        stored = {
            row[0]: int(row[1] or 0) for row in sql.execute(query.group_by(table.destination))
        }
    shown = [_space(one, stored.get(one.guid, 0)) for one in found]
    return DestinationStats(
        totalUsedSpace=sum(one.totalUsedSpace for one in shown),
        totalAvailableSpace=sum(one.totalAvailableSpace for one in shown),
        backupDestinations=shown,
    )


def _space(one: BackupDestination, stored: int) -> DestinationSpace:
    """The space of a repository, told apart from that of the disk below it."""
    total, taken = one.total_space, one.used_space
    known = total is not None and taken is not None
    used = min(stored, taken) if known and taken is not None else stored
    free = max(0, total - taken) if total is not None and taken is not None else 0
    return DestinationSpace(
        guid=one.guid,
        name=one.name,
        totalUsedSpace=used,
        totalAvailableSpace=used + free,
        diskTotalSpace=total,
        diskUsedSpace=taken,
    )


@room(
    "GET",
    "/dashboard/vm-backup-size-stats",
    "Bytes by day.",
    answer=SizeStats,
    query=paging.SPAN,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="dashboard -o json",
)
def size_stats(call: ApiRequest) -> SizeStats:
    """Bytes backed up and restored, by day: of `from` to `to`, else of the last 15 days."""
    now = call.app.clock.now_ms()
    end, start = (
        query_params.number(call, "to", 1 << 53),
        query_params.number(call, "from", 1 << 53),
    )
    end = now if end is None else min(end, now)
    start = end - (_CHARTED - 1) * _DAY_MS if start is None else start
    span = range(max(start, end - _MOST_DAYS * _DAY_MS), end + 1)
    with call.app.store.read() as sql:
        backed = _by_day(sql, tables.backup, lists.held(), span, call.who.scope)
        restored = _by_day(sql, tables.restore_job, None, span, call.who.scope)
    return SizeStats(backupSizeStatsResponses=backed, restoreSizeStatsResponses=restored)


def _by_day(
    sql: sa.Connection, table: sa.Table, size: Any, span: range, scope: Scope
) -> dict[str, int]:
    """Bytes of the successes within a span of epoch ms, zero for a day without any."""
    day = sa.cast(table.c.created, sa.BigInteger) - table.c.created % _DAY_MS
    first, last = (moment - moment % _DAY_MS for moment in (span.start, span.stop - 1))
    where = [table.c.created >= first, table.c.created < span.stop, table.c.status == "SUCCESS"]
    where += _scoped(table.c.project, scope)
    query = sa.select(day, sa.func.sum(table.c.size if size is None else size)).where(*where)
    found = {int(row[0]): int(row[1]) for row in sql.execute(query.group_by(day))}
    return {str(one): found.get(one, 0) for one in range(first, last + 1, _DAY_MS)}


@room(
    "GET",
    "/global-settings",
    "Settings of the whole server.",
    answer=dict[str, Any],
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
)
def global_settings(call: ApiRequest) -> dict[str, Any]:
    """What portals ask of the whole server."""
    return {"leaseMs": call.app.lease_ms, "timeZone": "UTC"}


@room(
    "POST",
    "/policies/vm-backup/list-by-entities",
    "Policies of machines.",
    request=ProtectedEntities,
    answer=dict[str, Any],
    many=True,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    examples=[{"protectedEntities": [example.REF]}],
    command="machine policies MACHINE",
)
def policies_of(call: ApiRequest) -> list[dict[str, Any]]:
    """The backup policies of machines, each once, with their rules."""
    wanted: ProtectedEntities = call.read(ProtectedEntities)
    with call.app.store.read() as sql:
        known = SqlCatalogue(sql, call.who.scope)
        machines = known.machines.get_many([ref.guid for ref in wanted.protectedEntities])
        guids = dict.fromkeys(one.settings.get("backupPolicy") for one in machines)
        found = [one for guid in guids if guid and (one := _policy(known, guid))]
        around = Surroundings(sql, call.who.scope)
        return [shown_record(one, around) for one in found]


def _policy(known: SqlCatalogue, guid: str) -> Record | None:
    """A policy; None for one that is gone or of another project: its machine has none then."""
    try:
        return known.records.get("vm-backup", guid)
    except NotFound:
        return None


def _scoped(column: sa.Column[Any], scope: Scope) -> list[Any]:
    return [] if scope.listed is None else [column.in_(scope.listed)]
