"""Verification: a part of each destination at each fire, and an alarm when a round is late.

A destination is also verified soon after damage was recorded: a VERIFY finds every backup that the
damage affects.
"""

from __future__ import annotations

import logging

import msgspec

from haulback.contract.alarms import AlarmKind
from haulback.contract.destinations import Verification, VerifyState
from haulback.contract.order_records import BackupDestination
from haulback.kinds import verify
from haulback.kinds.api import Context
from haulback.logs import members
from haulback.server.services.app import App
from haulback.server.store import alarms, backups, destinations, hold, queue, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.damage_ledger import save_verify_state, verify_state
from haulback.server.store.engine import Connection
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import HOUR_MS, Task
from haulback.units import DAY_MS
from haulback.wire import Named

_COOLDOWN_MS = HOUR_MS  # a VERIFY that failed because of damage must not be planned again at once
_LATE = 1.5  # periods that a round may take before the alarm is raised
log = logging.getLogger(__name__)


def wish_of(one: BackupDestination) -> Verification:
    """The settings of a destination for scheduled verification."""
    return msgspec.convert(one.settings.get("verification") or {}, Verification)


def plan_due(app: App) -> int:
    """Plan a VERIFY of each destination with new damage, but none while the server is held.

    Returns the number of destinations.
    """
    now = app.clock.now_ms()
    with app.store.read() as sql:
        damaged = alarms.subjects(sql, AlarmKind.REPOSITORY_DAMAGED)
        if not damaged or hold.is_held(sql):
            return 0
        result = [
            destination
            for destination in SqlCatalogue(sql).places.destinations()
            if destination.repository and destination.guid in damaged
        ]
        due = [item for item in result if _is_due(sql, item, now)]
    for item in due:
        with app.store.write() as sql:
            if task := _plan(sql, item, app.clock.now_ms()):
                tasks.insert(sql, [task])
    return len(due)


def nightly(sql: Connection, item: BackupDestination, now: int) -> Task | None:
    """The nightly VERIFY; none for a destination that must not be read or has no backup."""
    if not wish_of(item).active or not destinations.stored_before(sql, item.guid, now):
        return None
    return _plan(sql, item, now)


def _is_due(sql: Connection, one: BackupDestination, now: int) -> bool:
    wish, state = wish_of(one), msgspec.convert(one.verify_state, VerifyState)
    # A repair moves no pack while another task uses the repository, so the VERIFY comes after it.
    is_rested = now - state.planned > _COOLDOWN_MS and not queue.has_task(sql, "REPAIR", one.guid)
    return wish.active and is_rested and _damaged_since(sql, one, state)


def _damaged_since(sql: Connection, one: BackupDestination, state: VerifyState) -> bool:
    """Whether a task has recorded damage since the last VERIFY was planned."""
    seen = alarms.seen(sql, AlarmKind.REPOSITORY_DAMAGED, one.guid)
    return seen is not None and seen > max(state.planned, state.ran)


def _plan(sql: Connection, item: BackupDestination, now: int) -> Task | None:
    state = verify_state(sql, item.guid)
    save_verify_state(sql, item.guid, msgspec.structs.replace(state, planned=now))
    _watch(SqlLedger(sql, now), item, state, backups.first_stored(sql, item.guid), now)
    if queue.has_task(sql, "VERIFY", item.guid):
        return None
    wish = wish_of(item)
    bounds = {"days": wish.days, "seconds": wish.seconds}
    log.info("a share of a destination is verified", extra=members(destination=item.name))
    return verify.task(SqlCatalogue(sql).places.destination(item.guid), Context(now), bounds)


def _watch(
    ledger: SqlLedger, destination: BackupDestination, state: VerifyState, first: int, now: int
) -> None:
    """Raise an alarm when no complete round ended within one and a half periods."""
    since = state.completed or state.begun or first
    late = bool(since) and now - since > wish_of(destination).days * DAY_MS * _LATE
    if not late:
        ledger.alarms.clear(AlarmKind.VERIFY_OVERDUE, destination.guid)
        return
    days = (now - since) // DAY_MS
    text = f"{destination.name} was last read completely {days} days ago; give its VERIFY more time"
    ledger.alarms.report(
        AlarmKind.VERIFY_OVERDUE, Named(destination.guid, destination.name), text, {"days": days}
    )
