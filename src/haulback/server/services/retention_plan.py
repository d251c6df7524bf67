"""Retention after each STORE of a rule, and every night for each destination."""

from __future__ import annotations

import logging

from haulback.contract.order_records import BackupDestination
from haulback.kinds import backup_cleanup
from haulback.kinds.api import Context
from haulback.logs import members
from haulback.server.services import retention_run
from haulback.server.services.app import App
from haulback.server.services.retention_terms import TermsBook
from haulback.server.store import destinations, hold, queue, retention, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.tasks.record import HOUR_MS, Task

_PIECE = 20  # machines that one transaction judges
_AGAIN_MS = 60_000  # time between two attempts to plan a clean-up while backups are stored
_LONGEST_MS = HOUR_MS  # time for which a clean-up waits for the end of running backups
_TYPE = backup_cleanup.KIND.type
log = logging.getLogger(__name__)


def run_due(app: App) -> int:
    """Apply retention to machines with new backups, and plan due clean-ups; returns the number of
    clean-ups.
    """
    with app.store.read() as sql:
        if hold.is_held(sql):
            return 0
        judges = retention.has_due(sql)
    if judges:
        _judge_stored(app)
    with app.store.read() as sql:
        now, states = app.clock.now_ms(), retention.states(sql)
        reclaims = [guid for guid, state in states.items() if _is_reached(state.reclaim_at, now)]
    return sum(_reclaim(app, guid) for guid in reclaims)


def nightly(sql: Connection, to: BackupDestination, now: int) -> Task | None:
    """Plan the clean-up that applies retention to every backup of a destination, unless a clean-up
    waits or nothing is stored.
    """
    if not destinations.stored_before(sql, to.guid, now) or queue.has_task(sql, _TYPE, to.guid):
        return None
    retention.set_state(sql, to.guid, planned=now)
    log.info("retention is applied to a destination", extra=members(destination=to.name))
    return backup_cleanup.nightly(to, Context(now))


def _judge_stored(app: App) -> None:
    """Apply the retention of a rule to the machines with a new backup of that rule, and to the
    rule's backups only.
    """
    while True:
        with app.store.write() as sql:
            now, due = app.clock.now_ms(), retention.take_due(sql, _PIECE)
            if not due:
                return
            if sum(_judge_place(sql, place, now) for place in due):
                _wish_reclaim(sql, due[0][0], now)


def _wish_reclaim(sql: Connection, destination: str, now: int) -> None:
    """Record that the data of removed backups must be deleted on a destination, unless this is
    recorded already.
    """
    state = retention.states(sql).get(destination)
    if state is None or state.reclaim_since is None:
        retention.set_state(sql, destination, reclaim_at=now, reclaim_since=now)


def _judge_place(sql: Connection, place: tuple[str, str, str], now: int) -> int:
    """Apply the retention of a rule to the backups of one machine on one destination; returns the
    number of removed backups.
    """
    destination, entity, rule = place
    stored = retention.of_entities(sql, destination, [entity])
    return retention_run.remove(sql, TermsBook(sql), stored, now, rule)


def _is_reached(moment: int | None, now: int) -> bool:
    """Whether a time has come; a time far in the future was set before the clock was set back."""
    return moment is not None and not now < moment <= now + _AGAIN_MS


def _reclaim(app: App, destination: str) -> int:
    """Plan the deletion of removed backups, unless backups are being stored there; returns the
    number of tasks.
    """
    with app.store.write() as sql:
        now = app.clock.now_ms()
        since = retention.states(sql)[destination].reclaim_since or now
        stores = any(queue.has_task(sql, kind, destination) for kind in ("EXPORT", "STORE"))
        if stores and now - since < _LONGEST_MS:
            retention.set_state(sql, destination, reclaim_at=now + _AGAIN_MS)
            return 0
        retention.set_state(sql, destination, reclaim_at=None, reclaim_since=None)
        if queue.is_queued(sql, _TYPE, destination):
            return 0
        to = SqlCatalogue(sql).places.destination(destination)
        tasks.insert(sql, [backup_cleanup.of_removed(to, Context(now))])
    return 1
