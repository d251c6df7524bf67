"""Machines that scans miss or cannot read, on SQLite and on PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from haulback.contract.destinations import ChangedDestination, Retention
from haulback.contract.node_tasks import FullInventory, OneInventory
from haulback.contract.order_records import Hypervisor
from haulback.errors import Conflict, Malformed, NotFound
from haulback.ids import new_guid
from haulback.inventory.alarms import Alarm
from haulback.inventory.records import Entity, Record
from haulback.server.caller import Node
from haulback.server.queries import ListQuery
from haulback.server.scope import EVERYTHING
from haulback.server.services import destinations, hypervisors, retention_run
from haulback.server.services.inventory_sync import take_instance, take_inventory
from haulback.server.services.retention_terms import TermsBook
from haulback.server.store import audit, lists, retention, rows, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Task
from haulback.wire import Ref, Word
from tests.unit.server.conftest import House

UNBELIEVED, UNREADABLE = "SOURCE_NOT_BELIEVED", "MACHINE_UNREADABLE"


def grown(house: House, count: int, where: str = "") -> list[Entity]:
    """A hypervisor's machines m0, m1 and so on, seen now, with their folders."""
    host = where or house.hypervisor.guid
    new = [
        Entity(guid=new_guid(), uuid=new_guid(), name=f"m{n}", hypervisor=host, place=f"m{n}")
        for n in range(count)
    ]
    with house.app.store.write() as sql:
        sql.execute(sa.delete(tables.entity).where(tables.entity.c.hypervisor == host))
        SqlLedger(sql, house.clock.now).inventory.scanned(host, new, complete_since=None)
    return new


def host(house: House, manager: str | None = None) -> str:
    settings = {"hypervisorManager": manager} if manager else {}
    made = Hypervisor(
        guid=new_guid(), name=new_guid(), driver="image-folder", config={}, settings=settings
    )
    with house.app.store.write() as sql:
        rows.add(sql, tables.hypervisor, made)
    return made.guid


def begun(house: House, node: Node, where: str = "") -> Task:
    house.clock.now += 10
    [sync] = house.submit("inventory-sync", {"hypervisors": [where or house.hypervisor.guid]})
    house.take(node, sync)
    house.clock.now += 10
    return sync


def told(machines: list[Entity], **more: Any) -> dict[str, Any]:
    seen = [{"uuid": m.uuid, "name": m.name, "place": m.place} for m in machines]
    return {"machines": seen, **more}


def synced(house: House, node: Node, machines: list[Entity], where: str = "", **more: Any) -> None:
    sync = begun(house, node, where)
    house.finish(node, sync, **told(machines, **more))


def broken(where: str, message: str = "torn", uuid: str = "") -> dict[str, str]:
    return {"where": where, "message": message, "uuid": uuid}


def present(house: House, where: str = "") -> list[str]:
    with house.app.store.read() as sql:
        found = SqlCatalogue(sql).machines.on_hypervisor(where or house.hypervisor.guid)
    return [one.name for one in found if one.present]


def entity(house: House, guid: str) -> Entity:
    with house.app.store.read() as sql:
        return SqlCatalogue(sql).machines.get(guid)


def alarms(house: House, kind: str = UNBELIEVED) -> list[Alarm]:
    with house.app.store.read() as sql:
        return lists.alarms(sql, ListQuery(scope=EVERYTHING, types=[kind]))[0]


def test_a_source_that_shows_nothing_is_not_believed_until_it_shows_nothing_again(house: House):
    node, machines = house.node(), grown(house, 5)
    synced(house, node, [])
    first = house.clock.now
    assert len(present(house)) == 5
    [alarm] = alarms(house)
    assert (alarm.subject, alarm.since) == (house.hypervisor.guid, first)
    assert alarm.details["machines"] == [machine.name for machine in machines]
    assert (alarm.details["count"], alarm.details["of"]) == (5, 5)
    assert "confirm-absent hv" in alarm.text
    synced(house, node, [])
    assert present(house) == []
    assert alarms(house) == []
    assert entity(house, machines[0].guid).absent_since == first


@pytest.mark.parametrize(("count", "left"), [(1, 0), (2, 0), (3, 1), (5, 2), (9, 4)])
def test_the_loss_of_all_or_of_more_than_half_is_not_believed(house: House, count: int, left: int):
    node, machines = house.node(), grown(house, count)
    synced(house, node, machines[:left])
    assert len(present(house)) == count
    assert len(alarms(house)) == 1
    synced(house, node, machines[:left])
    assert len(present(house)) == left
    assert alarms(house) == []


