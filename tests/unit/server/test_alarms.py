"""Alarms on SQLite and on PostgreSQL: raised, updated, cleared, removed with their subjects."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.contract.destinations import ChangedDestination
from haulback.ids import new_guid
from haulback.inventory.alarms import Alarm
from haulback.inventory.records import Entity
from haulback.server.queries import ListQuery
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.services import destinations, hypervisors
from haulback.server.store import audit, lists, tables
from haulback.server.store.ledger import SqlLedger
from haulback.wire import Named
from tests.unit.server.conftest import START, House


def shown(house: House, scope: Scope = EVERYTHING, **more: Any) -> list[Alarm]:
    with house.app.store.read() as sql:
        found, total = lists.alarms(sql, ListQuery(scope=scope, **more))
    assert total >= len(found)
    return found


def raised(
    house: House, kind: AlarmKind, subject: Named, text: str = "x", later: int = 0, **details: Any
) -> None:
    with house.app.store.write() as sql:
        SqlLedger(sql, START + later).alarms.report(kind, subject, text, details)


def machine(house: House, number: int = 0) -> Entity:
    return house.entities[number]


def audited(house: House, subject: str) -> list[str]:
    with house.app.store.read() as sql:
        return [one.operation for one in audit.read(sql, subject, None, 100)]


def test_an_alarm_that_is_raised_again_keeps_its_age(house: House):
    subject = machine(house).named()
    raised(house, AlarmKind.MACHINE_UNREADABLE, subject, "no header", folder="db")
    raised(house, AlarmKind.MACHINE_UNREADABLE, subject, "torn", later=5, folder="other")
    [found] = shown(house)
    assert (found.since, found.seen, found.text) == (START, START + 5, "torn")
    assert (found.kind, found.subject_type) == ("MACHINE_UNREADABLE", "VM")
    assert (found.subject, found.subject_name) == (subject.guid, "db")
    assert found.details == {"folder": "other"}
    assert audited(house, subject.guid) == ["alarm MACHINE_UNREADABLE"]


def test_a_cleared_alarm_is_gone_and_begins_anew(house: House):
    place = Named(house.hypervisor.guid, "hv")
    raised(house, AlarmKind.SOURCE_NOT_BELIEVED, place)
    raised(house, AlarmKind.MACHINE_UNREADABLE, place)
    with house.app.store.write() as sql:
        for _ in range(2):
            SqlLedger(sql, START + 1).alarms.clear(AlarmKind.SOURCE_NOT_BELIEVED, place.guid)
    [other] = shown(house)
    assert (other.kind, other.subject_type) == ("MACHINE_UNREADABLE", "HYPERVISOR")
    assert audited(house, place.guid)[0] == "clear alarm SOURCE_NOT_BELIEVED"
    raised(house, AlarmKind.SOURCE_NOT_BELIEVED, place, later=9)
    assert [item.since for item in shown(house, subject=place.guid)] == [START + 9, START]


def test_lists_of_alarms_are_restricted_and_the_newest_comes_first(house: House):
    for number in range(3):
        raised(house, AlarmKind.MACHINE_UNREADABLE, machine(house, number).named(), later=number)
    raised(house, AlarmKind.CLEANUP_BLOCKED, Named(house.destination.guid, "bd"), later=3, bytes=7)
    names = [item.subject_name for item in shown(house)]
    assert names == ["bd", "web", "mail", "db"]
    assert [item.subject_name for item in shown(house, size=2, page=1)] == ["mail", "db"]
    assert [item.subject_name for item in shown(house, types=["CLEANUP_BLOCKED"])] == ["bd"]
    assert [item.subject_name for item in shown(house, text="EB")] == ["web"]
    assert [item.subject_name for item in shown(house, since=START + 2)] == ["bd", "web"]
    assert [item.details for item in shown(house, subject=house.destination.guid)] == [{"bytes": 7}]


def test_an_alarm_belongs_to_the_project_of_its_subject(house: House):
    item = machine(house)
    [export] = house.export()
    backup = Named(export.ref("backup") or "", "db")
    raised(house, AlarmKind.MACHINE_UNREADABLE, item.named())
    raised(house, AlarmKind.BACKUP_DAMAGED, backup)
    raised(house, AlarmKind.REPOSITORY_DAMAGED, Named(house.destination.guid, "bd"))
    tenant = Scope(frozenset({"acme"}))
    assert shown(house, tenant) == []
    with house.app.store.write() as sql:
        SqlLedger(sql, START).inventory.change_project(item.guid, "acme")
        sql.execute(sa.update(tables.entity).where(tables.entity.c.guid == item.guid).values(
            project="acme"))  # fmt: skip
    assert {entry.subject for entry in shown(house, tenant)} == {item.guid, backup.guid}
    raised(house, AlarmKind.MACHINE_UNREADABLE, item.named(), later=1)
    assert len(shown(house, tenant)) == 2
    assert len(shown(house, Scope(None, "acme"))) == 2


def test_alarms_go_with_what_they_are_about(house: House):
    item = machine(house)
    [export] = house.export()
    node = house.node()
    house.take(node, export)
    house.fail(node, export)
    backup = export.ref("backup") or ""
    raised(house, AlarmKind.BACKUP_MISSING, Named(backup, "db"))
    raised(house, AlarmKind.MACHINE_UNREADABLE, item.named())
    raised(house, AlarmKind.SOURCE_NOT_BELIEVED, Named(house.hypervisor.guid, "hv"))
    raised(house, AlarmKind.DESTINATION_UNRELIABLE, Named(house.destination.guid, "bd"))
    with house.app.store.write() as sql:
        SqlLedger(sql, START).removals.deleted([backup])
    assert "BACKUP_MISSING" not in [entry.kind for entry in shown(house)]
    with house.app.store.write() as sql:
        SqlLedger(sql, START).removals.forget_entity(item.guid)
    assert "MACHINE_UNREADABLE" not in [entry.kind for entry in shown(house)]
    raised(house, AlarmKind.MACHINE_UNREADABLE, machine(house, 1).named())
    hypervisors.remove_hypervisor(house.app, house.hypervisor.guid, house.user)
    assert [entry.kind for entry in shown(house)] == ["DESTINATION_UNRELIABLE"]
    destinations.remove_destination(house.app, house.destination.guid, house.user)
    assert shown(house) == []


def test_a_backup_that_is_to_go_leaves_no_alarm(house: House):
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=5)
    backup = store.ref("backup") or ""
    raised(house, AlarmKind.BACKUP_DAMAGED, Named(backup, "db"))
    with house.app.store.write() as sql:
        SqlLedger(sql, START).removals.remove(iter([backup]), "it had its time")
    assert shown(house) == []


def test_no_alarm_is_raised_about_what_is_gone(house: House):
    raised(house, AlarmKind.BACKUP_MISSING, Named(new_guid(), "never was"))
    assert shown(house) == []


def test_no_alarm_outlives_a_subject_that_is_removed_at_the_same_time(house: House):
    for _ in range(4):
        with house.app.store.write() as sql:
            new = Entity(
                guid=new_guid(), uuid=new_guid(), name="n", hypervisor=house.hypervisor.guid
            )
            SqlLedger(sql, START).inventory.scanned(new.hypervisor, [new], complete_since=None)

        def forget(guid: str = new.guid) -> None:
            with house.app.store.write() as sql:
                SqlLedger(sql, START).removals.forget_entity(guid)

        with ThreadPoolExecutor(2) as pool:
            work = [
                pool.submit(raised, house, AlarmKind.MACHINE_UNREADABLE, new.named()),
                pool.submit(forget),
            ]
            for done in work:
                done.result()
        assert shown(house) == []


def test_many_that_raise_the_same_alarm_raise_one(house: House):
    subject = machine(house).named()
    with ThreadPoolExecutor(4) as pool:
        work = [
            pool.submit(raised, house, AlarmKind.MACHINE_UNREADABLE, subject, "x", number)
            for number in range(8)
        ]
        for done in work:
            done.result()
    assert len(shown(house)) == 1


def test_an_alarm_holds_no_control_characters_of_a_hostile_name(house: House):
    subject = Named(machine(house).guid, "a\x1b[2Jb\nc" + "x" * 1000)
    raised(house, AlarmKind.MACHINE_UNREADABLE, subject, "bad\0\x07text" + "y" * 5000)
    [found] = shown(house)
    assert found.subject_name.isprintable()
    assert found.text.isprintable()
    assert (len(found.subject_name), len(found.text)) == (400, 2000)


def test_an_alarm_bears_the_new_name_of_its_subject(house: House):
    raised(house, AlarmKind.VERIFY_OVERDUE, Named(house.destination.guid, "bd"))
    wanted = ChangedDestination(name="vault")
    destinations.change_destination(house.app, house.destination.guid, wanted, house.user)
    assert [one.subject_name for one in shown(house)] == ["vault"]
