"""The hold of a server whose database was restored: the work that must wait, and the end of the
hold.

A restored catalogue lacks the backups that were stored after its copy was made.  While the server
is held, no schedule runs and no task starts that deletes; a VERIFY of each destination compares the
catalogue with the store, and the last VERIFY ends the hold.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from haulback.contract.alarms import AlarmKind
from haulback.contract.destinations import VerifyState
from haulback.contract.events import Event, EventKind
from haulback.contract.own_database import DestinationHold, ServerHold
from haulback.errors import Conflict
from haulback.inventory.own_server import NAME, OWN_ENTITY
from haulback.kinds import verify
from haulback.kinds.api import Context, Kinds
from haulback.logs import members
from haulback.server.caller import Caller
from haulback.server.services.app import App
from haulback.server.store import events, hold, own_server, queue, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.damage_ledger import save_verify_state, verify_state
from haulback.server.store.engine import Connection
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Plan, Task
from haulback.units import GIB, counted
from haulback.wire import JsonObject, Named

_AGAIN_MS = 15 * 60_000  # time between two attempts to compare a destination that does not answer
_READ = GIB  # bytes that a comparison reads back; the comparison itself reads all manifests
_LIFT = "haulback server hold --lift"
log = logging.getLogger(__name__)


def check(sql: Connection, kinds: Kinds, plan: Plan) -> None:
    """Raises Conflict for a plan that deletes while the server is held."""
    removing = {task.type for task in (*plan.tasks, *plan.besides) if kinds[task.type].removes}
    if (removing or plan.gone) and hold.is_held(sql):
        what = ", ".join(sorted(removing)) or "the removal of records"
        raise Conflict(_waits(what))


def check_removal(sql: Connection, what: str) -> None:
    """Raises Conflict for the removal of a record while the server is held."""
    if hold.is_held(sql):
        raise Conflict(_waits(what))


def _waits(what: str) -> str:
    return (
        f"the server is held, because its database was restored: {what} waits until a "
        "VERIFY has read every destination; see GET /server/hold, or lift the hold: "
        f"{_LIFT}"
    )


def startable(sql: Connection, kinds: Kinds, wanted: Iterable[Task]) -> list[Task]:
    """The tasks of `wanted` that may start now."""
    found = list(wanted)
    if not any(kinds[task.type].removes for task in found) or not hold.is_held(sql):
        return found
    return [task for task in found if not kinds[task.type].removes]


def begin(sql: Connection, now: int, copied: int, text: str) -> None:
    """Hold the server, with an alarm and an event."""
    own_server.add(sql, now)
    hold.begin(sql, now, copied, text)
    details = {"copied": copied}
    subject = Named(OWN_ENTITY, NAME)
    SqlLedger(sql, now).alarms.report(AlarmKind.SERVER_HELD, subject, text, details)
    events.add(sql, _event(EventKind.SERVER_HELD, now, text))


def is_held(app: App) -> bool:
    """Whether the server is held; one index lookup."""
    with app.store.read() as sql:
        return hold.is_held(sql)


def shown(app: App) -> ServerHold:
    """The hold as callers read it."""
    with app.store.read() as sql:
        return _shown(sql)


def _shown(sql: Connection) -> ServerHold:
    rows = [
        DestinationHold(
            destination=Named(row.destination, row.name),
            since=row.since,
            copied=row.copied,
            reason=row.reason,
            lookedThrough=row.looked,
            unknownBackups=row.unknown,
            unknown=row.found,
        )
        for row in hold.destinations(sql)
    ]
    return ServerHold(bool(rows), rows)


def lift(app: App, who: Caller) -> ServerHold:
    """End the hold by a user's decision; without a hold nothing changes."""
    with app.change(who, "lift the hold") as change:
        change.before = _shown(change.sql)
        change.silent = not hold.is_held(change.sql)
        if not change.silent:
            _lift(change.sql, change.now, f"{who.name} lifted the hold", {})
        after = _shown(change.sql)
    app.wakeups.ring()
    return after


def tend(app: App) -> int:
    """Plan the tasks that compare the held destinations, and end the hold after the last.

    Returns the number of planned tasks.
    """
    with app.store.write() as sql:
        now, planned = app.clock.now_ms(), 0
        for row in hold.destinations(sql):
            if row.looked is None:
                planned += _look_through(sql, row, now)
        if hold.is_looked_through(sql):
            surplus = [row for row in hold.destinations(sql) if row.unknown]
            told = "; ".join(
                f"{row.name} holds {counted(row.unknown or 0, 'unknown backup')}" for row in surplus
            )
            text = "a VERIFY has read every destination" + (f": {told}" if told else "")
            unknown = {row.destination: msgspec.to_builtins(row.found) for row in surplus}
            _lift(sql, now, text, {"unknown": unknown})
    return planned


def _look_through(sql: Connection, row: hold.HeldDestination, now: int) -> int:
    to = SqlCatalogue(sql).places.destination(row.destination)
    if to.repository is None:  # nothing was stored on the destination
        hold.looked(sql, to.guid, hold.ComparisonResult(now, 0), since=now)
        return 0
    state: VerifyState = verify_state(sql, to.guid)
    is_new = state.planned < row.since
    if queue.has_task(sql, "VERIFY", to.guid) or not (is_new or now - state.planned > _AGAIN_MS):
        return 0
    state.planned = now
    save_verify_state(sql, to.guid, state)
    tasks.insert(sql, [verify.task(to, Context(now), {"bytes": _READ})])
    return 1


def _lift(sql: Connection, now: int, text: str, data: JsonObject) -> None:
    log.info("the hold is over", extra=members(reason=text))
    hold.lift(sql)
    SqlLedger(sql, now).alarms.clear(AlarmKind.SERVER_HELD, OWN_ENTITY)
    lifted = _event(EventKind.HOLD_LIFTED, now, text)
    events.add(sql, msgspec.structs.replace(lifted, data=data))


def _event(kind: EventKind, now: int, text: str) -> Event:
    return Event(kind=kind, time=now, subject=OWN_ENTITY, subject_name=NAME, text=text)