@pytest.mark.parametrize(("count", "left"), [(2, 1), (4, 2), (3, 2), (9, 5)])
def test_the_loss_of_one_of_several_or_of_half_is_believed(house: House, count: int, left: int):
    node, machines = house.node(), grown(house, count)
    synced(house, node, machines[:left])
    assert present(house) == [one.name for one in machines[:left]]
    assert alarms(house) == []


def test_machines_that_come_back_are_as_if_they_had_never_been_missed(house: House):
    node, machines = house.node(), grown(house, 4)
    synced(house, node, [])
    synced(house, node, machines)
    assert alarms(house) == []
    assert all(entity(house, one.guid).absent_since is None for one in machines)
    synced(house, node, [])  # the doubt starts again
    assert len(present(house)) == 4


def test_machines_that_are_seen_are_updated_and_added_while_others_are_in_doubt(house: House):
    node, machines = house.node(), grown(house, 5)
    renamed = msgspec.structs.replace(machines[0], name="renamed")
    added = Entity(guid="", uuid=new_guid(), name="added", hypervisor="")
    synced(house, node, [renamed, added])
    assert present(house) == ["added", "m1", "m2", "m3", "m4", "renamed"]
    assert entity(house, machines[0].guid).absent_since is None


def test_the_same_task_told_again_does_not_confirm_itself(house: House):
    node, machines = house.node(), grown(house, 3)
    sync = begun(house, node)
    wanted = FullInventory(Word("KVM"), Ref(sync.guid), None, [])
    for _ in range(2):
        house.clock.now += 10
        take_inventory(house.app, node, wanted)
    house.finish(node, sync, machines=[])
    assert len(present(house)) == 3
    again = begun(house, node)
    take_inventory(house.app, node, FullInventory(Word("KVM"), Ref(again.guid), None, []))
    assert present(house) == []
    assert len(machines) == 3


def test_a_further_attempt_of_the_same_task_does_not_confirm_it(house: House):
    node = house.node()
    grown(house, 3)
    sync = begun(house, node)
    wanted = FullInventory(Word("KVM"), Ref(sync.guid), None, [])
    take_inventory(house.app, node, wanted)
    node = house.node()  # the node's process restarts, so that the task is queued again
    house.clock.now += 10
    house.take(node, sync)
    house.finish(node, sync, machines=[])
    assert len(present(house)) == 3


def test_inventories_that_ran_at_the_same_time_do_not_confirm_each_other(house: House):
    node, other = house.node("n1"), house.node("n2")
    grown(house, 3)
    one, two = begun(house, node), begun(house, other)
    house.finish(node, one, machines=[])
    house.finish(other, two, machines=[])
    assert len(present(house)) == 3
    synced(house, node, [])
    assert present(house) == []


def test_a_later_inventory_that_misses_the_rest_too_is_not_believed_either(house: House):
    node, machines = house.node(), grown(house, 10)
    synced(house, node, machines[6:])
    synced(house, node, [])
    assert len(present(house)) == 10
    assert alarms(house)[0].details["count"] == 10
    synced(house, node, [])
    assert present(house) == []


def test_deleting_more_while_the_first_loss_is_in_doubt_delays_nothing(house: House):
    node, machines = house.node(), grown(house, 10)
    synced(house, node, machines[6:])
    synced(house, node, machines[7:])
    assert present(house) == ["m7", "m8", "m9"]
    assert alarms(house) == []


def test_a_later_inventory_that_sees_some_again_is_believed_about_the_others(house: House):
    node, machines = house.node(), grown(house, 10)
    synced(house, node, machines[6:])
    synced(house, node, machines[4:])
    assert present(house) == [f"m{n}" for n in range(4, 10)]
    assert alarms(house) == []


def test_a_first_inventory_of_an_empty_source_is_no_loss(house: House):
    node, where = house.node(), host(house)
    synced(house, node, [], where)
    assert alarms(house) == []


def test_a_person_confirms_what_is_missed(house: House):
    node, machines = house.node(), grown(house, 3)
    with pytest.raises(Conflict, match="no absence"):
        hypervisors.confirm_absent(house.app, house.hypervisor.guid, house.user)
    synced(house, node, machines[:1])
    gone = hypervisors.confirm_absent(house.app, house.hypervisor.guid, house.user)
    assert [item.name for item in gone] == ["m1", "m2"]
    assert present(house) == ["m0"]
    assert alarms(house) == []
    with house.app.store.read() as sql:
        said = audit.read(sql, house.hypervisor.guid, None, 10)
    [entry] = [item for item in said if item.operation == "confirm absent machines"]
    assert [item["name"] for item in entry.after] == ["m1", "m2"]
    with pytest.raises(NotFound):
        hypervisors.confirm_absent(house.app, new_guid(), house.user)


