"""Snapshots that stay on their platforms."""

from __future__ import annotations

from collections.abc import Set

from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import PEOPLE
from haulback.contract.snapshots import SnapshotRecord
from haulback.errors import NotFound
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import PlatformSnapshot
from haulback.server.http import paging, query_params
from haulback.server.http.operation import FLAG, ApiRequest, Param, Reply, Router
from haulback.server.services.snapshots import SnapshotReading
from haulback.wire import Named, label

router = Router()


@router(
    "GET",
    "/snapshots",
    "Snapshots.",
    answer=SnapshotRecord,
    many=True,
    query=(
        *paging.COMMON,
        *paging.SPAN,
        paging.ENTITY,
        Param("stand-alone", "Only snapshots without a policy.", FLAG),
    ),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="snapshot ls MACHINE",
)
def list_snapshots(call: ApiRequest) -> Reply:
    """A page of snapshots, the newest first."""
    alone = query_params.flag(call, "stand-alone")
    with SnapshotReading.of(call.app) as reading:
        found, total = reading.page(paging.wanted(call), alone)
        known = _Names(reading.catalogue, {snapshot.entity for snapshot in found})
        return paging.page(found, total, lambda one: _shown(one, known))


@router(
    "GET",
    "/snapshots/{guid}",
    "A snapshot.",
    answer=SnapshotRecord,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="snapshot show SNAPSHOT",
)
def one_snapshot(call: ApiRequest) -> SnapshotRecord:
    """A snapshot by its guid."""
    with SnapshotReading.of(call.app, call.who.scope) as reading:
        known = reading.catalogue
        one = known.snapshots.get(call.guid)
        return _shown(one, _Names(known, {one.entity}))


class _Names:
    """The machines, policies and rules of snapshots, each read once."""

    def __init__(self, known: Catalogue, entities: Set[str]) -> None:
        self._known = known
        self.entities = {
            machine.guid: machine.named() for machine in known.machines.get_many(list(entities))
        }
        self._records: dict[str, Named | None] = {}

    def record(self, kind: str, guid: str | None) -> Named | None:
        """None for a deleted record."""
        if guid and guid not in self._records:
            try:
                self._records[guid] = Named(guid, self._known.records.get(kind, guid).name)
            except NotFound:
                self._records[guid] = None
        return self._records[guid] if guid else None


def _shown(snapshot: PlatformSnapshot, known: _Names) -> SnapshotRecord:
    policy = known.record("vm-snapshot", snapshot.policy)
    return SnapshotRecord(
        guid=snapshot.guid,
        name=snapshot.uuid,
        uuid=snapshot.uuid,
        snapshotTime=snapshot.snapshot_time,
        status=label("PRESENT"),
        protectedEntity=known.entities[snapshot.entity],
        managed=snapshot.managed,
        standAlone=snapshot.policy is None,
        policy=policy.name if policy else None,
        snapshotPolicy=policy,
        rule=known.record("snapshot-rule", snapshot.rule),
        consistency=label(snapshot.consistency) if snapshot.consistency else None,
        description=snapshot.description,
    )
