"""Runs of retention: decide which stored backups are removed and mark them, in bounded pieces.

A clean-up decides before its node gets the order: each piece is a transaction over some machines,
and the task stores the cursor of the next piece, so that a restart continues.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from haulback.errors import Unavailable
from haulback.policy.retention import (
    AppliedTerms,
    RetentionReason,
    RetentionVerdict,
    StoredBackup,
    decide,
)
from haulback.server.services import retention_waits
from haulback.server.services.app import App
from haulback.server.services.retention_terms import TermsBook
from haulback.server.store import retention, tasks
from haulback.server.store.engine import Connection
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Task
from haulback.wire import JsonObject

_FIRST_ROWS = 2_000  # backups of the first piece
_LEAST_ROWS, _MOST_ROWS = 2_000, 8_000  # a smaller piece would spend its time on overhead
_AIM = 0.08  # seconds for one piece, because SQLite has only one writer at a time
_ALONE = 0.3  # seconds for one piece on PostgreSQL, which locks only rows
_PATIENCE = 10.0  # seconds of one request for an order; a node waits up to 30 seconds for an answer
WHY = "removed by retention"
_SCOPE = "scope"  # a parameter of clean-ups that no user requested
# Values of this parameter: a clean-up that decides nothing, and a nightly clean-up.
_MARKED, _NIGHTLY = "marked", "nightly"
Check = Callable[[Connection], Task]


class Pieces(NamedTuple):
    """The cursor of a run: the last machine with a decision, and whether the run is complete."""

    attempt: int
    after: str = ""
    is_over: bool = False


def verdicts(
    sql: Connection, book: TermsBook, stored: Iterable[StoredBackup], now: int
) -> Iterator[RetentionVerdict]:
    """The verdicts about stored backups of any machines on one destination, machine by machine."""
    by_entity: dict[str, list[StoredBackup]] = defaultdict(list)
    for item in stored:
        by_entity[item.entity].append(item)
    if not by_entity:
        return
    destination = next(iter(by_entity.values()))[0].destination
    book.learn(item for items in by_entity.values() for item in items)
    sources = retention.sources(sql, by_entity, book.spared_days(destination))
    used = retention.in_use(sql, by_entity)
    for entity, items in by_entity.items():
        for item in items:
            item.in_use = item.guid in used
        yield from decide(items, book.applied, sources[entity], now)


def remove(
    sql: Connection,
    book: TermsBook,
    stored: Iterable[StoredBackup],
    now: int,
    rule: str | None = None,
) -> int:
    """Mark the backups as removed that the retention of one rule, or of all rules, no longer keeps;
    returns their number.
    """
    held, going = list(stored), list[StoredBackup]()
    waits = False
    for verdict in verdicts(sql, book, held, now):
        if rule is not None and verdict.location.rule != rule:
            continue
        if verdict.goes:
            going.append(verdict.location)
        waits |= verdict.reason is RetentionReason.WAITS
    removed = _unchanged(sql, going)
    if removed:
        SqlLedger(sql, now).removals.remove(removed, WHY)
    if waits:
        retention_waits.tell(sql, book, _unheld(sql, book, held, now), now)
    return len(removed)


def _unchanged(sql: Connection, going: Sequence[StoredBackup]) -> list[str]:
    """The backups that no other transaction has marked or used since the decision.

    On PostgreSQL the decision takes no locks; the backups to remove stay locked until the end of
    the transaction.
    """
    marks = retention.locked(sql, (item.guid for item in going))
    used = retention.in_use(sql, {item.entity for item in going}) if going else set()
    return [
        item.guid
        for item in going
        if marks.get(item.guid) == (item.hint, item.keep_until) and item.guid not in used
    ]


def _unheld(
    sql: Connection, book: TermsBook, held: Iterable[StoredBackup], now: int
) -> list[StoredBackup]:
    """The backups that would be removed if no retention waited for a confirmation."""

    def applied(item: StoredBackup) -> AppliedTerms:
        return book.applied(item)._replace(waits=False)

    by_entity: dict[str, list[StoredBackup]] = defaultdict(list)
    for item in held:
        by_entity[item.entity].append(item)
    result: list[StoredBackup] = []
    for entity, items in by_entity.items():
        days = book.spared_days(items[0].destination)
        source = retention.sources(sql, [entity], days)[entity]
        result += [
            verdict.location for verdict in decide(items, applied, source, now) if verdict.goes
        ]
    return [item for item in result if book.applied(item).waits]


def carry_out(app: App, check: Check) -> None:
    """Apply retention to the destination of a taken clean-up, piece by piece, once for each
    attempt.

    `check` locks and returns the task, or raises Fenced for an attempt that is over.
    Raises Unavailable after 10 seconds: the node asks again, and the run continues.
    """
    zones = dict[str, str]()
    begun, rows, aim = time.monotonic(), _FIRST_ROWS, _AIM if app.store.is_sqlite else _ALONE
    while True:
        started = time.monotonic()
        with app.store.write() as sql:
            if _piece(app, sql, check(sql), rows, zones):
                return
        took = time.monotonic() - started
        rows = min(_MOST_ROWS, rows * 2) if took < aim / 2 else rows
        rows = max(_LEAST_ROWS, rows // 2) if took > aim else rows
        if time.monotonic() - begun > _PATIENCE:
            raise Unavailable(
                "retention decides about the backups of the destination now; send the request again"
            )


def _piece(app: App, sql: Connection, task: Task, rows: int, zones: dict[str, str]) -> bool:
    """Apply retention to the next machines of a run; True once the run is complete."""
    place = _place(task)
    if place.is_over:
        return True
    now, destination = app.clock.now_ms(), task.ref("backupDestination") or ""
    last = retention.last_entity(sql, destination, place.after, rows)
    scope = task.params.get(_SCOPE)
    if scope != _MARKED:
        stored = retention.page(sql, destination, place.after, last)
        remove(sql, TermsBook(sql, zones=zones, is_asked=scope != _NIGHTLY), stored, now)
    SqlLedger(sql, now).damage.expect_machines(task.guid, destination, place.after, last)
    after = Pieces(task.attempt, last or "", last is None)
    params: JsonObject = {**task.params, "retention": after._asdict()}
    tasks.change(sql, task, now, params=params, lease_until=now + app.lease_ms)
    return after.is_over


def _place(task: Task) -> Pieces:
    """The cursor of the present attempt; a new attempt starts from the beginning."""
    known = task.params.get("retention")
    place = Pieces(**known) if known else Pieces(task.attempt)
    return place if place.attempt == task.attempt else Pieces(task.attempt)
