"""Breakers of destinations: the tests of destinations that do not answer, and closing by hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from haulback.contract.destinations import BreakerRecord, BreakerState
from haulback.contract.order_records import BackupDestination
from haulback.kinds import connectivity_test
from haulback.kinds.api import Context
from haulback.logs import members
from haulback.server.caller import Caller
from haulback.server.services.app import App
from haulback.server.store import breakers, tasks
from haulback.server.store.breakers import BreakerStatus
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.wire import Named, label

log = logging.getLogger(__name__)
Stands = Mapping[str, BreakerStatus]


def test_due(app: App) -> int:
    """Plan a CONNECTIVITY_TEST of each destination whose next test is due; returns their number."""
    with app.store.read() as sql:
        due = breakers.due(sql, app.clock.now_ms())
    return sum(_test(app, destination) for destination in due)


def _test(app: App, destination: str) -> bool:
    with app.store.write() as sql:
        now = app.clock.now_ms()
        place = SqlCatalogue(sql).places.destination(destination)
        task = connectivity_test.of_destination(place, Context(now))
        if not breakers.begin_test(sql, destination, task.guid, now):
            return False  # another server made the test, or a task has closed the breaker
        tasks.insert(sql, [task])
    about = members(destination=place.name, task=task.guid)
    log.info("destination is tested again", extra=about)
    return True


def close(app: App, guid: str, who: Caller) -> BackupDestination:
    """Close the breaker of a destination, so that its tasks continue.  Raises NotFound.

    The closed breaker is not on probation, and its failures are forgotten.
    """
    with app.change(who, "close breaker", guid) as change:
        sql = change.sql
        place = SqlCatalogue(sql).places.destination(guid)
        alarms = SqlLedger(sql, change.now).alarms
        breakers.close(sql, alarms, Named(guid, place.name), change.now, who.name)
    app.wakeups.ring()
    return place


def stands(app: App, places: Sequence[BackupDestination]) -> Stands:
    """The breakers of destinations with failures, by guid."""
    with app.store.read() as sql:
        return breakers.stands(sql, (place.guid for place in places)) if places else {}


def shown(stand: BreakerStatus | None) -> BreakerRecord:
    """A breaker as the API shows it; None means a breaker without failures."""
    if stand is None:
        return BreakerRecord(label(BreakerState.CLOSED.value))
    breaker = stand.breaker
    state = BreakerState.CLOSED
    if breaker.is_open:
        state = BreakerState.HALF_OPEN if stand.is_tested else BreakerState.OPEN
    return BreakerRecord(
        label(state.value),
        failures=breaker.failures,
        since=breaker.opened,
        nextTry=breaker.next_try,
        reason=breaker.reason or None,
    )
