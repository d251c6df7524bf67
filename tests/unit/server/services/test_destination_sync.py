"""Copies follow the store, a schedule or a link; each location has its own state and retention."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from haulback.contract.copies import NewCopyLink
from haulback.contract.damage import DamageReport, Loss, LostDisk
from haulback.contract.destinations import ChangedDestination
from haulback.contract.order_records import BackupDestination
from haulback.contract.restore import RestoreOrder
from haulback.errors import BaseGone, Conflict, Malformed
from haulback.ids import new_guid
from haulback.inventory.records import Backup
from haulback.kinds.backup_destination_sync import KIND as SYNC
from haulback.kinds.repair import KIND as REPAIR
from haulback.kinds.restore import KIND as RESTORE
from haulback.server.queries import ListQuery
from haulback.server.scope import EVERYTHING
from haulback.server.services import configuration, destination_sync, maintenance, node_tasks
from haulback.server.services import destinations as destinations_service
from haulback.server.services.backups import BackupReading
from haulback.server.services.configuration import RequestRecord
from haulback.server.services.record_kinds import RECORD_KINDS
from haulback.server.services.workflows import workflow
from haulback.server.store import destinations, retention, rows, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Task
from haulback.tasks.workflow_state import state_of
from haulback.wire import Ref, request
from tests.unit.server.conftest import START, House
from tests.unit.server.services.test_breakers import opened

DAY = 86_400_000


class Copies:
    """A house with a second destination, and a rule that copies to it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.far = self.destination("far")
        self.node = house.node()

    def destination(self, name: str, node: str | None = None) -> BackupDestination:
        made = BackupDestination(
            guid=new_guid(), name=name, driver="folder", config={}, repository=new_guid(), node=node
        )
        with self.house.app.store.write() as sql:
            sealed = self.house.app.vault.seal(made.guid, b"k" * 32)
            rows.add(sql, tables.destination, made, sealed_key=sealed)
        return made

    def saved(self, kind: str, body: dict[str, Any]) -> str:
        encoded, known = msgspec.json.encode(body), RECORD_KINDS[kind]
        sent = RequestRecord(known, lambda: request(encoded, known.struct), encoded)
        guid: str = configuration.add(
            self.house.app, self.house.user, sent, lambda made, _: made.guid
        )
        return guid

    def rule(self, **of_second: Any) -> str:
        """A rule with the primary destination and the second destination."""
        first, second = ({"guid": d.guid} for d in (self.house.destination, self.far))
        targets = [
            {"roleType": "PRIMARY", "backupDestination": first},
            {"roleType": "SECONDARY", "backupDestination": second, **of_second},
        ]
        rules = [{"name": "both", "ruleBackupDestinations": targets}]
        vms = [{"guid": self.house.entities[0].guid}]
        policy = self.saved("vm-backup", {"name": new_guid(), "vms": vms, "rules": rules})
        with self.house.app.store.read() as sql:
            return str(SqlCatalogue(sql).records.of_kind("rule", policy)[0].guid)

    def stored(self, rule: str | None = None, at: int = START, **more: Any) -> Task:
        """Export and store the first machine; returns the STORE."""
        named = {"rules": [{"guid": rule}]} if rule else {"backupDestination": self.primary}
        store = self.house.exported(self.node, **named, **more)
        self.house.take(self.node, store)
        self.house.finish(self.node, store, stored=5)
        return self.house.row(store)

    @property
    def primary(self) -> dict[str, str]:
        return {"guid": self.house.destination.guid}

    def syncs(self) -> list[Task]:
        """The copying tasks that wait to run, oldest first."""
        offered = node_tasks.offer(self.house.app, self.node)
        return [task for task in offered if task.type == SYNC.type]

    def copied(self, sync: Task) -> None:
        done = [{"backup": guid, "stored": 5} for guid in sync.params["copies"]]
        self.house.take(self.node, sync)
        self.house.finish(self.node, sync, copied=done)

    def both(self, rule: str | None = None) -> str:
        """A backup with a sound copy; its guid."""
        store = self.stored(rule or self.rule())
        self.copied(self.syncs()[0])
        return store.ref("backup") or ""

    def locations(self, backup: str) -> list[Backup]:
        with self.house.app.store.read() as sql:
            return SqlCatalogue(sql).backups.locations(backup)

    def shown(self, **wanted: Any) -> list[str]:
        with BackupReading.of(self.house.app) as reading:
            found, _ = reading.wholes(ListQuery(scope=EVERYTHING, **wanted))
        return [item.first.guid for item in found]

    def ledger(self, change: Any) -> None:
        with self.house.app.store.write() as sql:
            change(SqlLedger(sql, self.house.clock.now))

    def damaged(self, location: Backup) -> None:
        """Let a VERIFY of a destination find damage of one location."""
        report = DamageReport(
            location.destination, [Loss(location.guid, [LostDisk("vda", 9)], ["packs/aa"])]
        )
        verify = self.house.submit(
            "verify", {"backupDestinations": [{"guid": location.destination}]}
        )[0]
        self.house.take(self.node, verify)
        results = {"cursor": "", "damage": msgspec.to_builtins(report)}
        self.house.finish(self.node, verify, **results)

    def order(self, task: Task) -> RestoreOrder:
        with self.house.app.store.read() as sql:
            order = RESTORE.prepare(self.house.row(task), SqlCatalogue(sql))
        assert isinstance(order, RestoreOrder)
        return order

    def restore(self, backup: str, **more: Any) -> RestoreOrder:
        body = {"backup": backup, "node": self.node.guid, "restorePath": "/r", **more}
        return self.order(self.house.submit("restore", body)[0])


