"""Fires and a clock that was set back: fires that are in the future again are voided, and fire at
their time.

A server that starts also computes the next due time of every schedule, because time zone data may
have changed.
"""

from __future__ import annotations

import logging

from haulback.contract.events import EventKind
from haulback.contract.task_states import State
from haulback.errors import HaulbackError
from haulback.inventory.records import Record
from haulback.server.services.app import App
from haulback.server.services.fire_events import tell
from haulback.server.store import fire_members, fires, schedule_clocks, tasks
from haulback.server.store.engine import Connection
from haulback.server.store.fires import Fire
from haulback.server.store.schedule_clocks import ScheduleClock

SKEW_MS = 5_000  # ms by which the clocks of two servers may differ without voiding a fire
_PIECE = 100  # fires or machines of one transaction
_OPEN = (fires.PLANNING, fires.PROVING, fires.RUNNING)
_WHY = "the clock was set back to a time before the fire; the schedule fires again at that time"
log = logging.getLogger(__name__)


def follow_back(app: App) -> int:
    """Void fires that lie in the future and that no node has begun; returns their number."""
    voided = 0
    while schedules := _ahead(app):
        for schedule in schedules:
            voided += _follow_back(app, schedule)
    return voided


def _ahead(app: App) -> list[str]:
    with app.store.read() as sql:
        moment = app.clock.now_ms() + SKEW_MS
        return [*fires.schedules_ahead(sql, moment), *schedule_clocks.settled_after(sql, moment)]


def _follow_back(app: App, schedule: str) -> int:
    with app.store.write() as sql:
        now = app.clock.now_ms()
        record = schedule_clocks.record_of(sql, schedule)
        clock = schedule_clocks.of(sql, record)
        clock.after = min(clock.after, now)
        ahead = fires.ahead(sql, schedule, now + SKEW_MS, _PIECE)
        for fire in ahead:
            _void(sql, fire, record, now)
            clock.after = min(clock.after, fire.due_at - 1)
        clock.last_run = fires.last_run(sql, schedule)
        _wind(sql, clock, record)
        return len(ahead)


def _void(sql: Connection, fire: Fire, record: Record, now: int) -> None:
    if fire.state in (*_OPEN, fires.DONE):
        tell(sql, EventKind.FIRE_VOIDED, (fire, record, now), _WHY)
        log.warning("the fire %s of %s is voided", fire.nominal, record.name)
    fire.state = fires.VOIDING if fire.state in _OPEN else fires.VOIDED
    fire.voided = fires.next_voided(sql, fire)
    fire.ended, fire.reason = now, _WHY
    fires.write(sql, fire)


def _wind(sql: Connection, clock: ScheduleClock, record: Record) -> None:
    try:
        schedule_clocks.wind(sql, clock, record)
    # A record of an earlier version must not stop the other schedules.
    except HaulbackError as error:
        log.error("%s", error.message)
        clock.due_at = None
        schedule_clocks.write(sql, clock)


def cancel_piece(app: App) -> bool:
    """Cancel some tasks of a voided fire that no node has begun; False without such a fire."""
    with app.store.write() as sql:
        fire = fires.take(sql, fires.VOIDING)
        if fire is None:
            return False
        waiting: list[str] = []
        for rule in fires.rules(sql, fire.guid):
            waiting += fire_members.unstarted(sql, rule.run, _PIECE - len(waiting))
        moves = app.task_changes(sql)
        for task in tasks.get_many(sql, waiting).values():
            if task.state == State.QUEUED.value and task.attempt == 0:
                moves.cancel(task, _WHY)
        if len(waiting) < _PIECE:
            fire.state = fires.VOIDED
            fires.write(sql, fire)
    return True


def wind_all(app: App) -> None:
    """Compute the next due time of every schedule again."""
    last = ""
    while guids := _several(app, last):
        with app.store.write() as sql:
            for guid in guids:
                clock = schedule_clocks.find(sql, guid, lock=True)
                if clock and not clock.paused:
                    _wind(sql, clock, schedule_clocks.record_of(sql, guid))
        last = guids[-1]


def _several(app: App, after: str) -> list[str]:
    with app.store.read() as sql:
        return schedule_clocks.several(sql, after)
