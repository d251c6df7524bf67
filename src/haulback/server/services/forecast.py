"""The calendar of the next days: the fires, and those that will not fit their windows."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import NamedTuple

from haulback.errors import HaulbackError
from haulback.inventory.records import Record
from haulback.policy.forecast import ExpectedFire, FireLength, expected_fires
from haulback.policy.schedule_times import window_of
from haulback.server.scope import Scope
from haulback.server.services.app import App
from haulback.server.store import fires, schedule_clocks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.units import DAY_MS

_HISTORY = 5  # past fires on which an expectation is based


class Forecast(NamedTuple):
    """A future fire, with its schedule."""

    schedule: Record
    fire: ExpectedFire


def forecast(app: App, scope: Scope, days: int, most: int) -> tuple[list[Forecast], bool]:
    """The fires of the next days in the order of their due times, at most `most` fires.

    Returns the fires, and whether there are more.  Paused and inactive schedules have no fires.
    """
    with app.store.read() as sql:
        now = app.clock.now_ms()
        coming = [_of(sql, record, now, now + days * DAY_MS) for record in _shown(sql, scope)]
    in_order = merge(*coming, key=lambda entry: (entry.fire.due.at, entry.schedule.name))
    first = list(islice(in_order, most + 1))
    return first[:most], len(first) > most


def _shown(sql: Connection, scope: Scope) -> Iterator[Record]:
    kinds = [schedule_clocks.SCHEDULE]
    kinds += [schedule_clocks.SYSTEM] if scope.is_whole else []
    for kind in kinds:
        for record in SqlCatalogue(sql, scope).records.of_kind(kind):
            if scope.shares(record.project) and record.body.get("active", True):
                yield record


def _of(sql: Connection, record: Record, now: int, until: int) -> Iterator[Forecast]:
    clock = schedule_clocks.find(sql, record.guid)
    if clock is None or clock.due_at is None:
        return iter(())
    try:
        table = schedule_clocks.table_of(record)
    except HaulbackError:
        return iter(())
    history = [
        FireLength(fire.ended - fire.created, (fire.last_start or fire.ended) - fire.created)
        for fire in fires.done(sql, record.guid, _HISTORY)
        if fire.ended is not None
    ]
    span = (max(now, clock.due_at - 1), until)
    return (
        Forecast(record, fire)
        for fire in expected_fires(table, span, window_of(record.body), history)
    )
