"""Start windows that were planned before the clock was set follow the clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from haulback.errors import Conflict
from haulback.server.queries import Filter
from haulback.server.services import maintenance
from haulback.server.services import tasks as task_service
from haulback.tasks.record import HOUR_MS
from haulback.tasks.scheduling import rank
from tests.unit.server.conftest import EXPORTED, START, House

BACK = 2 * HOUR_MS


def adopted(house: House) -> None:
    """The clock is set back while the server runs, and the maintenance service notices."""
    house.clock.drift = -BACK
    maintenance.tick(house.app)


def unseen(house: House) -> None:
    """The clock is set back, and the maintenance service has not noticed yet."""
    house.clock.now -= BACK


def restarted(house: House) -> None:
    """The clock was set back while no server ran."""
    house.clock.now -= BACK
    maintenance.start(house.app)


@pytest.mark.parametrize("back", [adopted, unseen, restarted])
def test_a_store_is_due_at_once_after_its_export_whatever_the_clock_did(
    house: House, back: Callable[[House], None]
):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    back(house)
    house.finish(node, export, **EXPORTED)
    store = house.row(house.follower(export))
    assert (store.state, store.ready) == ("QUEUED", True)
    assert store.window_start <= house.clock.now < store.window_end
    assert house.offered(node) == [store.guid]
    house.take(node, store)


@pytest.mark.parametrize("back", [adopted, restarted])
@pytest.mark.parametrize("work", ["an export", "a store", "a lost attempt"])
def test_queued_work_that_was_due_stays_due_when_the_clock_goes_back(
    house: House, back: Callable[[House], None], work: str
):
    node = house.node()
    if work == "a store":
        task = house.exported(node)
    else:
        [task] = house.export()
    if work == "a lost attempt":
        house.take(node, task)
    back(house)
    if work == "a lost attempt":
        house.clock.now += house.app.lease_ms + 1
        maintenance.tick(house.app)
    row = house.row(task)
    assert row.window_start <= house.clock.now < row.window_end
    assert task.guid in house.offered(node)
    house.take(node, task)


def test_ready_work_of_a_server_whose_clock_is_ahead_can_be_taken(house: House):
    node = house.node()
    [export] = house.export()
    unseen(house)
    house.take(node, export)


def test_a_retry_waits_no_longer_than_its_back_off(house: House):
    node = house.node()
    [export] = house.export(retryCount=1)
    house.take(node, export)
    house.fail(node, export)
    [copy] = _queued(house)
    waits = house.row(copy).window_start - house.clock.now
    adopted(house)
    assert house.row(copy).window_start == house.clock.now + waits
    house.clock.now += waits
    maintenance.tick(house.app)
    assert copy in house.offered(node)


def test_the_window_that_a_person_named_is_kept(house: House):
    node = house.node()
    [later] = house.export(windowStart=START + 5000)
    [open_now] = house.export(house.entities[1], windowStart=START - HOUR_MS)
    house.clock.now += 6000
    maintenance.tick(house.app)
    assert house.offered(node) == [open_now.guid, later.guid]
    adopted(house)
    assert house.row(later).window_start == START + 5000
    assert house.offered(node) == []
    house.refuses(Conflict, house.take, node, later)
    house.clock.now = START + 5000
    maintenance.tick(house.app)
    assert {later.guid, open_now.guid} <= set(house.offered(node))


def test_a_store_waits_for_the_window_that_a_person_named(house: House):
    node = house.node()
    [export] = house.export(windowStart=START)
    house.take(node, export)
    adopted(house)
    house.finish(node, export, **EXPORTED)
    store = house.row(house.follower(export))
    assert (store.window_start, store.ready) == (START, False)


def test_work_from_before_the_clock_went_back_goes_first(house: House):
    node = house.node()
    [old] = house.export()
    adopted(house)
    house.clock.now += 1000
    [new] = house.export(house.entities[1])
    assert house.row(old).rank == rank(START - BACK, old.priority)
    assert house.offered(node) == [old.guid, new.guid]


def test_two_servers_that_see_the_same_step_move_a_window_once(house: House):
    [export] = house.export()
    adopted(house)
    first = house.row(export).window_start
    house.clock.drift = -BACK
    house.clock.now += BACK
    maintenance.tick(house.app)
    assert house.row(export).window_start == first


def _queued(house: House) -> list[str]:

    found, _ = task_service.page(house.app, Filter(states=["QUEUED"], types=["EXPORT"]))
    return [task.guid for task, _ in found]