def test_a_doubt_ends_with_the_last_machine_that_was_in_doubt(house: House):
    node, machines = house.node(), grown(house, 2)
    synced(house, node, [])
    with house.app.store.write() as sql:
        SqlLedger(sql, house.clock.now).removals.forget_entity(machines[0].guid)
    assert alarms(house)[0].details["count"] == 1
    with house.app.store.write() as sql:
        SqlLedger(sql, house.clock.now).removals.forget_entity(machines[1].guid)
    assert alarms(house) == []


def test_a_hypervisor_in_doubt_can_be_removed(house: House):
    node = house.node()
    grown(house, 2)
    synced(house, node, [])
    hypervisors.remove_hypervisor(house.app, house.hypervisor.guid, house.user)
    assert alarms(house) == []


def scoped(house: House, node: Node, asked: list[Entity], **results: Any) -> None:
    """A scan of some machines only, with the report of its node."""
    house.clock.now += 16 * 60_000
    house.export(*asked)
    [look] = [one for one in offered(house, node) if one.type == "SCOPED_INVENTORY_SYNC"]
    house.take(node, look)
    house.finish(node, look, **{"machines": [], **results})
    for task in offered(house, node):
        house.take(node, task)
        house.fail(node, task)


def offered(house: House, node: Node) -> list[Task]:
    return [house.row(guid) for guid in house.offered(node)]


def test_an_inventory_of_the_only_machine_is_believed_no_sooner(house: House):
    node, machines = house.node(), grown(house, 1)
    for expected in (["m0"], []):
        scoped(house, node, machines, gone=[machines[0].uuid])
        assert present(house) == expected
    assert alarms(house) == []


def test_inventories_of_single_machines_of_an_empty_source_are_not_believed(house: House):
    node, machines = house.node(), grown(house, 6)
    scoped(house, node, machines[:1], gone=[machines[0].uuid], shown=0)
    assert len(present(house)) == 6
    assert alarms(house)[0].details["machines"] == ["m0"]
    scoped(house, node, machines[1:2], gone=[machines[1].uuid], shown=5)
    assert present(house) == ["m0", "m2", "m3", "m4", "m5"]
    scoped(house, node, machines[:1], gone=[machines[0].uuid], shown=4)
    assert present(house) == ["m2", "m3", "m4", "m5"]
    assert alarms(house) == []


def test_an_inventory_of_one_machine_that_is_present_again_ends_its_doubt(house: House):
    node, machines = house.node(), grown(house, 1)
    synced(house, node, [])
    scoped(house, node, machines, **told(machines))
    assert alarms(house) == []
    assert entity(house, machines[0].guid).absent_since is None


def test_a_node_that_says_that_machines_are_absent_is_believed_no_sooner(house: House):
    node, machines = house.node(), grown(house, 3)
    absent = [{"uuid": m.uuid, "name": m.name, "present": False} for m in machines]
    unknown = {"uuid": new_guid(), "name": "never here", "present": False}
    for expected in (3, 0):
        sync = begun(house, node)
        delivered = FullInventory(Word("KVM"), Ref(sync.guid), None, [*absent, unknown])
        take_inventory(house.app, node, delivered)
        house.finish(node, sync)
        assert len(present(house)) == expected
    sync = begun(house, node)
    again = {"uuid": machines[0].uuid, "name": "m0"}
    take_inventory(house.app, node, FullInventory(Word("KVM"), Ref(sync.guid), None, [again]))
    one_inventory = OneInventory(Ref(machines[0].guid), Ref(sync.guid), {"present": False})
    take_instance(house.app, node, one_inventory)
    assert present(house) == ["m0"]


def stored(house: House, node: Node, machine: Entity) -> None:
    with house.app.store.write() as sql:
        facts = tables.entity.c.guid == machine.guid
        sql.execute(sa.update(tables.entity).where(facts).values(facts='{"lastBackup":1}'))


def managed(house: House, count: int = 2) -> list[str]:
    """Hosts of one manager."""
    manager = new_guid()
    with house.app.store.write() as sql:
        kept = Record(guid=manager, kind="hypervisor-manager", name="manager")
        rows.add(sql, tables.record, kept)
    return [host(house, manager) for _ in range(count)]


