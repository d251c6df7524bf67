"""Breakers of destinations; the transaction that ends a task counts its failure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.contract.events import Event, EventKind
from haulback.contract.task_states import State
from haulback.inventory.ledger import AlarmChanges
from haulback.policy import breaker as policy
from haulback.policy.breaker import LONGEST_PAUSE_MS, Breaker
from haulback.server.store import events
from haulback.server.store.breaker_tables import destination_breaker as table
from haulback.server.store.raw_sql import Statement
from haulback.server.store.tables import task as task_table
from haulback.tasks.destination_health import TEST, answers, away, away_source
from haulback.tasks.record import Task
from haulback.units import counted
from haulback.wire import Named

_REASON = 1000  # maximum length of a stored reason, in characters
_MEMBERS = ", ".join(Breaker._fields)
_ADD = Statement(
    "INSERT INTO destination_breaker (destination, failures, since, pause, reason) "
    "SELECT guid, 0, 0, 0, '' FROM destination WHERE guid = :guid "
    "ON CONFLICT (destination) DO NOTHING"
)
_ONE = Statement(f"SELECT {_MEMBERS}, test FROM destination_breaker WHERE destination = :guid")
_LOCKED = Statement(
    f"SELECT {_MEMBERS}, test FROM destination_breaker WHERE destination = :guid", " FOR UPDATE"
)
_CHANGE = Statement(
    "UPDATE destination_breaker SET "
    + ", ".join(f"{name} = :{name}" for name in Breaker._fields)
    + " WHERE destination = :guid"
)
_NAME = Statement("SELECT name FROM destination WHERE guid = :guid")
_DELETE = Statement("DELETE FROM destination_breaker WHERE destination = :guid")
_OPEN = Statement("SELECT destination FROM destination_breaker WHERE opened IS NOT NULL")
_NO_TEST = (
    "NOT EXISTS (SELECT 1 FROM task WHERE task.guid = destination_breaker.test "
    "AND task.state IN ('QUEUED', 'RUNNING'))"
)
_TIME = "opened IS NOT NULL AND (next_try <= :now OR next_try > :far)"
_DUE = Statement(
    f"SELECT destination FROM destination_breaker WHERE {_TIME} AND {_NO_TEST} LIMIT 100"
)
_TEST = Statement(
    "UPDATE destination_breaker SET test = :task, next_try = :now + pause "
    f"WHERE destination = :guid AND {_TIME} AND {_NO_TEST}"
)


class BreakerStatus(NamedTuple):
    """A breaker with its destination; `is_tested` is true if a test of the destination waits or
    runs.
    """

    breaker: Breaker
    is_tested: bool


class _Row(NamedTuple):
    breaker: Breaker
    test: str | None


def count(
    sql: sa.Connection, alarms: AlarmChanges, ends: Iterable[tuple[Task, State]], now: int
) -> None:
    """Count the ends of tasks, in the order of their destinations, so that no two servers
    deadlock.
    """
    for task, state in sorted(ends, key=_counted_at):
        if to := answers(task, state):
            _answered(sql, alarms, to, now, is_test=task.type == TEST)
        elif to := away(task, state) or _named(sql, away_source(task, state)):
            _failed(sql, alarms, to, task, now)


def _counted_at(end: tuple[Task, State]) -> str:
    """The guid of the destination whose breaker the end of a task may change."""
    if used := answers(*end):  # a restore may have read another location than planned
        return used.guid
    return away_source(*end) or end[0].ref("backupDestination") or ""


def _named(sql: sa.Connection, destination: str | None) -> Named | None:
    row = _NAME.row(sql, guid=destination) if destination else None
    return Named(destination, row[0]) if destination and row else None


def _answered(
    sql: sa.Connection, alarms: AlarmChanges, to: Named, now: int, *, is_test: bool
) -> None:
    if _ONE.row(sql, guid=to.guid) is None:  # the usual case writes and locks nothing
        return
    row = _locked(sql, to.guid)
    if row is None:
        return
    if is_test:
        _write(sql, to.guid, policy.tested(row.breaker, now))
    else:
        _DELETE.run(sql, guid=to.guid)
    if row.breaker.is_open:
        _tell_closed(sql, alarms, to, now, "it answers again")


def _failed(sql: sa.Connection, alarms: AlarmChanges, to: Named, task: Task, now: int) -> None:
    _ADD.run(sql, guid=to.guid)
    row = _locked(sql, to.guid)
    if row is None:  # the destination was removed
        return
    reason, is_test = (task.status_info or "")[:_REASON], task.guid == row.test
    after = policy.failed(row.breaker, now, reason, is_test=is_test)
    if after == row.breaker:
        return
    _write(sql, to.guid, after)
    if after.is_open:
        text = f"{to.name} does not answer, so its tasks wait: {reason}"
        details = {"failures": after.failures, "nextTry": after.next_try}
        alarms.report(AlarmKind.DESTINATION_AWAY, to, text, details)
    if after.is_open and not row.breaker.is_open:
        told = (
            f"{counted(after.failures, 'task')} in a row could not reach {to.name}; its tasks wait"
        )
        _tell(sql, EventKind.BREAKER_OPENED, to, now, f"{told}: {reason}")


def close(sql: sa.Connection, alarms: AlarmChanges, to: Named, now: int, who: str) -> bool:
    """Close a breaker by hand and forget its failures; False if the breaker was closed."""
    row = _locked(sql, to.guid)
    _DELETE.run(sql, guid=to.guid)
    if row is None or not row.breaker.is_open:
        return False
    _tell_closed(sql, alarms, to, now, f"{who} closed its breaker")
    return True


def _tell_closed(sql: sa.Connection, alarms: AlarmChanges, to: Named, now: int, why: str) -> None:
    alarms.clear(AlarmKind.DESTINATION_AWAY, to.guid)
    _tell(sql, EventKind.BREAKER_CLOSED, to, now, f"tasks for {to.name} continue: {why}")


def _tell(sql: sa.Connection, kind: EventKind, to: Named, now: int, text: str) -> None:
    about = Event(kind=kind, time=now, subject=to.guid, subject_name=to.name, text=text)
    events.add(sql, about)


def _locked(sql: sa.Connection, destination: str) -> _Row | None:
    values = _LOCKED.row(sql, guid=destination)
    return _Row(Breaker(*values[:-1]), values[-1]) if values else None


def _write(sql: sa.Connection, destination: str, breaker: Breaker) -> None:
    _CHANGE.run(sql, guid=destination, **breaker._asdict())


def open_ones(sql: sa.Connection) -> set[str]:
    """Destinations with an open breaker, whose tasks wait."""
    return {row[0] for row in _OPEN.rows(sql)}


def due(sql: sa.Connection, now: int) -> list[str]:
    """Destinations with an open breaker whose next test is due and not yet planned."""
    return [row[0] for row in _DUE.rows(sql, now=now, far=now + LONGEST_PAUSE_MS)]


def begin_test(sql: sa.Connection, destination: str, task: str, now: int) -> bool:
    """Record a task as the test of a destination; False if another server was faster."""
    far = now + LONGEST_PAUSE_MS
    return _TEST.run(sql, guid=destination, task=task, now=now, far=far) == 1


def stands(sql: sa.Connection, destinations: Iterable[str]) -> dict[str, BreakerStatus]:
    """The breakers of destinations with failures, by guid."""
    test = (task_table.c.guid == table.c.test, task_table.c.state.in_(("QUEUED", "RUNNING")))
    tested = sa.select(task_table.c.guid).where(*test).exists()
    columns = (table.c.destination, *(table.c[name] for name in Breaker._fields), tested)
    query = sa.select(*columns).where(table.c.destination.in_(list(destinations)))
    return {row[0]: BreakerStatus(Breaker(*row[1:-1]), bool(row[-1])) for row in sql.execute(query)}
