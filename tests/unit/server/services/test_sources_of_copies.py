"""A copy reads from its source: changes and failures of the source affect the copy."""

from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa

from haulback.contract.copies import Copying
from haulback.contract.destinations import ChangedDestination
from haulback.contract.order_records import Owner
from haulback.contract.space import SpaceUsage
from haulback.errors import Conflict
from haulback.ids import new_guid
from haulback.kinds.backup_destination_sync import KIND as SYNC
from haulback.server.services import breakers as closing
from haulback.server.services import destinations, node_tasks
from haulback.server.store import breakers, rows, space, tables, tasks
from haulback.tasks.record import HOUR_MS
from haulback.units import DAY_MS, utc
from haulback.wire import Ref
from tests.unit.server.conftest import START, House
from tests.unit.server.services.test_breakers import why
from tests.unit.server.services.test_destination_sync import Copies


@pytest.fixture
def copies(house: House) -> Copies:
    return Copies(house)


def test_a_waiting_copy_follows_the_nodes_of_its_source(copies: Copies):
    house, other = copies.house, copies.house.node("n2")
    copies.stored(copies.rule())
    [sync] = copies.syncs()
    source, app = house.destination.guid, house.app
    change = ChangedDestination(nodes=[Ref(other.guid)])
    destinations.change_destination(app, source, change, house.user)
    assert house.row(sync).pinned_node == other.guid
    house.take(other, sync)
    change = ChangedDestination(nodes=[Ref(copies.node.guid)])
    with pytest.raises(Conflict, match="a task of type BACKUP_DESTINATION_SYNC on node n2 uses bd"):
        destinations.change_destination(app, source, change, house.user)


def test_copies_wait_while_their_source_does_not_answer(copies: Copies):
    house, source = copies.house, copies.house.destination.guid
    rule = copies.rule()
    for _ in range(4):
        copies.stored(rule)
    for _ in range(3):
        sync = copies.syncs()[0]
        house.take(copies.node, sync)
        away = {"failure": "unavailable", "awayDestination": source}
        node_tasks.add_results(house.app, copies.node, sync.guid, away)
        house.fail(copies.node, sync)
    with house.app.store.read() as sql:
        assert breakers.open_ones(sql) == {source}
        query = sa.select(*tasks.COLUMNS).where(tables.task.c.type == SYNC.type)
        [waits] = [
            task for row in sql.execute(query) if (task := tasks.task_of(row)).state == "QUEUED"
        ]
    assert copies.syncs() == []
    refused = house.refuses(Conflict, house.take, copies.node, waits)
    assert "the destination that it copies from does not answer" in refused
    assert "its source: the backup destination bd does not answer since 2027-" in why(house, waits)
    closing.close(house.app, source, house.user)
    assert [task.guid for task in copies.syncs()] == [waits.guid]


def test_a_hanging_source_leaves_a_place_of_the_copies_to_the_others(copies: Copies):
    house, other = copies.house, copies.destination("other")
    copies.stored(copies.rule())
    copies.far = other
    copies.stored(copies.rule())
    first, second = copies.syncs()
    house.take(copies.node, first)
    assert copies.syncs() == []
    refused = house.refuses(Conflict, house.take, copies.node, second)
    assert "of this destination" in refused


def test_a_copy_that_was_planned_in_time_starts_in_the_hours_for_copies_only(copies: Copies):
    house = copies.house
    hour = START % DAY_MS // HOUR_MS
    start, end = (HOUR_MS * ((hour + more) % 24) for more in (0, 1))
    hours = ChangedDestination(copying=Copying(startHour=start, endHour=end))
    destinations.change_destination(house.app, copies.far.guid, hours, house.user)
    copies.stored(copies.rule())
    [sync] = copies.syncs()
    house.clock.now += HOUR_MS
    assert copies.syncs() == []
    refused = house.refuses(Conflict, house.take, copies.node, sync)
    assert "the hours for copies to far are not open" in refused
    opening = utc(START // HOUR_MS * HOUR_MS + DAY_MS)
    assert why(house, sync) == f"the hours for copies to far open at {opening}"
    house.clock.now += 23 * HOUR_MS - 1
    assert copies.syncs() == []


def test_a_second_destination_of_another_server_stops_no_backup(copies: Copies):
    rule, other = copies.rule(), Owner(number=2, server=new_guid(), name="new")
    with copies.house.app.store.write() as sql:
        far = msgspec.structs.replace(copies.far, owner=other)
        rows.change(sql, tables.destination, far)
    store = copies.stored(rule)
    assert [sync.follows for sync in copies.syncs()] == [store.guid]


def test_the_bytes_of_a_copy_count_for_the_space_of_its_destination(copies: Copies):
    measured = SpaceUsage(held=100, living=80)
    copies.ledger(lambda ledger: ledger.destinations.measured(copies.far.guid, measured))
    copies.both()
    with copies.house.app.store.read() as sql:
        assert space.of(sql, [copies.far.guid])[copies.far.guid].held == 105