@pytest.fixture
def copies(house: House) -> Copies:
    return Copies(house)


def test_a_copy_follows_the_store_and_names_its_backup(copies):
    rule = copies.rule()
    store = copies.stored(rule)
    [sync] = copies.syncs()
    assert (sync.follows, sync.ref("backupDestination")) == (store.guid, copies.far.guid)
    with copies.house.app.store.read() as sql:
        order = SYNC.prepare(sync, SqlCatalogue(sql))
    assert order.source.guid == copies.house.destination.guid
    assert order.copies[0].source == store.ref("backup")
    copies.copied(sync)
    first, copy = copies.locations(store.ref("backup"))
    assert (first.role, copy.role, copy.copy_of) == ("PRIMARY", "SECONDARY", first.guid)
    assert (copy.status, copy.snapshot_time, copy.size) == ("SUCCESS", START, 10)


def test_lists_show_a_backup_once_and_find_it_by_each_destination(copies):
    backup = copies.both()
    assert copies.shown() == [backup]
    assert copies.shown(destination=copies.far.guid) == [backup]
    assert copies.shown(destination=copies.house.destination.guid) == [backup]


def test_a_copy_that_failed_leaves_the_workflow_partially_finished(copies):
    rule = copies.rule()
    store = copies.stored(rule)
    [sync] = copies.syncs()
    copies.house.take(copies.node, sync)
    copies.house.fail(copies.node, sync)
    head, steps = workflow(copies.house.app, store.workflow, EVERYTHING)
    assert state_of(steps) == "PARTIALLY_FINISHED"
    first, copy = copies.locations(head.ref("backup"))
    assert (first.status, copy.status) == ("SUCCESS", "FAILED")


def test_a_copy_that_waits_keeps_no_machine_from_its_next_backup(copies):
    rule = copies.rule()
    copies.stored(rule)
    assert copies.syncs()
    [export] = copies.house.export(rules=[{"guid": rule}])
    copies.house.take(copies.node, export)


def test_a_schedule_copies_what_the_second_destination_lacks(copies):
    rule = copies.rule()
    copies.saved(
        "schedule",
        {"name": "weekly", "hour": 0, "backupType": "SYNCHRONIZATION", "rules": [{"guid": rule}]},
    )
    first = copies.stored(rule).ref("backup")
    second = copies.stored(rule).ref("backup")
    assert copies.syncs() == []
    [sync] = copies.house.export(rules=[{"guid": rule}], backupType="SYNCHRONIZATION")
    assert len(sync.params["copies"]) == 2
    copies.copied(sync)
    assert all(len(copies.locations(backup)) == 2 for backup in (first, second))
    assert copies.house.export(rules=[{"guid": rule}], backupType="SYNCHRONIZATION") == []


def test_a_synchronization_without_a_second_destination_is_refused(copies):
    house = copies.house
    with pytest.raises(Malformed) as caught:
        house.export(backupDestination=copies.primary, backupType="SYNCHRONIZATION")
    assert "SECONDARY" in caught.value.message


