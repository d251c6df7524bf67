"""Clocks of schedules: generation and next due time, written together with the schedule's
record.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import sqlalchemy as sa

from haulback.errors import Malformed, NotFound
from haulback.inventory.records import Record
from haulback.policy.fires import following
from haulback.policy.schedule_times import generation_mark, schedule_of, timetable
from haulback.policy.timetable import Due, Timetable
from haulback.server.store import fires
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.rows import QUOTED, records, row_of
from haulback.server.store.schedule_tables import schedule_clock as table

SCHEDULE, SYSTEM = "schedule", "system-schedule"
KINDS = frozenset((SCHEDULE, SYSTEM))  # kinds of records that have a clock
_MANY = 500  # schedules in one tick


class ScheduleClock(msgspec.Struct, kw_only=True):
    """The clock of a schedule.  Times in epoch ms.

    Due times up to `after` are done; `due_at` is the next due time, None for a paused schedule and
    for a schedule without further due times.
    """

    schedule: str
    generation: int
    times: Annotated[str, QUOTED] = ""
    paused: bool = False
    after: int
    due_at: int | None = None
    last_run: int | None = None


def follow(sql: sa.Connection, record: Record) -> None:
    """Write the clock of a new or changed schedule.

    A schedule whose due times changed gets a new generation, which fires only for future due times.
    """
    if record.kind not in KINDS:
        return
    clock = of(sql, record)
    if mark(clock, record):
        clock.after = record.modified
        wind(sql, clock, record)


def of(sql: sa.Connection, record: Record) -> ScheduleClock:
    """The clock of a schedule, locked until the transaction ends; a missing clock is created."""
    clock = find(sql, record.guid, lock=True)
    if clock is None:
        clock = ScheduleClock(schedule=record.guid, generation=0, after=record.modified)
        sql.execute(sa.insert(table).values(row_of(clock, table)))
    return clock


def mark(clock: ScheduleClock, record: Record) -> bool:
    """Begin a new generation if the due times of the schedule changed; returns whether they
    changed.
    """
    times = generation_mark(schedule_of(record.body))
    if times == clock.times:
        return False
    clock.generation, clock.times = clock.generation + 1, times
    return True


def wind(sql: sa.Connection, clock: ScheduleClock, record: Record) -> None:
    """Compute the next due time of a clock from its other members, and write the clock."""
    clock.due_at = None if clock.paused else _next(sql, clock, record)
    write(sql, clock)


def write(sql: sa.Connection, clock: ScheduleClock) -> None:
    """Write a clock that was locked in this transaction."""
    values = row_of(clock, table)
    sql.execute(sa.update(table).where(table.c.schedule == clock.schedule).values(values))


def _next(sql: sa.Connection, clock: ScheduleClock, record: Record) -> int | None:
    due = following(table_of(record), clock.after, lambda due: _has_fired(sql, clock, due))
    return due.at if due else None


def _has_fired(sql: sa.Connection, clock: ScheduleClock, due: Due) -> bool:
    return fires.exists(sql, clock.schedule, clock.generation, due.nominal)


def record_of(sql: sa.Connection, guid: str) -> Record:
    """The record of a schedule of either kind.  Raises NotFound."""
    known = SqlCatalogue(sql).records
    try:
        return known.get(SCHEDULE, guid)
    except NotFound:
        return known.get(SYSTEM, guid)


def table_of(record: Record) -> Timetable:
    """The timetable of a schedule.  Raises Malformed for a record of an earlier version."""
    try:
        return timetable(schedule_of(record.body))
    except ValueError as error:
        raise Malformed(f"the schedule {record.name} cannot fire: {error}; change it") from None


def find(sql: sa.Connection, schedule: str, *, lock: bool = False) -> ScheduleClock | None:
    """The clock of a schedule, with `lock` until the transaction ends."""
    query = sa.select(table).where(table.c.schedule == schedule)
    if lock:
        query = query.with_for_update()
    return next(iter(records(sql, query, ScheduleClock)), None)


def due(sql: sa.Connection, now: int) -> list[str]:
    """Some of the schedules that are due, those due for the longest time first."""
    query = sa.select(table.c.schedule).where(table.c.due_at <= now)
    return list(sql.scalars(query.order_by(table.c.due_at).limit(_MANY)))


def take(sql: sa.Connection, schedule: str, now: int) -> ScheduleClock | None:
    """The clock of a due schedule, locked; None if another server fires the schedule."""
    query = sa.select(table).where(table.c.schedule == schedule, table.c.due_at <= now)
    query = query.with_for_update(skip_locked=True)
    return next(iter(records(sql, query, ScheduleClock)), None)


def paused(sql: sa.Connection, after: str = "") -> list[str]:
    """Some of the paused schedules with guids from `after` on."""
    query = sa.select(table.c.schedule).where(table.c.paused, table.c.schedule > after)
    return list(sql.scalars(query.order_by(table.c.schedule).limit(_MANY)))


def settled_after(sql: sa.Connection, moment: int) -> list[str]:
    """Some of the schedules whose completed due times are after a given time, because their clock
    was ahead.
    """
    query = sa.select(table.c.schedule).where(table.c.after > moment)
    return list(sql.scalars(query.order_by(table.c.schedule).limit(_MANY)))


def several(sql: sa.Connection, after: str) -> list[str]:
    """Some schedules with a clock, with guids from `after` on."""
    query = sa.select(table.c.schedule).where(table.c.schedule > after)
    return list(sql.scalars(query.order_by(table.c.schedule).limit(_MANY)))
