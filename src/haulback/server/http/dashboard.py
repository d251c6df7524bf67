"""Dashboard figures: protection, recent backups, used space."""

from __future__ import annotations

from haulback.contract import example_values as example
from haulback.contract.dashboard import (
    BackupStats,
    DestinationSpace,
    DestinationStats,
    Protection,
    SizeStats,
    StagingSpace,
)
from haulback.contract.order_records import BackupDestination
from haulback.contract.policies import ProtectedEntities
from haulback.contract.project_access import ProjectAccess
from haulback.contract.protection import ProtectionState
from haulback.contract.roles import PEOPLE
from haulback.errors import NotFound
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Record
from haulback.server.http import paging, query_params
from haulback.server.http.configuration import shown_record
from haulback.server.http.operation import ApiRequest, Router
from haulback.server.http.policy_views import PolicyReferences
from haulback.server.services import dashboard, nodes
from haulback.server.services.configuration import ConfigurationReading
from haulback.units import size
from haulback.wire import JsonObject, Named

_DAY_MS = 86_400_000
_CHARTED = 15  # days of the chart in portals, which map values to days by position
_MOST_DAYS = 3660  # ten years
router = Router()


@router(
    "GET",
    "/dashboard/protection",
    "Protection of machines.",
    answer=dict[str, Protection],
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="dashboard",
)
def protected(call: ApiRequest) -> dict[str, Protection]:
    """Machines by protection, each counted once; `vm` covers all machines."""
    counts, by_hand = dashboard.protection_figures(call.app, call.who)
    good = counts[ProtectionState.PROTECTED] + by_hand
    bad = (ProtectionState.LATE, ProtectionState.FAILING, ProtectionState.NEVER)
    bare = counts[ProtectionState.UNASSIGNED] - by_hand
    return {"vm": Protection(good, sum(counts[state] for state in bad), bare)}


@router(
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
    """Backups of the last day, or of the period from `from` to `to`."""
    start = query_params.number(call, "from", 1 << 53)
    end = query_params.number(call, "to", 1 << 53)
    start = call.app.clock.now_ms() - _DAY_MS if start is None else start
    result = dashboard.backups(call.app, call.who.scope, start, end)
    counts = {status: count.backups for status, count in result.items()}
    stored = sum(count.stored for count in result.values())
    good = counts.get("SUCCESS", 0) + counts.get("SUCCESS_REMOVED", 0)
    bad = counts.get("FAILED", 0) + counts.get("PARTIAL_SUCCESS", 0)
    under_way, queued = counts.get("INPROGRESS", 0), counts.get("QUEUED", 0)
    return BackupStats(good, bad, under_way, queued, size(stored))


@router(
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
    """Total and used bytes of the staging areas of nodes."""
    result = nodes.all_nodes(call.app)
    return [
        StagingSpace(
            Named(item.guid, item.name),
            item.staging_total,
            item.staging_total - item.staging_used,
            item.staging_used,
        )
        for item in result
    ]


@router(
    "GET",
    "/dashboard/backup-destination-stats",
    "Destinations.",
    answer=DestinationStats,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="dashboard",
)
def destination_stats(call: ApiRequest) -> DestinationStats:
    """Use of the destinations: bytes of their backups, and the bytes that they can hold."""
    used = dashboard.destinations(call.app, call.who.scope)
    shown = [_space(one.destination, one.stored) for one in used]
    return DestinationStats(
        totalUsedSpace=sum(one.totalUsedSpace for one in shown),
        totalAvailableSpace=sum(one.totalAvailableSpace for one in shown),
        backupDestinations=shown,
    )


def _space(destination: BackupDestination, stored: int) -> DestinationSpace:
    """The space of a repository, apart from the space of its disk."""
    total, taken = destination.total_space, destination.used_space
    known = total is not None and taken is not None
    used = min(stored, taken) if known and taken is not None else stored
    free = max(0, total - taken) if total is not None and taken is not None else 0
    return DestinationSpace(
        guid=destination.guid,
        name=destination.name,
        totalUsedSpace=used,
        totalAvailableSpace=used + free,
        diskTotalSpace=total,
        diskUsedSpace=taken,
    )


@router(
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
    """Bytes backed up and restored by day, from `from` to `to`, by default for the last 15 days."""
    now = call.app.clock.now_ms()
    end, start = (
        query_params.number(call, "to", 1 << 53),
        query_params.number(call, "from", 1 << 53),
    )
    end = now if end is None else min(end, now)
    start = end - (_CHARTED - 1) * _DAY_MS if start is None else start
    span = range(max(start, end - _MOST_DAYS * _DAY_MS), end + 1)
    sizes = dashboard.sizes(call.app, call.who.scope, span)
    return SizeStats(
        backupSizeStatsResponses=sizes.backed_up, restoreSizeStatsResponses=sizes.restored
    )


@router(
    "GET",
    "/global-settings",
    "Settings of the whole server.",
    answer=JsonObject,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
)
def global_settings(call: ApiRequest) -> JsonObject:
    """Settings of the whole server that portals read.

    `dryRuns` is true if this server supports `dryRun`, which earlier versions ignore.
    """
    return {"leaseMs": call.app.lease_ms, "timeZone": call.app.time_zone, "dryRuns": True}


@router(
    "POST",
    "/policies/vm-backup/list-by-entities",
    "Policies of machines.",
    request=ProtectedEntities,
    answer=JsonObject,
    many=True,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    examples=[{"protectedEntities": [example.REF]}],
    command="machine policies MACHINE",
)
def policies_of(call: ApiRequest) -> list[JsonObject]:
    """The backup policies of machines with their rules, each policy once."""
    wanted: ProtectedEntities = call.read(ProtectedEntities)
    with ConfigurationReading.of(call.app, call.who.scope) as reading:
        known = reading.catalogue
        machines = known.machines.get_many([ref.guid for ref in wanted.protectedEntities])
        guids = dict.fromkeys(machine.settings.get("backupPolicy") for machine in machines)
        found = [one for guid in guids if guid and (one := _policy(known, guid))]
        around = PolicyReferences(reading)
        return [shown_record(one, around) for one in found]


def _policy(known: Catalogue, guid: str) -> Record | None:
    """A policy; None for a deleted policy or a policy of another project."""
    try:
        return known.records.get("vm-backup", guid)
    except NotFound:
        return None