def test_a_destination_that_exists_gets_a_second_copy_of_every_backup(copies):
    house, app = copies.house, copies.house.app
    before = copies.stored().ref("backup")
    link = NewCopyLink(backupDestination=Ref(copies.far.guid))
    destination_sync.set_links(app, house.destination.guid, [link], house.user)
    assert destination_sync.plan_due(app) == 1
    copies.copied(copies.syncs()[0])
    after = copies.stored().ref("backup")
    assert destination_sync.plan_due(app) == 1
    copies.copied(copies.syncs()[0])
    house.clock.now += DAY
    destination_sync.plan_due(app)
    assert destination_sync.plan_due(app) == 0
    assert [len(copies.locations(backup)) for backup in (before, after)] == [2, 2]


def test_a_copy_of_a_destination_that_failed_is_made_again_after_a_while(copies):
    house, app = copies.house, copies.house.app
    link = NewCopyLink(backupDestination=Ref(copies.far.guid))
    destination_sync.set_links(app, house.destination.guid, [link], house.user)
    backup = copies.stored().ref("backup")
    assert destination_sync.plan_due(app) == 1
    [sync] = copies.syncs()
    house.take(copies.node, sync)
    house.fail(copies.node, sync)
    assert destination_sync.plan_due(app) == 0
    house.clock.now += 600_000
    assert destination_sync.plan_due(app) == 1
    copies.copied(copies.syncs()[0])
    assert [place.status for place in copies.locations(backup)] == ["SUCCESS", "SUCCESS"]


def test_a_new_link_walks_over_all_backups_in_pieces(copies, monkeypatch):
    house, app = copies.house, copies.house.app
    monkeypatch.setattr(destination_sync, "_PIECE", 2)
    guids = [copies.stored().ref("backup") for _ in range(5)]
    link = NewCopyLink(backupDestination=Ref(copies.far.guid))
    destination_sync.set_links(app, house.destination.guid, [link], house.user)
    assert [destination_sync.plan_due(app) for _ in range(4)] == [1, 1, 1, 0]
    assert all(len(copies.locations(guid)) == 2 for guid in guids)


def test_a_copy_waits_for_the_hours_of_its_destination(copies):
    house = copies.house
    hour = START % DAY // 3_600_000
    start, end = (hour + 2) % 24 * 3_600_000, (hour + 3) % 24 * 3_600_000
    body = {"copying": {"startHour": start, "endHour": end, "rate": 1_000_000}}
    changed = request(msgspec.json.encode(body), ChangedDestination)
    destinations_service.change_destination(house.app, copies.far.guid, changed, house.user)
    copies.stored(copies.rule())
    assert copies.syncs() == []
    house.clock.now += 2 * 3_600_000
    maintenance.tick(house.app)
    [sync] = copies.syncs()
    with house.app.store.read() as sql:
        assert SYNC.prepare(sync, SqlCatalogue(sql)).rate == 1_000_000


def test_limits_of_copies_that_cannot_be_are_refused_by_name(copies):
    for member, value in (("rate", 1), ("startHour", 5), ("timeZone", "Mars/Base")):
        body = {"copying": {member: value}}
        changed = request(msgspec.json.encode(body), ChangedDestination)
        with pytest.raises(Malformed) as caught:
            destinations_service.change_destination(
                copies.house.app, copies.far.guid, changed, copies.house.user
            )
        assert caught.value.details["field"].startswith("copying.")


def test_a_destination_is_no_copy_of_itself(copies):
    house = copies.house
    link = NewCopyLink(backupDestination=Ref(house.destination.guid))
    with pytest.raises(Malformed):
        destination_sync.set_links(house.app, house.destination.guid, [link], house.user)


def test_destinations_that_no_node_reaches_together_are_not_copied(copies):
    house = copies.house
    here = copies.destination("here", copies.node.guid)
    there = copies.destination("there", house.node("n2").guid)
    link = NewCopyLink(backupDestination=Ref(there.guid))
    with pytest.raises(Malformed) as caught:
        destination_sync.set_links(house.app, here.guid, [link], house.user)
    assert "no node reaches all" in caught.value.message


def test_a_copy_has_the_lock_and_the_terms_of_its_role(copies):
    keep = {"retentionKeepLastNFull": 2}
    rule = copies.rule(daysToKeepRetentionLock=7, backupRetentionSettings=keep)
    _, copy = copies.locations(copies.both(rule))
    assert copy.lock_until == copies.house.clock.now + 7 * DAY
    with copies.house.app.store.read() as sql:
        [judged] = retention.page(sql, copies.far.guid, "", None)
    assert (judged.guid, judged.role) == (copy.guid, "SECONDARY")


