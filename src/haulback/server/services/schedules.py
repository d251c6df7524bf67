"""Schedules: their last and next run, pause and resumption, past fires and next due times."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from haulback.errors import Conflict, Malformed, NotFound
from haulback.inventory.records import Record
from haulback.policy.schedule_times import window_of
from haulback.policy.timetable import Due, due_times
from haulback.server.caller import Caller
from haulback.server.scope import Scope
from haulback.server.services import fires as scheduler
from haulback.server.services.app import App
from haulback.server.store import fires, schedule_clocks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.fires import Fire, Skip
from haulback.server.store.schedule_clocks import ScheduleClock
from haulback.units import DAY_MS
from haulback.wire import JsonObject

SCHEDULE, SYSTEM = schedule_clocks.SCHEDULE, schedule_clocks.SYSTEM
SKIPS = 100  # skipped machines that an answer lists
_AHEAD_MS = 3_000 * DAY_MS


class ShownFire(NamedTuple):
    """A fire with its skipped rules and machines."""

    fire: Fire
    skips: list[Skip]


def times(sql: Connection, schedule: str) -> JsonObject:
    """The members of a schedule that are derived from its times; absent members are unknown."""
    clock = schedule_clocks.find(sql, schedule)
    if clock is None:
        return {}
    shown: JsonObject = {"paused": clock.paused}
    if clock.last_run is not None:
        shown["lastRun"] = clock.last_run
    if clock.due_at is not None:
        shown["nextRun"] = clock.due_at
    return shown


def pause(app: App, who: Caller, guid: str, kind: str = SCHEDULE) -> Record:
    """Pause a schedule: no due time fires until it is resumed.  Raises NotFound, Forbidden."""
    with app.change(who, "pause schedule", guid) as change:
        record, clock = _locked(change.sql, who, guid, kind)
        clock.paused = True
        schedule_clocks.wind(change.sql, clock, record)
        return record


def resume(app: App, who: Caller, guid: str, kind: str = SCHEDULE) -> Record:
    """Let a paused schedule fire at its next due times.

    Raises NotFound, Forbidden, and Malformed for a schedule that cannot fire.
    """
    with app.change(who, "resume schedule", guid) as change:
        record, clock = _locked(change.sql, who, guid, kind)
        change.silent = not clock.paused
        _resume(change.sql, clock, record, change.now)
        return record


def resume_all(app: App, who: Caller) -> tuple[list[Record], list[tuple[Record, Malformed]]]:
    """Resume the paused schedules that the caller may change, one by one.

    Returns the resumed schedules, and those that cannot fire with the reasons.
    """
    resumed, refused, last = [], [], ""
    while guids := _paused(app, last):
        last = guids[-1]
        for guid in guids:
            try:
                resumed.append(resume(app, who, guid))
            except Malformed as error:
                refused.append((_record(app, guid), error))
            except (NotFound, Conflict):
                continue
    return resumed, refused


def _paused(app: App, after: str) -> list[str]:
    with app.store.read() as sql:
        return schedule_clocks.paused(sql, after)


def _record(app: App, guid: str) -> Record:
    with app.store.read() as sql:
        return schedule_clocks.record_of(sql, guid)


def run(app: App, who: Caller, guid: str, kind: str = SCHEDULE) -> ShownFire:
    """Fire a schedule at once.  Raises NotFound, Forbidden, Conflict for an inactive schedule."""
    with app.change(who, "run schedule", guid) as change:
        record = SqlCatalogue(change.sql, who.scope).records.changeable(kind, guid)
        if not record.body.get("active", True):
            raise Conflict(f"the schedule {record.name} is not active; activate it first")
        if kind == SCHEDULE and not record.body.get("rules"):
            raise Conflict(f"the schedule {record.name} has no rules; give it to a rule first")
        fire = scheduler.run_now(change.sql, record, change.now)
        change.after = fire
    return ShownFire(fire, [])


def history(
    app: App, guid: str, scope: Scope, most: int, kind: str = SCHEDULE
) -> tuple[Record, list[ShownFire]]:
    """A schedule, and its newest fires.  Raises NotFound."""
    with app.store.read() as sql:
        record = SqlCatalogue(sql, scope).records.get(kind, guid)
        shown = [
            ShownFire(fire, fires.skips(sql, fire.guid, SKIPS) if fire.skipped else [])
            for fire in fires.past(sql, guid, most)
        ]
        return record, shown


def ahead(
    app: App, guid: str, scope: Scope, most: int, kind: str = SCHEDULE
) -> list[tuple[Due, int]]:
    """The next due times of a schedule, each with the end of its window; none while paused."""
    with app.store.read() as sql:
        record = SqlCatalogue(sql, scope).records.get(kind, guid)
        clock = schedule_clocks.find(sql, guid)
    if clock is None or clock.due_at is None or not record.body.get("active", True):
        return []
    table, window = schedule_clocks.table_of(record), window_of(record.body)
    coming = due_times(table, clock.due_at - 1, clock.due_at + _AHEAD_MS)
    return [(due, due.at + window) for due in islice(coming, most)]


def _locked(sql: Connection, who: Caller, guid: str, kind: str) -> tuple[Record, ScheduleClock]:
    record = SqlCatalogue(sql, who.scope).records.changeable(kind, guid)
    return record, schedule_clocks.of(sql, record)


def _resume(sql: Connection, clock: ScheduleClock, record: Record, now: int) -> None:
    if clock.paused:
        clock.paused, clock.after = False, now
        schedule_clocks.mark(clock, record)
        schedule_clocks.wind(sql, clock, record)