def test_an_old_record_at_another_host_excuses_no_loss(house: House):
    node, (here, before) = house.node(), managed(house)
    machines = grown(house, 2, before)
    synced(house, node, machines, here)  # the machines moved, and `before` was not scanned since
    for one in machines:
        assert entity(house, one.guid).hypervisor == before
    synced(house, node, [], here)
    assert len(present(house, here)) == 2
    assert len(alarms(house)) == 1


@pytest.mark.parametrize("order", ["left first", "arrived first"])
def test_a_host_whose_machines_moved_to_another_is_in_doubt_no_longer(house: House, order: str):
    node, (here, there) = house.node(), managed(house)
    machines = grown(house, 3, here)
    for machine in machines:
        stored(house, node, machine)
    if order == "left first":
        synced(house, node, [], here)
        assert len(alarms(house)) == 1
    synced(house, node, machines, there)
    if order == "arrived first":
        synced(house, node, [], here)
    assert alarms(house) == []
    assert present(house, here) == []
    moved = [entity(house, machine.guid) for machine in machines]
    assert all(item.present and item.hypervisor == there for item in moved)
    assert all(item.absent_since is None for item in moved)


def test_the_last_backup_of_what_is_missed_survives_its_retention(house: House):
    node, machines = house.node(), grown(house, 2)
    [export] = house.export(machines[0])
    house.take(node, export)
    house.finish(node, export, type="FULL", snapshotTime=1, size=1, read=1, stored=1)
    store = house.follower(export)
    house.take(node, store)
    house.finish(node, store, stored=1)
    keep = {"retention": {"keepFullNewerThan": 1, "keepLastBackupWhenSourceStillExists": False}}
    with house.app.store.write() as sql:
        text = msgspec.json.encode(keep).decode()
        sql.execute(sa.update(tables.destination).values(settings=text))
    day = 86_400_000

    def going() -> int:
        with house.app.store.read() as sql:
            stored = retention.page(sql, house.destination.guid, "", None)
            verdicts = retention_run.verdicts(sql, TermsBook(sql), stored, house.clock.now)
            return sum(verdict.goes for verdict in verdicts)

    synced(house, node, [])
    assert going() == 0
    house.clock.now += 29 * day
    synced(house, node, [])
    assert present(house) == []
    assert going() == 0
    house.clock.now += 2 * day
    assert going() == 1


def test_days_to_keep_what_is_missed_are_checked(house: House):
    wanted = ChangedDestination
    for days in (-1, 36_501):
        rules = Retention(keepLastBackupOfAbsentDays=days)
        with pytest.raises(Malformed, match="keepLastBackupOfAbsentDays"):
            destinations.change_destination(
                house.app, house.destination.guid, wanted(retention=rules), house.user
            )


def test_an_unreadable_machine_stays_and_its_deleted_neighbour_goes(house: House):
    node, machines = house.node(), grown(house, 4)
    synced(house, node, machines)
    ruin = broken("m1", "machine.json: is not JSON")
    synced(house, node, machines[2:], problems=1, unreadable=[ruin])
    assert present(house) == ["m1", "m2", "m3"]
    assert entity(house, machines[1].guid).problem == "machine.json: is not JSON"
    [alarm] = alarms(house, UNREADABLE)
    assert (alarm.subject, alarm.details) == (machines[1].guid, {"places": ["m1"]})
    assert "machine.json: is not JSON" in alarm.text
    synced(house, node, machines[1:])
    assert entity(house, machines[1].guid).problem is None
    assert alarms(house, UNREADABLE) == []


@pytest.mark.parametrize("by", ["its uuid", "a place that is a uuid"])
def test_an_unreadable_machine_is_known_by_its_uuid(house: House, by: str):
    node, machines = house.node(), grown(house, 3)
    uuid = machines[0].uuid
    ruin = broken("anywhere", "x", uuid) if by == "its uuid" else broken(uuid, "x", uuid)
    synced(house, node, machines[2:], problems=1, unreadable=[ruin])
    assert present(house) == ["m0", "m2"]
    assert [one.subject for one in alarms(house, UNREADABLE)] == [machines[0].guid]


def test_an_unreadable_machine_that_is_deleted_is_no_alarm_any_more(house: House):
    node, machines = house.node(), grown(house, 3)
    synced(house, node, machines[1:], problems=1, unreadable=[broken("m0")])
    synced(house, node, machines[1:])
    assert present(house) == ["m1", "m2"]
    assert alarms(house, UNREADABLE) == []
    assert entity(house, machines[0].guid).problem is None