def test_the_removal_of_one_location_leaves_the_other(copies):
    backup = copies.both()
    copies.ledger(lambda ledger: ledger.removals.remove([backup], "retention"))
    first, copy = copies.locations(backup)
    assert (first.status, copy.status) == ("SUCCESS_REMOVED", "SUCCESS")
    assert copies.shown(statuses=["SUCCESS"]) == [backup]
    assert copies.shown(statuses=["SUCCESS_REMOVED"]) == []
    assert copies.restore(backup).backup == copy.guid


def test_a_machine_whose_backup_stands_only_as_a_copy_has_a_last_backup(copies):
    backup = copies.both()
    copies.ledger(lambda ledger: ledger.removals.remove([backup], "retention"))
    with copies.house.app.store.read() as sql:
        machine = SqlCatalogue(sql).machines.get(copies.house.entities[0].guid)
    assert machine.facts["lastSuccessfulFullBackup"]["guid"] == backup


def test_damage_marks_one_location_and_a_restore_takes_the_sound_one(copies):
    backup = copies.both()
    copies.damaged(copies.locations(backup)[0])
    first, copy = copies.locations(backup)
    assert (first.location_status, copy.location_status) == ("DAMAGED", "PRESENT")
    assert copies.shown(statuses=["SUCCESS"]) == [backup]
    order = copies.restore(backup)
    assert order.backup == copy.guid
    assert [place.backup for place in order.others] == [first.guid]


def test_a_restore_takes_the_location_whose_destination_answers(copies):
    backup = copies.both()
    first, copy = copies.locations(backup)
    opened(copies.house, copies.node)
    body = {"backup": backup, "node": copies.node.guid, "restorePath": "/r"}
    [task] = copies.house.submit("restore", body)
    order = copies.order(task)
    assert (order.backup, [other.backup for other in order.others]) == (copy.guid, [first.guid])
    assert task.guid in copies.house.offered(copies.node)
    copies.damaged(copy)
    assert copies.restore(backup).backup == first.guid  # the restore waits for the sound location


def test_a_restore_proves_the_location_that_it_read(copies):
    house, backup = copies.house, copies.both()
    _, copy = copies.locations(backup)
    body = {"backup": backup, "node": copies.node.guid, "restorePath": "/r"}
    [task] = house.submit("restore", body)
    house.take(copies.node, task)
    to = {"guid": copies.far.guid, "name": "far"}
    read = {"backup": copy.guid, "destination": to}
    house.finish(copies.node, task, path="/r", readFrom=read)
    assert [place.level for place in copies.locations(backup)] == ["STORED", "VERIFIED"]


def test_a_restore_takes_the_first_location_unless_another_is_named(copies):
    backup = copies.both()
    first, copy = copies.locations(backup)
    assert copies.restore(backup).backup == first.guid
    assert copies.restore(backup, backupLocation={"guid": copy.location}).backup == copy.guid


def test_a_damaged_location_is_healed_from_a_sound_one(copies):
    backup = copies.both()
    first, copy = copies.locations(backup)
    copies.damaged(first)
    assert destination_sync.plan_due(copies.house.app) == 1
    [heal] = copies.syncs()
    assert heal.ref("backupDestination") == first.destination
    with copies.house.app.store.read() as sql:
        order = SYNC.prepare(heal, SqlCatalogue(sql))
    assert [(w.backup, w.source, w.heals) for w in order.copies] == [(first.guid, copy.guid, True)]
    copies.copied(heal)
    assert copies.locations(backup)[0].location_status == "PRESENT"
    assert destination_sync.plan_due(copies.house.app) == 0


@pytest.mark.parametrize("copied_from", ["first", "removed", None])
@pytest.mark.parametrize("is_missing", [False, True])
def test_locations_that_are_both_damaged_heal_each_other(copies, copied_from, is_missing):
    """Between different keys a location without a manifest needs a whole one."""
    backup = copies.both()
    first = copies.house.destination.guid
    if copied_from:
        table = tables.destination
        here = sa.update(table).where(table.c.guid == copies.far.guid)
        with copies.house.app.store.write() as sql:
            sql.execute(
                here.values(
                    settings=msgspec.json.encode(
                        {"copyOf": first if copied_from == "first" else new_guid()}
                    ).decode()
                )
            )
    places = copies.locations(backup)
    for place in places:
        copies.damaged(place)
    if is_missing:
        with copies.house.app.store.write() as sql:
            here = sa.update(tables.backup).where(tables.backup.c.guid == places[0].guid)
            sql.execute(here.values(location_status="MISSING"))
    destination_sync.plan_due(copies.house.app)
    healed = {guid for sync in copies.syncs() for guid in sync.params["copies"]}
    wanted = {place.guid for place in places}
    if is_missing:  # a missing location supplies nothing
        wanted = {places[0].guid} if copied_from == "first" else set()
    assert healed == wanted


