"""A waiting restore moves to another location when its destination stops answering."""

from __future__ import annotations

import msgspec
import pytest

from haulback.server.services import maintenance
from haulback.server.store import rows, tables
from haulback.tasks.record import Task
from tests.unit.server.conftest import House
from tests.unit.server.services.test_breakers import opened, why
from tests.unit.server.services.test_destination_sync import Copies


@pytest.fixture
def copies(house: House) -> Copies:
    return Copies(house)


def restore(copies: Copies, backup: str) -> Task:
    body = {"backup": backup, "node": copies.node.guid, "restorePath": "/r"}
    return copies.house.submit("restore", body)[0]


def test_a_restore_that_waits_goes_on_at_another_location(copies: Copies):
    house, backup = copies.house, copies.both()
    waits = restore(copies, backup)
    assert waits.ref("backupDestination") == house.destination.guid
    opened(house, copies.node)
    assert waits.guid not in house.offered(copies.node)
    maintenance.tick(house.app)
    assert waits.guid in house.offered(copies.node)
    moved = house.row(waits)
    assert moved.ref("backupDestination") == copies.far.guid
    [copy] = [item for item in copies.locations(backup) if item.destination == copies.far.guid]
    assert (moved.ref("backup"), copies.order(moved).backup) == (copy.guid, copy.guid)
    house.take(copies.node, waits)


def test_a_restore_without_another_reachable_location_waits_for_its_destination(copies: Copies):
    house, backup, other = copies.house, copies.both(), copies.house.node("n2")
    waits = restore(copies, backup)
    with house.app.store.write() as sql:
        far = msgspec.structs.replace(copies.far, node=other.guid)
        rows.change(sql, tables.destination, far)
    opened(house, copies.node)
    maintenance.tick(house.app)
    assert house.row(waits).ref("backupDestination") == house.destination.guid
    assert "bd does not answer since" in why(house, waits)


def test_an_import_that_waits_is_pinned_to_the_nodes_of_the_other_location(copies: Copies):
    house, backup = copies.house, copies.both()
    with house.app.store.write() as sql:
        far = msgspec.structs.replace(copies.far, node=copies.node.guid)
        rows.change(sql, tables.destination, far)
    body = {"backup": backup, "hypervisor": {"guid": house.hypervisor.guid}}
    [checks] = house.submit("restore-and-import", {**body, "restoredPeName": "again"})
    opened(house, copies.node)
    maintenance.tick(house.app)
    moved = house.row(checks)
    assert moved.ref("backupDestination") == copies.far.guid
    assert moved.pinned_node == copies.node.guid
