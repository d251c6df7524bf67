"""Protection states follow backups, policies and time, and each change is an event."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.records import Entity
from haulback.server.services import configuration, maintenance, protection
from haulback.server.services.configuration import RequestRecord
from haulback.server.services.record_kinds import RECORD_KINDS
from haulback.server.store import tables
from haulback.server.store.event_tables import event
from haulback.server.store.ledger import SqlLedger
from haulback.wire import request
from tests.unit.server.conftest import EXPORTED, House

DAY, HOUR = 86_400_000, 3_600_000


def saved(house: House, kind: str, body: dict[str, Any], guid: str = "") -> dict[str, Any]:
    """Add or change a record as a portal does; returns the record with its guid."""
    encoded, known = msgspec.json.encode(body), RECORD_KINDS[kind]
    sent = RequestRecord(known, lambda: request(encoded, known.struct), encoded)
    if guid:
        return configuration.change(house.app, house.user, guid, sent, lambda made, _: made.guid)
    made = configuration.add(house.app, house.user, sent, lambda made, _: made.guid)
    return {**body, "guid": made}


def policy(house: House, *machines: Entity, **more: Any) -> dict[str, Any]:
    """A policy with a rule that a nightly schedule fires."""
    night = {"name": new_guid(), "hour": 22 * HOUR, "startWindowLength": 2 * HOUR}
    schedule = saved(house, "schedule", night)
    body = {
        "name": new_guid(),
        "vms": [machine.guid for machine in machines],
        "rules": [{"name": "r", "schedules": [schedule["guid"]]}],
        **more,
    }
    return {**saved(house, "vm-backup", body), "schedule": schedule}


def state(house: House, machine: Entity) -> str:
    protection.before_answer(house.app)
    with house.app.store.read() as sql:
        column = tables.entity.c
        query = sa.select(column.protection).where(column.guid == machine.guid)
        return str(sql.scalar(query))


def counts(house: House) -> dict[str, int]:
    known = protection.counts(house.app, house.user)
    return {name.value: count for name, count in known.items() if count}


def backed_up(house: House, machine: Entity, *, fails: bool = False) -> None:
    node = house.node()
    [task] = house.export(machine)
    house.take(node, task)
    if fails:
        return house.fail(node, task)
    house.finish(node, task, **{**EXPORTED, "snapshotTime": house.clock.now})
    store = house.follower(task)
    house.take(node, store)
    return house.finish(node, store, stored=5)


def told(house: House, machine: Entity) -> list[tuple[str, str]]:
    with house.app.store.read() as sql:
        rows = sql.execute(
            sa.select(event).where(event.c.subject == machine.guid).order_by(event.c.number)
        ).all()
    changes = [json.loads(row.data) for row in rows if row.kind == "PROTECTION_CHANGED"]
    return [(change["before"], change["state"]) for change in changes]


def test_a_machine_goes_through_the_states_and_each_change_is_an_event(house: House):
    db, mail, _web = house.entities
    made = policy(house, db)
    assert counts(house) == {"NEVER": 1, "UNASSIGNED": 2}
    backed_up(house, db)
    assert (state(house, db), state(house, mail)) == ("PROTECTED", "UNASSIGNED")
    house.clock.now += HOUR
    backed_up(house, db, fails=True)
    assert state(house, db) == "FAILING"
    house.clock.now += DAY
    assert state(house, db) == "FAILING"  # 25 hours; a night and its window are 26
    house.clock.now += HOUR + 1
    assert state(house, db) == "LATE"
    backed_up(house, db)
    assert state(house, db) == "PROTECTED"
    saved(house, "vm-backup", {"name": made["name"], "active": False}, made["guid"])
    assert state(house, db) == "UNASSIGNED"
    assert told(house, db) == [
        ("UNASSIGNED", "NEVER"),
        ("NEVER", "PROTECTED"),
        ("PROTECTED", "FAILING"),
        ("FAILING", "LATE"),
        ("LATE", "PROTECTED"),
        ("PROTECTED", "UNASSIGNED"),
    ]
    assert told(house, mail) == []
    assert sum(counts(house).values()) == 3


def test_the_rpo_of_a_policy_replaces_that_of_its_schedules(house: House):
    db = house.entities[0]
    made = policy(house, db, rpo=str(HOUR))
    backed_up(house, db)
    house.clock.now += HOUR + 1
    assert state(house, db) == "LATE"
    saved(house, "vm-backup", {"name": made["name"], "rpo": None}, made["guid"])
    assert state(house, db) == "PROTECTED"
    for bad in (59_999, -1, 11 * 365 * DAY):
        with pytest.raises(Malformed) as caught:
            saved(house, "vm-backup", {"name": new_guid(), "rpo": bad})
        assert caught.value.details["field"] == "rpo"


def test_a_changed_schedule_changes_what_is_late(house: House):
    db = house.entities[0]
    made = policy(house, db)
    backed_up(house, db)
    house.clock.now += 2 * DAY
    assert state(house, db) == "LATE"
    weekly = {**made["schedule"], "daysOfWeek": ["MONDAY"]}
    saved(house, "schedule", weekly, made["schedule"]["guid"])
    assert state(house, db) == "PROTECTED"
    saved(house, "schedule", {**weekly, "active": False}, made["schedule"]["guid"])
    house.clock.now += 400 * DAY
    assert state(house, db) == "PROTECTED"  # no schedule requests a newer backup
    configuration.remove(house.app, house.user, RECORD_KINDS["vm-backup"], made["guid"])
    assert state(house, db) == "UNASSIGNED"


def test_a_machine_that_was_taken_away_becomes_late(house: House):
    db, mail, web = house.entities
    policy(house, db)
    backed_up(house, db)
    with house.app.store.write() as sql:
        SqlLedger(sql, house.clock.now).inventory.scanned(
            house.hypervisor.guid, [mail, web], complete_since=house.clock.now + 1
        )
    house.clock.now += 2 * DAY
    maintenance.tick(house.app)
    assert counts(house) == {"LATE": 1, "UNASSIGNED": 2}


def test_a_clock_that_was_ahead_makes_nothing_late_for_good(house: House):
    db = house.entities[0]
    policy(house, db)
    backed_up(house, db)
    house.clock.now += 30 * DAY
    assert state(house, db) == "LATE"
    house.clock.drift = -30 * DAY
    maintenance.tick(house.app)
    assert state(house, db) == "PROTECTED"


def test_many_machines_of_a_policy_are_judged_in_bounded_pieces(house: House):
    with house.app.store.write() as sql:
        many = [
            Entity(guid=new_guid(), uuid=new_guid(), name=f"m{n}", hypervisor=house.hypervisor.guid)
            for n in range(1203)
        ]
        SqlLedger(sql, house.clock.now).inventory.scanned(
            house.hypervisor.guid, many, complete_since=None
        )
    made = policy(house, *many)
    maintenance.tick(house.app)
    assert counts(house) == {"NEVER": 1203, "UNASSIGNED": 3}
    saved(house, "vm-backup", {"name": made["name"], "active": False}, made["guid"])
    maintenance.tick(house.app)
    assert counts(house) == {"UNASSIGNED": 1206}