def test_a_machine_whose_folder_is_unreadable_counts_as_seen_when_others_are_weighed(house: House):
    node, machines = house.node(), grown(house, 4)
    ruins = [broken("m0"), broken("m1")]
    synced(house, node, [], problems=2, unreadable=ruins)  # two of four are missing, which is half
    assert present(house) == ["m0", "m1"]
    assert alarms(house) == []
    assert len(machines) == 4


def test_a_stranger_that_cannot_be_read_is_told_of_the_hypervisor_and_hides_nobody(house: House):
    node, machines = house.node(), grown(house, 3)
    synced(house, node, machines[1:], problems=1, unreadable=[broken("junk", "no machine.json")])
    assert present(house) == ["m1", "m2"]
    [alarm] = alarms(house, UNREADABLE)
    assert (alarm.subject, alarm.subject_type) == (house.hypervisor.guid, "HYPERVISOR")
    assert alarm.details == {"places": {"junk": "no machine.json"}, "count": 1}
    synced(house, node, machines[1:])
    assert alarms(house, UNREADABLE) == []


def test_machines_whose_places_nobody_told_stay_while_a_folder_cannot_be_told_apart(house: House):
    node, machines = house.node(), grown(house, 4)
    with house.app.store.write() as sql:  # in the state that an earlier version left
        older = tables.entity.c.guid.in_([machines[0].guid, machines[1].guid])
        sql.execute(sa.update(tables.entity).where(older).values(place=""))
    ruin = broken("x")
    synced(house, node, machines[3:], problems=1, unreadable=[ruin])
    assert present(house) == ["m0", "m1", "m3"]  # the folder of m2 no longer exists
    gone = hypervisors.confirm_absent(house.app, house.hypervisor.guid, house.user)
    assert [one.name for one in gone] == ["m0", "m1"]


def test_a_node_that_only_counts_what_it_cannot_read_takes_nobody(house: House):
    node, machines = house.node(), grown(house, 3)
    for named in ([], [broken("m0")]):
        synced(house, node, machines[2:], problems=2, unreadable=named)
        assert len(present(house)) == 3
    [alarm] = [one for one in alarms(house, UNREADABLE) if one.subject == house.hypervisor.guid]
    assert "did not name" in alarm.text


def test_an_inventory_of_one_unreadable_machine_reports_it(house: House):
    node, machines = house.node(), grown(house, 2)
    uuid = machines[0].uuid
    scoped(house, node, machines[:1], unreadable=[broken("m0", "torn", uuid)])
    assert entity(house, machines[0].guid).problem == "torn"
    scoped(house, node, machines[:1], **told(machines[:1]))
    assert entity(house, machines[0].guid).problem is None
    assert alarms(house, UNREADABLE) == []


def test_a_machine_that_is_back_and_unreadable_is_present(house: House):
    node, machines = house.node(), grown(house, 3)
    synced(house, node, machines[1:])
    ruin = broken("m0", "x", machines[0].uuid)
    synced(house, node, machines[1:], problems=1, unreadable=[ruin])
    assert present(house) == ["m0", "m1", "m2"]
    assert entity(house, machines[0].guid).absent_since is None


def test_what_a_hostile_node_calls_unreadable_breaks_nothing(house: House):
    node, machines = house.node(), grown(house, 2)
    odd = [broken("\x1b[2J" * 90, "\x07" * 5000), broken("", ""), broken("m0", "\0é" * 3000)]
    synced(house, node, machines[1:], problems=3, unreadable=odd)
    assert present(house) == ["m0", "m1"]
    assert all(one.text.isprintable() for one in alarms(house, UNREADABLE))
    sync = begun(house, node)
    with pytest.raises(Malformed, match="unreadable"):
        house.finish(node, sync, machines=[], unreadable=[{"x": 1}])


def test_many_simultaneous_inventories_leave_one_result(house: House):
    nodes = [house.node(f"n{number}") for number in range(3)]
    machines = grown(house, 6)
    tasks = [begun(house, node) for node in nodes]
    with ThreadPoolExecutor(3) as pool:
        for done in [
            pool.submit(house.finish, node, task, **told(machines[5:]))
            for node, task in zip(nodes, tasks, strict=True)
        ]:
            done.result()
    assert len(present(house)) == 6
    assert len(alarms(house)) == 1
