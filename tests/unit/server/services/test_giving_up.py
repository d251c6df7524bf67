"""Giving up lost objects: no good backup is lost, names become free, and a repetition is
harmless.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from haulback.contract.destinations import NewDestination
from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.contract.task_states import State
from haulback.errors import Conflict, Fenced, KindUnavailable, Malformed, NotFound, Unavailable
from haulback.ids import new_guid
from haulback.inventory.attached_machines import ATTACHED_SOURCE
from haulback.inventory.records import Backup, Record
from haulback.server.caller import Node
from haulback.server.services import destinations, giving_up, node_tasks, record_losses
from haulback.server.services import tasks as task_service
from haulback.server.services.giving_up import DESTINATION, HYPERVISOR, MACHINE, NODE
from haulback.server.store import (
    audit,
    copy_links,
    given_up,
    given_up_keys,
    lists,
    rows,
    tables,
    tasks,
)
from haulback.server.store import destinations as keys
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.copy_links import CopyLink
from haulback.server.store.given_up_tables import given_up as table
from haulback.server.store.task_lifecycle import TaskChanges
from haulback.tasks.record import Task
from haulback.wire import Ref
from tests.unit.server.conftest import House


def stored(house: House, node: Node, machine: int = 0) -> str:
    """A finished backup of a machine, by its guid."""
    to = {"guid": house.destination.guid}
    [export] = house.export(house.entities[machine], backupDestination=to)
    house.take(node, export)
    results = {"type": "FULL", "snapshotTime": house.clock.now, "size": 9, "read": 9, "stored": 5}
    house.finish(node, export, **results)
    store = house.follower(export)
    house.take(node, store)
    house.finish(node, store, stored=5)
    return str(store.ref("backup"))


def bind(house: House, node: Node) -> None:
    """Let only one node reach the hypervisor and the destination."""
    house.hypervisor.node = house.destination.node = node.guid
    with house.app.store.write() as sql:
        rows.change(sql, tables.hypervisor, house.hypervisor)
        rows.change(sql, tables.destination, house.destination)


def second(house: House, node: str | None = None) -> BackupDestination:
    """Another destination."""
    made = BackupDestination(
        guid=new_guid(), name="bd2", driver="folder", config={}, repository=new_guid(), node=node
    )
    with house.app.store.write() as sql:
        sealed = house.app.vault.seal(made.guid, b"k" * 32)
        rows.add(sql, tables.destination, made, sealed_key=sealed)
    return made


def copied(house: House, backup: str, to: BackupDestination) -> str:
    """A good copy of a backup on another destination, by its guid."""
    with house.app.store.write() as sql:
        first = SqlCatalogue(sql).backups.get(backup)
        copy = msgspec.structs.replace(
            first, guid=new_guid(), location=new_guid(), destination=to.guid, copy_of=backup
        )
        rows.add(sql, tables.backup, copy)
    return copy.guid


def backup(house: House, guid: str) -> Backup:
    with house.app.store.read() as sql:
        return SqlCatalogue(sql).backups.get(guid)


def places(house: House, kind: Any) -> list[str]:
    with house.app.store.read() as sql:
        return [place.name for place in lists.places(sql, kind)]


def named(losses: Any) -> set[tuple[str, str]]:
    return {(item.kind, item.fate) for item in losses.items}


def test_a_gone_node_takes_what_only_it_reached_and_nothing_else(house: House):
    node, other = house.node("n1"), house.node("n2")
    kept = stored(house, node)
    bind(house, node)
    away = second(house)  # every node reaches the hypervisor
    copy = copied(house, kept, away)
    lost = stored(house, node, 1)
    to = {"guid": house.destination.guid}
    [waits] = house.export(house.entities[2], backupDestination=to)
    asked = giving_up.preview(house.app, NODE, node.guid, house.user)
    assert {("node", "given up"), ("destination", "given up"), ("hypervisor", "given up")} <= named(
        asked
    )
    assert {("backup", "given up"), ("backup", "kept elsewhere"), ("task", "ended")} <= named(asked)
    assert any("haulback destination set bd --node" in note for note in asked.notes)
    told = giving_up.give_up(house.app, NODE, node.guid, house.user)
    assert (told.dryRun, told.total) == (False, asked.total)
    assert places(house, Hypervisor) == []
    assert places(house, BackupDestination) == ["bd2"]
    assert house.state(waits) == "CANCELLED"
    assert "given up by admin" in str(house.row(waits).status_info)
    assert backup(house, copy).copy_of is None  # the copy is the backup now
    house.refuses(NotFound, backup, house, lost)
    with house.app.store.read() as sql:
        machine = SqlCatalogue(sql).machines.get(house.entities[0].guid)
        assert (machine.present, machine.hypervisor) == (False, ATTACHED_SOURCE)
        assert SqlCatalogue(sql).places.hypervisor(ATTACHED_SOURCE).name == "Without a hypervisor"
        assert given_up.left(sql) == []
    assert house.offered(other) == []
    house.secrets.pop("n1")
    assert house.node("n1").name == "n1"  # the name is free


def test_a_gone_node_that_comes_back_is_fenced_with_a_sentence(house: House):
    node = house.node("n1")
    identity = house.secrets["n1"]
    giving_up.give_up(house.app, NODE, node.guid, house.user)
    said = house.refuses(Fenced, giving_up.refuse_secret, house.app, identity.guid, identity.secret)
    assert "n1 was given up by admin on 2027-" in said
    assert "enrol it: " in said
    # A caller with another secret learns nothing.
    giving_up.refuse_secret(house.app, identity.guid, "another secret")


def test_tasks_that_others_can_do_go_to_them(house: House):
    node, other = house.node("n1"), house.node("n2")
    [running] = house.export(house.entities[0])
    house.take(node, running)
    giving_up.give_up(house.app, NODE, node.guid, house.user)
    assert house.state(running) == "QUEUED"
    assert running.guid in house.offered(other)


def test_a_transaction_that_the_database_ends_is_repeated_and_ends_no_task(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    node, other = house.node("n1"), house.node("n2")
    [running] = house.export(house.entities[0])
    house.take(node, running)
    lost, said = TaskChanges.lost, ["deadlock detected"]

    def once(moves: TaskChanges, task: Task, why: str) -> None:
        if said:
            raise Unavailable(said.pop())
        lost(moves, task, why)

    monkeypatch.setattr(TaskChanges, "lost", once)
    giving_up.give_up(house.app, NODE, node.guid, house.user)
    assert house.state(running) == "QUEUED"
    assert running.guid in house.offered(other)


@pytest.mark.parametrize("is_last", [True, False])
def test_the_list_tells_which_tasks_of_a_node_end_and_which_go_on(house: House, is_last: bool):
    node = house.node("n1")
    if not is_last:
        house.node("n2")
    store = house.exported(node)
    plans = [house.export(machine)[0] for machine in house.entities[1:]]
    for plan in plans:
        house.take(node, plan)
    with house.app.store.write() as sql:
        sql.execute(
            tables.task.update().where(tables.task.c.guid == plans[0].guid), {"cancel_wanted": True}
        )
    listed = giving_up.preview(house.app, NODE, node.guid, house.user)
    fates = {item.guid: item.fate for item in listed.items if item.kind == "task"}
    again, goes_on = (
        ("ended", "ended") if is_last else ("made again by another node", "left to another node")
    )
    assert fates == {store.guid: again, plans[0].guid: "ended", plans[1].guid: goes_on}
    giving_up.give_up(house.app, NODE, node.guid, house.user)
    assert house.state(plans[0]) == "CANCELLED"
    assert house.state(plans[1]) == ("CANCELLED" if is_last else "QUEUED")
    assert house.state(store) == ("CANCELLED" if is_last else "FAILED")


def test_an_export_whose_hypervisor_goes_with_the_node_ends(house: House):
    node, _ = house.node("n1"), house.node("n2")
    store = house.exported(node)
    house.hypervisor.node = node.guid
    with house.app.store.write() as sql:
        rows.change(sql, tables.hypervisor, house.hypervisor)
    listed = giving_up.preview(house.app, NODE, node.guid, house.user)
    assert {item.fate for item in listed.items if item.kind == "task"} == {"ended"}
    giving_up.give_up(house.app, NODE, node.guid, house.user)
    assert house.state(store) == "CANCELLED"


def test_an_export_that_waits_in_the_staging_of_a_gone_node_is_made_again(house: House):
    node, other = house.node("n1"), house.node("n2")
    store = house.exported(node)
    giving_up.give_up(house.app, NODE, node.guid, house.user)
    assert house.state(store) == "FAILED"
    offered = [house.row(guid).type for guid in house.offered(other)]
    assert "EXPORT" in offered


def test_a_gone_destination_leaves_rules_links_and_the_hold(house: House):
    node, to = house.node("n1"), second(house)
    first = stored(house, node)
    target = {"backupDestination": {"guid": house.destination.guid}, "roleType": "PRIMARY"}
    copy = {"backupDestination": {"guid": to.guid}, "roleType": "SECONDARY"}
    both = Record(guid=new_guid(), kind="rule", name="r", body={"ruleBackupDestinations": [target]})
    aside = {
        "ruleBackupDestinations": [
            {**copy, "roleType": "PRIMARY"},
            {**target, "roleType": "SECONDARY"},
        ]
    }
    other = Record(guid=new_guid(), kind="rule", name="s", body=aside)
    with house.app.store.write() as sql:
        rows.add(sql, tables.record, both)
        rows.add(sql, tables.record, other)
        link = CopyLink(house.destination.guid, to.guid, "SECONDARY", house.clock.now)
        copy_links.replace(sql, house.destination.guid, [link], house.clock.now)
    asked = giving_up.preview(house.app, DESTINATION, house.destination.guid, house.user)
    assert {("rule", "turned off"), ("rule", "without this copy"), ("copy link", "given up")} <= (
        named(asked)
    )
    giving_up.give_up(house.app, DESTINATION, house.destination.guid, house.user)
    with house.app.store.read() as sql:
        known = SqlCatalogue(sql)
        assert known.records.get("rule", both.guid).body["active"] is False
        kept = known.records.get("rule", other.guid).body
        assert [item["roleType"] for item in kept["ruleBackupDestinations"]] == ["PRIMARY"]
        assert copy_links.all_links(sql) == []
        machine = known.machines.get(house.entities[0].guid)
        assert "lastBackup" not in machine.facts
        assert given_up_keys.of_driver(sql, "folder")[0].sealed  # its repository can still be read
    house.refuses(NotFound, backup, house, first)


def test_a_rule_that_loses_its_primary_keeps_its_copies(house: House):
    house.node("n1")
    to, place = second(house), {"guid": house.destination.guid}
    copy = {"backupDestination": {"guid": to.guid}, "roleType": "SECONDARY"}
    copy |= {"daysToKeepRetentionLock": 30}
    primary = {"backupDestination": place, "roleType": "PRIMARY"}
    rule = Record(
        guid=new_guid(), kind="rule", name="r", body={"ruleBackupDestinations": [primary, copy]}
    )
    with house.app.store.write() as sql:
        rows.add(sql, tables.record, rule)
    asked = giving_up.preview(house.app, DESTINATION, place["guid"], house.user)
    assert [item.note for item in asked.items if item.kind == "rule"] == [
        "the copies stay: give the rule a PRIMARY destination and activate it again"
    ]
    giving_up.give_up(house.app, DESTINATION, place["guid"], house.user)
    with house.app.store.read() as sql:
        body = SqlCatalogue(sql).records.get("rule", rule.guid).body
    assert body == {"active": False, "ruleBackupDestinations": [copy]}
    said = house.refuses(Malformed, house.submit, "export", export_by(house, rule))
    assert "r is not active; activate it" in said


def export_by(house: House, rule: Record) -> dict[str, Any]:
    """A request that backs a machine up by a rule."""
    machine = {"guid": house.entities[0].guid}
    return {"protectedEntities": [machine], "rules": [{"guid": rule.guid}]}


def test_a_gone_hypervisor_keeps_machines_with_backups_restorable(house: House):
    node = house.node("n1")
    made = stored(house, node)
    giving_up.give_up(house.app, HYPERVISOR, house.hypervisor.guid, house.user)
    with house.app.store.read() as sql:
        known = SqlCatalogue(sql)
        assert known.machines.get(house.entities[0].guid).present is False
        for machine in house.entities[1:]:
            with pytest.raises(NotFound):
                known.machines.get(machine.guid)
    assert backup(house, made).status == "SUCCESS"
    [deletion] = house.submit("delete", {"value": house.entities[0].guid})
    house.take(node, deletion)
    order = node_tasks.order(house.app, node, deletion.guid).order
    assert order.hypervisor is None or order.hypervisor.guid == ATTACHED_SOURCE


@pytest.mark.parametrize(
    ("silence", "chosen", "is_heard"),
    [
        (0, giving_up.SILENT_MS, True),
        (600_000, giving_up.SILENT_MS, True),  # a node that is being updated
        (600_000, 300_000, False),  # a person knows better
        (2 * giving_up.SILENT_MS, giving_up.SILENT_MS, False),
        (2 * giving_up.SILENT_MS, 3 * giving_up.SILENT_MS, True),
    ],
)
def test_a_gone_machine_keeps_the_backups_whose_nodes_were_heard_within_the_chosen_silence(
    house: House, silence: int, chosen: int, is_heard: bool
):
    node = house.node("n1")
    made = stored(house, node)
    [deletion] = house.submit("delete", {"value": house.entities[0].guid})
    name = "m" * 400  # the longest name of a machine
    with house.app.store.write() as sql:
        sql.execute(tables.entity.update().values(name=name))
        sql.execute(tables.node.update().values(seen=house.clock.now - silence))
    told = giving_up.give_up(house.app, MACHINE, house.entities[0].guid, house.user, chosen)
    is_told = any("no node that was connected in the last" in note for note in told.notes)
    assert is_told is bool(silence)  # a person is told in either case
    assert house.state(deletion) == "CANCELLED"
    with house.app.store.read() as sql:
        known = {item.guid for item in SqlCatalogue(sql).machines.on_hypervisor(ATTACHED_SOURCE)}
    assert (house.entities[0].guid in known) is is_heard
    if is_heard:
        assert backup(house, made).status == "SUCCESS"
    with house.app.store.read() as sql:  # each backup has an entry of its own
        trail = audit.read(sql, made, None, 9)
    assert [(entry.operation, entry.before["with"]) for entry in trail] == (
        [] if is_heard else [("gave up backup", f"machine {name}")]
    )


def test_the_audit_log_names_as_many_lost_backups_as_the_list_that_was_shown(house: House):
    node, to = house.node("n1"), second(house)
    only, both, failed, removed = (stored(house, node, machine) for machine in (0, 1, 0, 1))
    copied(house, both, to)
    with house.app.store.write() as sql:
        for guid, status in ((failed, "FAILED"), (removed, "SUCCESS_REMOVED")):
            row = tables.backup.update().where(tables.backup.c.guid == guid)
            sql.execute(row.values(status=status))
    shown = giving_up.give_up(house.app, DESTINATION, house.destination.guid, house.user)
    listed = {item.guid for item in shown.items if (item.kind, item.fate) == ("backup", "given up")}
    with house.app.store.read() as sql:
        entries = audit.read(sql, None, None, 99)
    subjects = [e.subject for e in entries if e.operation == "gave up backup"]
    assert (set(subjects), len(subjects)) == (listed, 1)
    assert listed == {only}
    elsewhere = [e.subject for e in entries if e.operation == "gave up a location of backup"]
    assert elsewhere == [both]


def test_a_task_of_a_kind_of_another_version_ends_with_its_destination(house: House):
    house.node("n1")
    [task] = house.export(house.entities[0])
    with house.app.store.write() as sql:
        row = tables.task.update().where(tables.task.c.guid == task.guid)
        sql.execute(row.values(type="PING"))
    cancel = (task_service.set_state, house.app, house.user, task.guid, State.CANCELLED, None)
    message = house.refuses(KindUnavailable, *cancel)
    assert "this version has no kind of task PING" in message
    giving_up.give_up(house.app, DESTINATION, house.destination.guid, house.user)
    assert house.state(task) == "CANCELLED"
    assert house.destination.name not in places(house, BackupDestination)


class Dies(Exception):
    """The process dies."""


@pytest.mark.parametrize("dies_at", range(1, 7))
def test_a_process_that_dies_in_the_middle_is_continued(
    house: House, monkeypatch: pytest.MonkeyPatch, dies_at: int
):
    node = house.node("n1")
    for machine in range(3):
        stored(house, node, machine)
    bind(house, node)
    monkeypatch.setattr(given_up, "PIECE", 1)
    pieces = 0
    locked = given_up.locked

    def dying(sql: Any, guid: str) -> Any:
        nonlocal pieces
        pieces += 1
        if pieces == dies_at:
            raise Dies
        return locked(sql, guid)

    monkeypatch.setattr(given_up, "locked", dying)
    with pytest.raises(Dies):
        giving_up.give_up(house.app, NODE, node.guid, house.user)
    while giving_up.continue_all(house.app):  # some pieces in each tick
        pass
    assert places(house, BackupDestination) == places(house, Hypervisor) == []
    assert giving_up.continue_all(house.app) == 0


def test_a_server_that_stops_says_that_the_rest_goes_on(house: House):
    node = house.node("n1")
    house.app.wakeups.end()
    said = house.refuses(Unavailable, giving_up.give_up, house.app, NODE, node.guid, house.user)
    assert "after its next start" in said


def test_a_destination_that_is_found_again_has_its_old_key(house: House):
    node = house.node("n1")
    wanted = NewDestination(name="vault", path="/srv/vault", node=Ref(node.guid))
    made, init = destinations.add_destination(house.app, wanted, house.user)
    house.take(node, init)
    house.finish(node, init, repository=new_guid())
    giving_up.give_up(house.app, DESTINATION, made.guid, house.user)
    assert destinations.has_kept_key(house.app, made.guid)
    again, _ = destinations.add_destination(house.app, wanted, house.user)
    assert again.guid == made.guid
    other = NewDestination(name="other", path="/srv/other", node=Ref(node.guid))
    assert destinations.add_destination(house.app, other, house.user)[0].guid != made.guid


def test_an_object_that_cannot_go_on_stops_no_other_and_a_tick_is_short(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    node = house.node("n1")
    made = backup(house, stored(house, node))
    with house.app.store.write() as sql:
        for _ in range(10):
            another = msgspec.structs.replace(made, guid=new_guid(), location=new_guid())
            rows.add(sql, tables.backup, another)
    other = second(house)
    house.app.wakeups.end()
    for place in (other, house.destination):  # the broken object was begun first
        house.clock.now += 1
        house.refuses(
            Unavailable, giving_up.give_up, house.app, DESTINATION, place.guid, house.user
        )
    house.app.wakeups.is_over = False
    monkeypatch.setattr(given_up, "PIECE", 1)
    with house.app.store.write() as sql:
        here = table.c.guid == other.guid
        sql.execute(table.update().where(here).values(kind="unknown"))
    giving_up.continue_all(house.app)
    assert house.destination.name in places(house, BackupDestination)  # a tick takes some pieces
    for _ in range(4):
        giving_up.continue_all(house.app)
    assert places(house, BackupDestination) == ["bd2"]


@pytest.mark.parametrize("kind", [DESTINATION, HYPERVISOR, MACHINE])
def test_a_task_that_was_planned_before_the_record_went_ends(
    house: House, monkeypatch: pytest.MonkeyPatch, kind: str
):
    house.node("n1")
    [plan] = house.export(house.entities[0])
    late = msgspec.structs.replace(plan, guid=(guid := new_guid()), workflow=guid, follows=None)
    places = {
        DESTINATION: house.destination.guid,
        HYPERVISOR: house.hypervisor.guid,
        MACHINE: house.entities[0].guid,
    }
    some, tasks_left = given_up.some_tasks, [late]

    def then_planned(sql: Any, where: Any) -> list[Task]:
        result = some(sql, where)
        if not result and tasks_left:  # another server commits its plan now
            tasks.insert(sql, [tasks_left.pop()])
        return result

    monkeypatch.setattr(given_up, "some_tasks", then_planned)
    giving_up.give_up(house.app, kind, places[kind], house.user)
    assert house.state(late) == "CANCELLED"


def test_a_second_request_goes_on_with_what_the_first_has_begun(house: House):
    node = house.node("n1")
    kept = house.destination.repository
    bind(house, node)
    house.app.wakeups.end()  # each request leaves the remainder to the maintenance
    house.refuses(Unavailable, giving_up.give_up, house.app, NODE, node.guid, house.user)
    eve = msgspec.structs.replace(house.user, guid=new_guid(), name="eve")
    for kind, place in ((DESTINATION, house.destination), (HYPERVISOR, house.hypervisor)):
        house.refuses(Unavailable, giving_up.give_up, house.app, kind, place.guid, eve)
        with house.app.store.read() as sql:
            begun = given_up.begun(sql, place.guid)
        assert begun
        assert begun.login == house.user.name
        assert "which only node n1 reached, was given up by admin" in begun.why
        assert begun.record.get("repository", kept) == kept


def vault_on(node: Node) -> NewDestination:
    return NewDestination(name="vault", path="/srv/vault", node=Ref(node.guid))


def used(house: House, node: Node) -> tuple[str, str, bytes]:
    """A destination that was used and given up: its guid, its repository, its key."""
    made, init = destinations.add_destination(house.app, vault_on(node), house.user)
    house.take(node, init)
    house.finish(node, init, repository=(repository := new_guid()))
    key = key_of(house, made.guid)
    giving_up.give_up(house.app, DESTINATION, made.guid, house.user)
    return made.guid, repository, key


def key_of(house: House, guid: str) -> bytes:
    with house.app.store.read() as sql:
        return house.app.vault.unseal(guid, keys.sealed_key(sql, guid))


def kept(house: House) -> set[str]:
    with house.app.store.read() as sql:
        return {key.guid for key in given_up_keys.of_driver(sql, "folder")}


def test_a_failed_second_attempt_loses_no_key_and_the_next_takes_the_other(house: House):
    a, b, third = house.node("n1"), house.node("n2"), house.node("n3")
    first, repository, key = used(house, a)
    second, _, _ = used(house, b)
    made, init = destinations.add_destination(house.app, vault_on(third), house.user)
    house.take(third, init)
    house.fail(third, init)  # the disk of the first node has another key
    destinations.remove_destination(house.app, made.guid, house.user)
    assert kept(house) == {first, second}
    again, init = destinations.add_destination(house.app, vault_on(third), house.user)
    assert (made.guid, again.guid) == (second, first)
    assert key_of(house, first) == key
    house.take(third, init)
    house.finish(third, init, repository=repository)
    assert kept(house) == {second}  # the disk that was found is read again


def test_a_destination_on_its_old_node_has_the_key_of_this_node(house: House):
    a, b = house.node("n1"), house.node("n2")
    first, _, _ = used(house, a)
    used(house, b)
    assert destinations.add_destination(house.app, vault_on(a), house.user)[0].guid == first


def test_an_empty_folder_at_the_old_place_takes_no_key_away(house: House):
    node, other = house.node("n1"), house.node("n2")
    guid, repository, key = used(house, node)
    made, init = destinations.add_destination(house.app, vault_on(other), house.user)
    house.take(other, init)
    house.finish(other, init, repository=new_guid())  # the folder was empty
    assert kept(house) == {guid}
    wanted = msgspec.structs.replace(vault_on(node), name="found")
    back, init = destinations.add_destination(house.app, wanted, house.user)
    assert back.guid != made.guid
    assert key_of(house, back.guid) == key
    house.take(node, init)
    house.finish(node, init, repository=repository)
    assert kept(house) == set()


def test_a_key_of_two_repositories_stays_until_both_are_read(house: House):
    node = house.node("n1")
    guid, old, key = used(house, node)
    assert used(house, node)[0] == guid  # a fresh repository, given up again
    made, init = destinations.add_destination(house.app, vault_on(node), house.user)
    house.take(node, init)
    house.finish(node, init, repository=old)
    assert kept(house) == {guid}
    destinations.remove_destination(house.app, made.guid, house.user)
    made, _ = destinations.add_destination(house.app, vault_on(node), house.user)
    assert key_of(house, made.guid) == key


def test_a_destination_whose_init_failed_is_tried_again_or_removed(house: House):
    node = house.node("n1")
    wanted = NewDestination(name="vault", path="/srv/vault", node=Ref(node.guid))
    made, init = destinations.add_destination(house.app, wanted, house.user)
    said = house.refuses(Conflict, destinations.init_again, house.app, made.guid, house.user)
    assert "is QUEUED" in said
    house.take(node, init)
    house.fail(node, init)
    waiting = [house.export(backupDestination={"guid": made.guid})[0] for _ in range(2)]
    house.take(node, waiting[0])
    house.fail(node, waiting[0])  # a backup that failed has no data there
    _, again = destinations.init_again(house.app, made.guid, house.user)
    destinations.remove_destination(house.app, made.guid, house.user)  # while the task waits
    assert {house.state(again), house.state(waiting[1])} == {"CANCELLED"}
    made, init = destinations.add_destination(house.app, wanted, house.user)
    house.take(node, init)
    house.finish(node, init, repository=new_guid())
    said = house.refuses(Conflict, destinations.init_again, house.app, made.guid, house.user)
    assert "has its repository already" in said


def test_the_removal_of_a_destination_names_and_ends_all_of_its_tasks(house: House):
    node = house.node("n1")
    made, init = destinations.add_destination(house.app, vault_on(node), house.user)
    house.take(node, init)  # a RUNNING task ends too
    more = [msgspec.structs.replace(init, guid=new_guid()) for _ in range(60)]
    follower = msgspec.structs.replace(
        init, guid=new_guid(), state="PLANNED", follows=more[0].guid, workflow=more[0].guid
    )
    with house.app.store.write() as sql:
        tasks.insert(sql, [*more, follower])
    listed = record_losses.of_destination(house.app, made.guid)
    assert [item.count for item in listed.counts if item.kind == "task"] == [62]
    destinations.remove_destination(house.app, made.guid, house.user)
    assert {house.state(task) for task in (init, *more, follower)} == {"CANCELLED"}


def test_a_copy_target_whose_family_is_gone_is_refused_with_the_remedy(house: House):
    node = house.node("n1")
    house.destination.repository = new_guid()
    with house.app.store.write() as sql:
        rows.change(sql, tables.destination, house.destination)
    wanted = vault_on(node)
    wanted.copyOf = Ref(house.destination.guid)
    made, init = destinations.add_destination(house.app, wanted, house.user)
    house.take(node, init)
    house.fail(node, init)
    giving_up.give_up(house.app, DESTINATION, house.destination.guid, house.user)
    said = house.refuses(Conflict, destinations.init_again, house.app, made.guid, house.user)
    assert "remove vault and add it again without copyOf" in said
