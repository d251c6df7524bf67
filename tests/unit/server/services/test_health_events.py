"""Events of nodes, keys, certificates, alarms and destinations."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback.contract.alarms import AlarmKind
from haulback.contract.events import EventRecord
from haulback.contract.task_states import State
from haulback.errors import Conflict
from haulback.server.key_vault import KeyVault, certificate_end
from haulback.server.queries import EventQuery
from haulback.server.services import events as service
from haulback.server.services import health_events, node_tasks
from haulback.server.store import events, nodes, tables
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.end_events import troubles
from haulback.tasks.record import HOUR_MS, Task
from haulback.units import DAY_MS
from haulback.wire import Named
from tests import certificates
from tests.unit.server.conftest import House


def told(house: House, *kinds: str) -> list[EventRecord]:
    return service.page(house.app, EventQuery(after=0, kinds=list(kinds)))


def look(house: House, later: int = 0) -> None:
    """Let time pass, with a check every 20 s as in a running server."""
    step = 20_000 if later < HOUR_MS else later
    for _ in range(max(1, later // step)):
        house.clock.now += step
        health_events.look(house.app)


def test_a_server_that_was_away_calls_no_node_silent_before_it_listened(house: House) -> None:
    house.node()
    look(house)
    house.clock.now += DAY_MS
    look(house)
    assert told(house, "NODE_DOWN") == []
    look(house, 200_000)
    assert len(told(house, "NODE_DOWN")) == 1


def test_a_node_that_falls_silent_and_speaks_again_is_two_events(house: House) -> None:
    node = house.node()
    look(house)
    assert told(house, "NODE_DOWN", "NODE_UP") == []
    look(house, 100_000)
    look(house, 100_000)
    with house.app.store.write() as sql:
        nodes.seen(sql, node.guid, house.clock.now, 1, 1)
    look(house)
    look(house)
    look(house, 100_000)
    kinds = [event.kind.name for event in told(house, "NODE_DOWN", "NODE_UP")]
    assert kinds == ["NODE_DOWN", "NODE_UP", "NODE_DOWN"]


def test_a_dead_node_stays_down_after_a_restart_of_the_server(house: House) -> None:
    house.node()
    look(house)
    look(house, 200_000)
    house.clock.now += DAY_MS  # no server runs
    look(house)
    look(house, 200_000)
    assert [event.kind.name for event in told(house, "NODE_DOWN", "NODE_UP")] == ["NODE_DOWN"]


def test_two_servers_report_a_silent_node_once(house: House) -> None:
    house.node()
    house.clock.now += 100_000
    with house.app.store.read() as sql:
        [node] = nodes.nodes(sql)
        first, second = (health_events._of_node(sql, node, house.clock.now, 0) for _ in range(2))
    assert first
    assert second
    for event in (first, second):
        with house.app.store.write() as sql:
            events.add(sql, event)
    assert len(told(house, "NODE_DOWN")) == 1


def test_a_certificate_that_ends_soon_is_told_every_day(house: House, tmp_path: Path) -> None:
    cert, _ = certificates.self_signed(tmp_path)
    house.app.certificate = str(cert)
    house.clock.now = _end(cert) - 20 * DAY_MS - 120_000  # each check takes 20 s
    look(house)
    assert told(house, "KEY_TROUBLE") == []
    look(house, 10 * DAY_MS)
    look(house)
    look(house, DAY_MS)
    look(house, 10 * DAY_MS)
    texts = [event.text for event in told(house, "KEY_TROUBLE")]
    assert ["10 days" in texts[0], "9 days" in texts[1], "has expired" in texts[2]] == [True] * 3
    assert len(texts) == 3
    house.app.certificate = str(tmp_path / "none")
    look(house, DAY_MS)
    assert len(told(house, "KEY_TROUBLE")) == 3


def _end(cert: Path) -> int:
    end = certificate_end(cert)
    assert end
    return end


def test_a_key_that_no_longer_fits_is_told_once_a_day(house: House, tmp_path: Path) -> None:
    house.app.vault = KeyVault.open(tmp_path / "server.key")
    (tmp_path / "server.key").unlink()
    for _ in range(3):
        look(house, 60_000)
    [event] = told(house, "KEY_TROUBLE")
    assert "missing" in event.text


def test_an_alarm_is_an_event_when_it_begins_and_when_it_ends(house: House) -> None:
    machine = house.entities[0]
    for text in ("why", "still"):
        with house.app.store.write() as sql:
            about = Named(machine.guid, machine.name)
            ledger = SqlLedger(sql, house.clock.now)
            ledger.alarms.report(AlarmKind.MACHINE_UNREADABLE, about, text, {})
    with house.app.store.write() as sql:
        SqlLedger(sql, house.clock.now).alarms.clear(AlarmKind.MACHINE_UNREADABLE, machine.guid)
    raised, cleared = told(house, "ALARM_RAISED", "ALARM_CLEARED")
    assert (raised.subject.guid, raised.data["alarm"]) == (machine.guid, "MACHINE_UNREADABLE")
    assert (raised.text, cleared.kind.name) == ("machine unreadable: db: why", "ALARM_CLEARED")


def test_a_destination_that_fills_is_an_event_at_each_level(house: House) -> None:
    for used in (10, 79, 80, 85, 91, 70, 81, 99):
        with house.app.store.write() as sql:
            ledger = SqlLedger(sql, house.clock.now)
            ledger.destinations.space(house.destination.guid, 100, 100 - used)
    shares = [event.data["percent"] for event in told(house, "DESTINATION_FILLING")]
    assert shares == [80, 91, 81, 99]


def test_a_destination_that_does_not_answer_is_told_once_an_hour(house: House) -> None:
    node = house.node()
    for _ in range(2):
        store = house.exported(node)
        house.take(node, store)
        node_tasks.add_results(house.app, node, store.guid, {"failure": "unavailable"})
        house.fail(node, store)
    [event] = told(house, "DESTINATION_DOWN")
    assert (event.subject.name, "it broke" in event.text) == ("bd", True)


def test_a_proof_that_failed_is_an_event_about_the_backup(house: House) -> None:
    task = Task(type="PROVE", lane="restore", refs={"backup": Named("b", "db")})
    [event] = troubles(task, State.FAILED, 5)
    assert (event.kind.name, event.subject) == ("PROOF_FAILED", "b")
    assert troubles(task, State.FINISHED, 5) == []


def test_a_lock_that_refuses_a_deletion_is_an_event(house: House) -> None:
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=5)
    guid = store.ref("backup")
    with house.app.store.write() as sql:
        table = tables.backup
        until = house.clock.now + DAY_MS
        sql.execute(table.update().where(table.c.guid == guid).values(keep_until=until))
    with pytest.raises(Conflict):
        house.submit("delete", {"value": house.entities[0].guid})
    [event] = told(house, "LOCK_REFUSED")
    assert (event.subject.guid, event.data["user"]) == (guid, "admin")
    house.submit("batch-delete", [{"value": house.entities[0].guid}])
    assert [event.subject.guid for event in told(house, "LOCK_REFUSED")] == [guid, guid]
