"""Retention of a rule acts on its own backups, on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.ids import new_guid
from haulback.inventory.records import Backup, Entity, Record
from haulback.server.caller import Node
from haulback.server.services import maintenance, node_tasks
from haulback.server.store import configuration, rows, tables
from haulback.server.store.retention_tables import retention_wait
from haulback.tasks.record import Task
from haulback.units import DAY_MS
from tests.unit.server.conftest import House


def rule(house: House, name: str = "nightly", lock: int = 0, **settings: Any) -> str:
    """A rule with the retention of its PRIMARY destination, without a policy."""
    target = {
        "roleType": "PRIMARY",
        "backupDestination": {"guid": house.destination.guid},
        "daysToKeepRetentionLock": lock,
        "backupRetentionSettings": settings,
    }
    made = Record(
        guid=new_guid(), kind="rule", name=name, body={"ruleBackupDestinations": [target]}
    )
    with house.app.store.write() as sql:
        configuration.add(sql, made)
    return made.guid


def change_rule(house: House, guid: str, lock: int = 0, **settings: Any) -> None:
    with house.app.store.write() as sql:
        before = rows.one(sql, tables.record, Record, guid, "rule")
        [target] = before.body["ruleBackupDestinations"]
        target |= {"backupRetentionSettings": settings, "daysToKeepRetentionLock": lock}
        configuration.change(sql, before)


def stored(house: House, node: Node, of: str | None = None, entity: Entity | None = None) -> str:
    """Store a backup of a rule, or of none; a day passes."""
    house.clock.now += DAY_MS
    more: dict[str, Any] = {"rules": [{"guid": of}]} if of else {}
    [export] = house.export(entity or house.entities[0], **more)
    house.take(node, export)
    taken = {"type": "FULL", "snapshotTime": house.clock.now, "size": 10, "read": 10, "stored": 5}
    house.finish(node, export, **taken)
    store = house.follower(export)
    house.take(node, store)
    house.finish(node, store, stored=5)
    return store.ref("backup") or ""


def kept(house: House) -> set[str]:
    with house.app.store.read() as sql:
        where = tables.backup.c.status == "SUCCESS"
        return set(sql.scalars(sa.select(tables.backup.c.guid).where(where)))


def backup(house: House, guid: str) -> Backup:
    with house.app.store.read() as sql:
        return rows.one(sql, tables.backup, Backup, guid, "backup")


def set_destination(house: House, **settings: Any) -> None:
    with house.app.store.write() as sql:
        text = msgspec.json.encode({"retention": settings}).decode()
        sql.execute(sa.update(tables.destination).values(settings=text))


def cleaned(house: House, node: Node) -> Task:
    """Run a clean-up of the destination, which judges every backup."""
    [task] = house.submit("remove-old-backups", {"backupDestinations": [house.destination.guid]})
    house.take(node, task)
    order: Any = node_tasks.order(house.app, node, task.guid).order
    house.finish(node, task, removed=order.backups)
    return task


def test_the_retention_of_a_rule_acts_after_each_of_its_backups(house: House):
    node, nightly = house.node(), rule(house, retentionKeepLastNFull=2)
    made = [stored(house, node, nightly) for _ in range(3)]
    assert kept(house) == {*made}
    maintenance.tick(house.app)
    assert kept(house) == {*made[1:]}
    [task] = [guid for guid in house.offered(node) if house.row(guid).type == "BACKUP_CLEANUP"]
    house.take(node, task)
    order: Any = node_tasks.order(house.app, node, task).order
    assert order.backups == made[:1]


def test_two_rules_on_one_destination_each_keep_their_own_backups(house: House):
    node = house.node()
    daily, weekly = (
        rule(house, "a", retentionKeepLastNFull=2),
        rule(house, "b", retentionKeepLastNFull=1),
    )
    first = [stored(house, node, weekly), stored(house, node, weekly)]
    second = [stored(house, node, daily) for _ in range(3)]
    by_hand = stored(house, node)
    cleaned(house, node)
    assert kept(house) == {first[1], *second[1:], by_hand}


def test_a_run_after_a_backup_touches_no_other_rule_and_no_other_machine(house: House):
    node = house.node()
    ours, other = (
        rule(house, "a", retentionKeepLastNFull=1),
        rule(house, "b", retentionKeepLastNFull=1),
    )
    made = [stored(house, node, other) for _ in range(2)]
    made += [stored(house, node, ours, house.entities[1]) for _ in range(2)]
    with house.app.store.write() as sql:
        sql.execute(sa.text("DELETE FROM retention_due"))
    newest = [stored(house, node, ours) for _ in range(2)]
    maintenance.tick(house.app)
    assert kept(house) == {*made, newest[1]}
    cleaned(house, node)
    assert kept(house) == {made[1], made[3], newest[1]}


def test_backups_of_a_removed_rule_keep_the_retention_they_were_made_under(house: House):
    node, nightly = house.node(), rule(house, retentionKeepLastNFull=2)
    made = [stored(house, node, nightly) for _ in range(2)]
    change_rule(house, nightly, retentionKeepLastNFull=1)
    with house.app.store.write() as sql:
        configuration.remove(sql, nightly)
    set_destination(house, keepLastNFull=1)
    cleaned(house, node)
    assert kept(house) == {*made}


def test_a_changed_rule_judges_the_backups_it_made_before(house: House):
    node, nightly = house.node(), rule(house, retentionKeepLastNFull=3)
    made = [stored(house, node, nightly) for _ in range(3)]
    change_rule(house, nightly, retentionKeepLastNFull=1)
    cleaned(house, node)
    assert kept(house) == {made[2]}


def test_a_backup_by_hand_keeps_the_retention_of_its_destination_at_its_making(house: House):
    node = house.node()
    set_destination(house, keepLastNFull=2)
    made = [stored(house, node) for _ in range(3)]
    set_destination(house, keepLastNFull=1)
    cleaned(house, node)
    assert kept(house) == {*made[1:]}


def test_a_lock_is_set_by_the_rule_and_a_later_lower_number_does_not_shorten_it(house: House):
    node, nightly = house.node(), rule(house, retentionKeepLastNFull=1, lock=10)
    locked = stored(house, node, nightly)
    end = house.clock.now + 10 * DAY_MS
    assert (backup(house, locked).keep_until, backup(house, locked).lock_until) == (end, end)
    change_rule(house, nightly, retentionKeepLastNFull=1)
    free = [stored(house, node, nightly) for _ in range(2)]
    cleaned(house, node)
    assert kept(house) == {locked, free[1]}
    house.clock.now = end
    cleaned(house, node)
    assert kept(house) == {free[1]}


def test_the_longer_lock_of_rule_and_destination_applies(house: House):
    node, nightly = house.node(), rule(house, lock=2)
    set_destination(house, daysToKeepRetentionLock=5)
    made = stored(house, node, nightly)
    assert backup(house, made).keep_until == house.clock.now + 5 * DAY_MS


def test_the_retention_of_an_earlier_version_waits_for_a_confirmation(house: House):
    node, nightly = house.node(), rule(house, retentionKeepLastNFull=1)
    with house.app.store.write() as sql:
        sql.execute(sa.insert(retention_wait).values(rule=nightly, since=1))
    made = [stored(house, node, nightly) for _ in range(2)]
    maintenance.tick(house.app)
    cleaned(house, node)
    assert kept(house) == {*made}
    with house.app.store.read() as sql:
        kinds = list(sql.scalars(sa.text("SELECT kind FROM event")))
        alarms = list(sql.scalars(sa.text("SELECT subject FROM alarm")))
    assert kinds.count("RETENTION_WAITS") == 1
    assert alarms == [nightly]


def test_every_night_each_destination_is_judged_once(house: House):
    maintenance.start(house.app)
    node = house.node()
    set_destination(house, keepLastNFull=1)
    made = [stored(house, node) for _ in range(2)]
    maintenance.tick(house.app)
    house.clock.now += DAY_MS
    maintenance.tick(house.app)
    maintenance.tick(house.app)
    [task] = [guid for guid in house.offered(node) if house.row(guid).type == "BACKUP_CLEANUP"]
    house.take(node, task)
    node_tasks.order(house.app, node, task)
    assert kept(house) == {made[1]}
