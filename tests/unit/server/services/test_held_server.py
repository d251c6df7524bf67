"""A held server: the waiting work, and the end of the hold."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.errors import Conflict
from haulback.inventory.own_server import OWN_ENTITY
from haulback.server.services import destinations, hypervisors, machines, maintenance, node_tasks
from haulback.server.services import hold as held_server
from haulback.server.store import alarms, hold, tables
from haulback.server.store.event_tables import event
from haulback.units import DAY_MS
from tests.unit.server.conftest import House

GUID = "00000000-0000-4000-8000-000000000001"
UNKNOWN = {"backup": GUID, "entity": GUID, "name": "web", "snapshotTime": 5}
VERIFIED = {"cursor": "", "isRound": True, "unknown": 3, "unknownBackups": [UNKNOWN]}


@pytest.fixture
def held(house: House) -> House:
    with house.app.store.write() as sql:
        held_server.begin(sql, house.clock.now, house.clock.now - 1, "the copy of yesterday")
    return house


def events(house: House) -> list[tuple[str, str]]:
    with house.app.store.read() as sql:
        return [tuple(row) for row in sql.execute(sa.select(event.c.kind, event.c.text))]  # type: ignore[misc]


def cleanup(house: House) -> object:
    return {"backupDestinations": [house.destination.guid]}


def test_a_held_server_starts_no_task_that_deletes(house: House):
    [task] = house.submit("remove-old-backups", cleanup(house))
    node = house.node()
    with house.app.store.write() as sql:
        held_server.begin(sql, house.clock.now, house.clock.now, "restored")
    why = house.refuses(Conflict, house.submit, "remove-old-backups", cleanup(house))
    assert "the server is held" in why
    assert "haulback server hold --lift" in why
    why = house.refuses(Conflict, house.submit, "delete", {"value": house.entities[0].guid})
    assert "the server is held" in why
    assert house.offered(node) == []
    house.refuses(Conflict, house.take, node, task)
    with house.app.store.write() as sql:
        house.app.tidy_node(sql, node.guid)
    assert house.offered(node) == []
    assert house.export()  # backups are made meanwhile
    held_server.lift(house.app, house.user)
    assert task.guid in house.offered(node)
    house.take(node, task)


def test_the_hold_ends_when_the_catalogue_of_every_destination_was_read(held: House):
    node = held.node()
    maintenance.tick(held.app)
    [verify] = [task for task in node_tasks.offer(held.app, node) if task.type == "VERIFY"]
    maintenance.tick(held.app)
    assert len(held.offered(node)) == 1  # one comparison at a time
    held.take(node, verify)
    held.fail(node, verify)
    maintenance.tick(held.app)
    assert held.offered(node) == []
    held.clock.now += 16 * 60_000
    maintenance.tick(held.app)
    [again] = held.offered(node)
    held.take(node, again)
    held.finish(node, again, **VERIFIED)
    [row] = held_server.shown(held.app).destinations
    assert (row.lookedThrough, row.unknownBackups) == (held.clock.now, 3)
    assert [backup.name for backup in row.unknown] == ["web"]
    with held.app.store.read() as sql:
        assert alarms.seen(sql, AlarmKind.SERVER_HELD, OWN_ENTITY) is not None
    maintenance.tick(held.app)
    assert not held_server.shown(held.app).held
    with held.app.store.read() as sql:
        assert alarms.seen(sql, AlarmKind.SERVER_HELD, OWN_ENTITY) is None
    assert events(held)[-1] == (
        "HOLD_LIFTED",
        "a VERIFY has read every destination: bd holds 3 unknown backups",
    )


def test_a_held_server_removes_no_record_that_a_lost_backup_may_need(held: House):
    app, user = held.app, held.user
    why = held.refuses(Conflict, destinations.remove_destination, app, held.destination.guid, user)
    assert "the server is held" in why
    held.refuses(Conflict, hypervisors.remove_hypervisor, app, held.hypervisor.guid, user)
    held.refuses(Conflict, machines.remove_absent, app, user)


def test_a_verify_from_before_the_hold_does_not_end_it(house: House):
    node = house.node()
    [verify] = house.submit("verify", cleanup(house))
    house.take(node, verify)
    house.clock.now += 1
    with house.app.store.write() as sql:
        held_server.begin(sql, house.clock.now, 1, "restored")
    house.finish(node, verify, **VERIFIED)
    maintenance.tick(house.app)
    assert held_server.shown(house.app).held


def test_a_person_lifts_the_hold_once(held: House):
    assert not held_server.lift(held.app, held.user).held
    assert not held_server.lift(held.app, held.user).held
    kinds = [kind for kind, _ in events(held) if not kind.startswith("ALARM")]
    assert kinds == ["SERVER_HELD", "HOLD_LIFTED"]
    with held.app.store.read() as sql:
        assert not hold.is_held(sql)


def test_no_schedule_runs_while_the_server_is_held(house: House):
    maintenance.start(house.app)  # the system schedules
    maintenance.tick(house.app)
    with house.app.store.write() as sql:
        held_server.begin(sql, house.clock.now, 1, "restored")
    for _ in range(3):
        house.clock.now += DAY_MS // 2
        maintenance.tick(house.app)
    assert planned(house) == {"VERIFY"}  # the comparison
    held_server.lift(house.app, house.user)
    for _ in range(3):
        house.clock.now += DAY_MS // 2
        maintenance.tick(house.app)
    assert planned(house) >= {"VERIFY", "EXPORT", "STORE"}


def planned(house: House) -> set[str]:
    """The types of all tasks."""
    with house.app.store.read() as sql:
        return set(sql.scalars(sa.select(tables.task.c.type)))