def test_a_location_that_lacked_data_is_healed_again_when_another_one_is_whole(copies):
    backup = copies.both()
    places = copies.locations(backup)
    for place in places:
        copies.damaged(place)
    destination_sync.plan_due(copies.house.app)
    heals = {sync.params["copies"][0]: sync for sync in copies.syncs()}
    first, second = (heals[place.guid] for place in places)
    for sync, lacks in ((first, True), (second, False)):
        done = [{"backup": sync.params["copies"][0], "stored": 1, "lacks": lacks}]
        copies.house.take(copies.node, sync)
        copies.house.finish(copies.node, sync, copied=done)
    assert destination_sync.plan_due(copies.house.app) == 1
    [again] = copies.syncs()
    assert again.params["copies"] == [places[0].guid]


def test_a_healing_that_fails_is_tried_again_after_a_while(copies):
    backup = copies.both()
    copies.damaged(copies.locations(backup)[0])
    app, clock = copies.house.app, copies.house.clock
    destination_sync.plan_due(app)
    [heal] = copies.syncs()
    copies.house.take(copies.node, heal)
    copies.house.fail(copies.node, heal)
    assert destination_sync.plan_due(app) == 0
    clock.now += DAY
    assert destination_sync.plan_due(app) == 1


def test_a_running_copy_is_a_pin_on_both_destinations(copies):
    copies.stored(copies.rule())
    [sync] = copies.syncs()
    copies.house.take(copies.node, sync)
    for destination in (copies.house.destination, copies.far):
        pins = node_tasks.pins(copies.house.app, copies.node, destination.guid)
        assert pins == [copies.house.row(sync).attempt_name]


def test_a_copy_outlives_the_record_of_its_first_destination(copies):
    backup = copies.both()
    _, copy = copies.locations(backup)
    with copies.house.app.store.write() as sql:
        destinations.remove(sql, copies.house.destination.guid)
    assert copies.shown() == [copy.guid]
    assert copies.restore(copy.guid).backup == copy.guid


def test_a_backup_that_was_made_again_takes_its_copy_along(copies):
    store = copies.house.exported(copies.node, rules=[{"guid": copies.rule()}])
    copies.house.take(copies.node, store)
    node_tasks.report(copies.house.app, copies.node, store.guid, results={"failure": BaseGone.code})
    copies.house.fail(copies.node, store)
    with copies.house.app.store.read() as sql:
        query = sa.select(tables.backup.c.copy_of).where(tables.backup.c.copy_of.is_not(None))
        [first] = sql.scalars(query)
    assert copies.locations(first)[0].status == "QUEUED"


def test_only_a_stored_backup_can_be_restored(copies):
    rule = copies.rule()
    [export] = copies.house.export(rules=[{"guid": rule}])
    with pytest.raises(Conflict):
        copies.restore(export.ref("backup"))


def test_a_report_of_copies_that_is_no_report_is_refused(copies):
    copies.stored(copies.rule())
    [sync] = copies.syncs()
    copies.house.take(copies.node, sync)
    with pytest.raises(Malformed):
        copies.house.finish(copies.node, sync, copied=[{"backup": "x"}])


def test_orders_name_the_first_destination_of_the_family_whose_key_opens_the_copies(copies):
    table, first = tables.destination, copies.house.destination.guid
    third = copies.destination("third")
    with copies.house.app.store.write() as sql:
        for place, origin in ((copies.far, first), (third, copies.far.guid)):
            settings = msgspec.json.encode({"copyOf": origin}).decode()
            here = sa.update(table).where(table.c.guid == place.guid)
            sql.execute(here.values(settings=settings))
    copies.stored(copies.rule())
    [sync] = copies.syncs()
    [repair] = copies.house.submit("repair", {"backupDestinations": [{"guid": third.guid}]})
    with copies.house.app.store.write() as sql:
        known = SqlCatalogue(sql)
        orders = [SYNC.prepare(sync, known), REPAIR.prepare(repair, known)]
        assert [order.family.guid for order in orders] == [first, first]
        destinations.remove(sql, first)
        assert REPAIR.prepare(repair, SqlCatalogue(sql)).family is None
