"""The space of destinations in reports."""

from __future__ import annotations

from collections.abc import Iterable

from haulback.contract.order_records import BackupDestination
from haulback.contract.reports import ReportedSpace
from haulback.contract.space import SpaceRecord
from haulback.inventory.records import Record
from haulback.server.services import space
from haulback.server.services.destinations import destinations_of
from haulback.server.store import lists
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.wire import Named


def destinations(sql: Connection, policies: Iterable[str] | None, now: int) -> list[ReportedSpace]:
    """The space of the destinations of some policies, or (None) of all, ordered by name."""
    places = lists.places(sql, BackupDestination)
    if policies is not None:
        named = {guid for rule in _rules(sql, policies) for guid in destinations_of(rule)}
        places = [place for place in places if place.guid in named]
    known = space.at(sql, places, now)
    return [_row(place, known[place.guid]) for place in places]


def _rules(sql: Connection, policies: Iterable[str]) -> list[Record]:
    records = SqlCatalogue(sql).records
    return [rule for policy in policies for rule in records.of_kind("rule", policy)]


def _row(place: BackupDestination, seen: SpaceRecord) -> ReportedSpace:
    total, used = place.total_space, place.used_space
    return ReportedSpace(
        backupDestination=Named(place.guid, place.name),
        held=seen.held,
        free=None if total is None or used is None else max(0, total - used),
        growthPerDay=seen.growthPerDay,
        fullAt=seen.fullAt,
        waits=seen.waits,
    )
