"""Retention of a rule acts on its own backups, on SQLite and on PostgreSQL."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from haulback.contract.retention_preview import RetentionPreviewRequest
from haulback.contract.task_states import State
from haulback.errors import Conflict, Forbidden, NotFound, Unavailable
from haulback.ids import new_guid
from haulback.inventory.records import Backup, Entity, Record
from haulback.kinds.api import Context
from haulback.kinds.support import planning
from haulback.server.caller import Account, Node, person
from haulback.server.services import configuration as configuration_service
from haulback.server.services import (
    maintenance,
    node_tasks,
    policy_losses,
    record_kinds,
    retention_losses,
    retention_plan,
    retention_preview,
    retention_run,
    retention_waits,
)
from haulback.server.services import retention as retention_marks
from haulback.server.services.configuration import RequestRecord
from haulback.server.services.record_kinds import RECORD_KINDS
from haulback.server.store import configuration, mount_tables, retention, rows, tables, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.retention_tables import retention_wait
from haulback.tasks.record import Task
from haulback.units import DAY_MS
from haulback.wire import Named, read
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
    """Store a backup of a rule, or without a rule; a day passes."""
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


def reader_of(house: House, kind: str, backup: str) -> Task:
    """A task that reads a backup of the first machine."""
    entity = house.entities[0]
    refs = {"backup": Named(backup, "db"), "protectedEntity": Named(entity.guid, entity.name)}
    return planning.task(
        kind, "restore", Context(house.clock.now), None, planning.TaskSpec(refs=refs)
    )


def events_of(house: House, kind: str) -> list[str]:
    with house.app.store.read() as sql:
        query = sa.text("SELECT subject FROM event WHERE kind = :kind")
        return list(sql.scalars(query, {"kind": kind}))


def test_a_confirmation_ends_the_wait_and_its_alarm(house: House):
    node, nightly = house.node(), rule(house, retentionKeepLastNFull=1)
    with house.app.store.write() as sql:
        sql.execute(sa.insert(retention_wait).values(rule=nightly, since=1))
    made = [stored(house, node, nightly) for _ in range(2)]
    cleaned(house, node)
    wanted = RetentionPreviewRequest(rule={"guid": nightly})
    before = retention_preview.preview(house.app, house.user, wanted)
    assert before.waits
    assert [verdict.location.guid for verdict in before.verdicts if verdict.goes] == made[:1]
    retention_waits.confirm(house.app, house.user, None)
    retention_waits.confirm(house.app, house.user, [nightly])
    cleaned(house, node)
    assert kept(house) == {made[1]}
    with house.app.store.read() as sql:
        assert sql.scalar(sa.text("SELECT count(*) FROM alarm")) == 0
    assert not retention_preview.preview(house.app, house.user, wanted).waits


def test_a_dry_run_counts_backups_of_other_projects_without_their_names(house: House):
    node = house.node()
    ours = rule(house, "ours", retentionKeepLastNFull=1)
    made = [stored(house, node, ours) for _ in range(2)]
    with house.app.store.write() as sql:
        chosen = sa.update(tables.record).where(tables.record.c.guid == ours)
        sql.execute(chosen.values(project="pa"))
        sql.execute(sa.update(tables.entity).values(project="pb"))
        sql.execute(sa.insert(retention_wait).values(rule=ours, since=1))
    restricted = person(Account(new_guid(), "pat", projects=["pa"]))
    losses = retention_losses.waiting(house.app, restricted, [ours])
    assert [(item.guid, item.name) for item in losses.items if item.kind == "backup"] == [
        ("", "outside your projects")
    ]
    whole = retention_losses.waiting(house.app, house.user, [ours])
    assert [item.guid for item in whole.items if item.kind == "backup"] == made[:1]


def test_a_dry_run_of_a_changed_policy_names_its_rules_machines_and_backups(house: House):
    node = house.node()
    nightly = rule(house, retentionKeepLastNFull=5)
    made = [stored(house, node, nightly) for _ in range(2)]
    policy, kind = new_guid(), RECORD_KINDS["vm-backup"]
    with house.app.store.write() as sql:
        configuration.add(sql, Record(guid=policy, kind="vm-backup", name="p"))
        chosen = sa.update(tables.record).where(tables.record.c.guid == nightly)
        sql.execute(chosen.values(parent=policy))

    def losses(**members: object) -> set[tuple[str, str, str]]:
        body = msgspec.json.encode({"name": "p", **members})
        sent = RequestRecord(kind, lambda: read(msgspec.json.decode(body), kind.struct, ""), body)
        told = policy_losses.of_changed_policy(house.app, house.user, sent, policy)
        return {(item.kind, item.fate, item.guid) for item in told.items}

    assert losses() == set()
    assert losses(rules=[{"guid": nightly}]) == set()
    assert ("rule", "removed", nightly) in losses(rules=[])
    to = {"guid": house.destination.guid}
    fewer = {"backupDestination": to, "backupRetentionSettings": {"retentionKeepLastNFull": 1}}
    changed = {"guid": nightly, "ruleBackupDestinations": [{"roleType": "PRIMARY", **fewer}]}
    assert losses(rules=[changed]) == {("backup", retention_losses.NEXT, made[0])}
    with house.app.store.read() as sql:  # nothing was changed
        assert SqlCatalogue(sql).records.get("rule", nightly).parent == policy


def test_a_dry_run_of_a_confirmation_names_what_the_caller_can_confirm(house: House):
    node = house.node()
    ours, theirs = (rule(house, name, retentionKeepLastNFull=1) for name in ("ours", "theirs"))
    made = [stored(house, node, wanted) for wanted in (ours, ours, theirs, theirs)]
    set_destination(house, keepLastNFull=1)
    waits = (ours, theirs, house.destination.guid)
    with house.app.store.write() as sql:
        sql.execute(sa.update(tables.entity).values(project="pa"))
        for guid, project in ((ours, "pa"), (theirs, "pb")):
            chosen = sa.update(tables.record).where(tables.record.c.guid == guid)
            sql.execute(chosen.values(project=project))
        sql.execute(sa.insert(retention_wait), [{"rule": guid, "since": 1} for guid in waits])
    restricted = person(Account(new_guid(), "pat", projects=["pa"]))
    losses = retention_losses.waiting(house.app, restricted, None)
    assert {item.guid for item in losses.items} == {ours, made[0]}
    for refused, error in ((theirs, NotFound), (house.destination.guid, Forbidden)):
        house.refuses(error, retention_losses.waiting, house.app, restricted, [refused])
    everything = retention_losses.waiting(house.app, house.user, None)
    assert {item.guid for item in everything.items} == {*waits, made[0], made[2]}
    retention_waits.confirm(house.app, restricted, None)
    assert retention_losses.waiting(house.app, restricted, None).total == 0


def test_the_retention_of_a_destination_of_an_earlier_version_waits_every_night(house: House):
    node, to = house.node(), house.destination
    made = [stored(house, node) for _ in range(3)]
    set_destination(house, keepLastNFull=1)
    with house.app.store.write() as sql:
        sql.execute(sa.insert(retention_wait).values(rule=to.guid, since=1))

    def night() -> set[str]:
        house.clock.now += DAY_MS
        with house.app.store.write() as sql:
            task = retention_plan.nightly(sql, to, house.clock.now)
            assert task
            tasks.insert(sql, [task])
        house.take(node, task)
        order: Any = node_tasks.order(house.app, node, task.guid).order
        house.finish(node, task, removed=order.backups)
        return kept(house)

    assert night() == {*made}
    assert night() == {*made}
    assert events_of(house, "RETENTION_WAITS") == [to.guid]
    retention_waits.confirm(house.app, house.user, [to.guid])
    assert night() == {made[2]}


def test_a_clean_up_that_a_user_asks_for_applies_the_retention_of_a_waiting_destination(
    house: House,
):
    node = house.node()
    made = [stored(house, node) for _ in range(2)]
    set_destination(house, keepLastNFull=1)
    with house.app.store.write() as sql:
        sql.execute(sa.insert(retention_wait).values(rule=house.destination.guid, since=1))
    cleaned(house, node)
    assert kept(house) == {made[1]}


def test_a_removed_rule_waits_no_longer(house: House):
    nightly = rule(house, retentionKeepLastNFull=1)
    with house.app.store.write() as sql:
        sql.execute(sa.insert(retention_wait).values(rule=nightly, since=1))
    kind = record_kinds.RECORD_KINDS["rule"]
    configuration_service.remove(house.app, house.user, kind, nightly)
    with house.app.store.read() as sql:
        assert sql.scalar(sa.text("SELECT count(*) FROM retention_wait")) == 0


def test_a_mounted_backup_and_the_base_of_a_running_export_stay(house: House):
    node, nightly = house.node(), rule(house)
    made = [stored(house, node, nightly) for _ in range(3)]
    mounted = {"guid": new_guid(), "backup": made[0], "entity": house.entities[0].guid}
    mounted |= {"entity_name": "db", "node": node.guid, "mode": "AUTO", "state": "MOUNTED"}
    numbers = {"created": 1, "keep": 0, "size": 1}
    with house.app.store.write() as sql:
        row = {**mounted, **numbers, "wanted": "{}", "found": "{}"}
        sql.execute(sa.insert(mount_tables.mounted_backup).values(**row))
        sql.execute(sa.update(tables.base).values(backup=made[1]))
    house.export()
    change_rule(house, nightly, retentionKeepLastNFull=1)
    cleaned(house, node)
    assert kept(house) == {*made}


def test_a_removed_rule_leaves_no_unconfirmed_terms_behind(house: House):
    node, nightly = house.node(), rule(house, retentionKeepLastNFull=1)
    set_destination(house, keepLastNFull=2)
    with house.app.store.write() as sql:
        sql.execute(sa.insert(retention_wait).values(rule=nightly, since=1))
    made = [stored(house, node, nightly) for _ in range(3)]
    kind = record_kinds.RECORD_KINDS["rule"]
    configuration_service.remove(house.app, house.user, kind, nightly)
    cleaned(house, node)
    assert kept(house) == {*made[1:]}


def test_a_backup_that_was_archived_or_taken_into_use_meanwhile_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    node, nightly = house.node(), rule(house)
    made = [stored(house, node, nightly) for _ in range(4)]
    change_rule(house, nightly, retentionKeepLastNFull=1)
    judge = retention_run.verdicts

    def slowly(sql: Any, *given: Any) -> list[Any]:
        judged = list(judge(sql, *given))
        archived = sa.update(tables.backup).where(tables.backup.c.guid == made[0])
        sql.execute(archived.values(hint="ARCHIVE"))
        tasks.insert(sql, [reader_of(house, "RESTORE", made[1])])
        return judged

    monkeypatch.setattr(retention_run, "verdicts", slowly)
    cleaned(house, node)
    assert kept(house) == {made[0], made[1], made[3]}


def test_retention_waits_for_the_request_that_takes_a_backup_into_use(house: House):
    if house.app.store.is_sqlite:
        return  # SQLite has one writer
    taken = stored(house, house.node())

    def remove() -> None:
        with house.app.store.write() as sql:
            sql.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
            retention.locked(sql, [taken])

    with house.app.store.write() as sql:
        assert SqlCatalogue(sql).backups.held(taken).guid == taken
        assert "lock timeout" in house.refuses(Unavailable, remove)
    remove()


def test_a_backup_that_retention_removed_meanwhile_cannot_be_archived(house: House):
    node = house.node()
    guid = stored(house, node)
    before = backup(house, guid)
    with house.app.store.write() as sql:
        removed = sa.update(tables.backup).where(tables.backup.c.guid == guid)
        sql.execute(removed.values(status="SUCCESS_REMOVED"))
    marks = [retention_marks.Mark(before, msgspec.structs.replace(before, hint="ARCHIVE"))]
    text = house.refuses(Conflict, retention_marks.mark, house.app, house.user, lambda _, __: marks)
    assert guid in text
    assert backup(house, guid).hint == before.hint


def test_a_backup_that_is_being_proven_stays(house: House):
    node, nightly = house.node(), rule(house)
    made = [stored(house, node, nightly) for _ in range(3)]
    reader = reader_of(house, "PROVE", made[0])
    with house.app.store.write() as sql:
        tasks.insert(sql, [reader])
    change_rule(house, nightly, retentionKeepLastNFull=1)
    with house.app.store.read() as sql:
        known = SqlCatalogue(sql)
        assert known.work.is_in_use(known.backups.get(made[0]))
        assert not known.work.is_busy(house.entities[0].guid)
    cleaned(house, node)
    assert kept(house) == {made[0], made[2]}
    with house.app.store.write() as sql:
        sql.execute(sa.delete(tables.task).where(tables.task.c.guid == reader.guid))
    cleaned(house, node)
    assert kept(house) == {made[2]}


def test_the_refused_removal_of_a_locked_backup_is_an_event(house: House):
    node, nightly = house.node(), rule(house, lock=10)
    locked = stored(house, node, nightly)

    def refuse(_: object, __: int) -> list[retention_marks.Mark]:
        raise Conflict("backup is locked", backup=locked, lockedUntil=1)

    house.refuses(Conflict, retention_marks.mark, house.app, house.user, refuse)
    house.refuses(Conflict, house.submit, "delete", {"value": house.entities[0].guid})
    assert events_of(house, "LOCK_REFUSED") == [locked, locked]


def test_a_run_goes_on_where_a_dead_server_left_it(house: House, monkeypatch: pytest.MonkeyPatch):
    node = house.node()
    set_destination(house, keepLastNFull=1)
    made = [stored(house, node, None, entity) for entity in house.entities for _ in range(2)]
    [task] = house.submit("remove-old-backups", {"backupDestinations": [house.destination.guid]})
    house.take(node, task)
    monkeypatch.setattr(retention_run, "_FIRST_ROWS", 1)
    monkeypatch.setattr(retention_run, "_PATIENCE", 0.0)
    for _ in range(3):  # a piece for each machine
        house.refuses(Unavailable, node_tasks.order, house.app, node, task.guid)
    order: Any = node_tasks.order(house.app, node, task.guid)
    assert kept(house) == {*made[1::2]}
    assert set(order.order.backups) == {*made[::2]}
    assert set(node_tasks.expected(house.app, node, task.guid, "")) == {*made[1::2]}
    set_destination(house, keepLastNFull=1, keepLastBackupWhenSourceStillExists=False)
    again: Any = node_tasks.order(house.app, node, task.guid)
    assert again.order.backups == order.order.backups  # judged only once


def test_another_attempt_of_a_clean_up_judges_anew(house: House):
    node = house.node()
    made = [stored(house, node) for _ in range(2)]
    [task] = house.submit("remove-old-backups", {"backupDestinations": [house.destination.guid]})
    house.take(node, task)
    node_tasks.order(house.app, node, task.guid)
    set_destination(house, keepLastNFull=1)
    node_tasks.set_state(house.app, node, task.guid, State.QUEUED, None)
    house.take(node, task)
    node_tasks.order(house.app, node, task.guid)
    assert kept(house) == {made[1]}


def test_a_clean_up_after_a_backup_waits_for_the_backups_that_are_being_stored(house: House):
    node, nightly = house.node(), rule(house, retentionKeepLastNFull=1)
    [stored(house, node, nightly) for _ in range(2)]
    house.export(house.entities[1])

    def planned() -> list[Any]:
        maintenance.tick(house.app)
        with house.app.store.read() as sql:
            query = sa.text("SELECT params FROM task WHERE type = 'BACKUP_CLEANUP'")
            return [msgspec.json.decode(text) for text in sql.scalars(query)]

    nightly_clean_up = planned()  # the night of the first backup has passed
    assert {"scope": "marked"} not in nightly_clean_up
    house.clock.now += 60_000
    assert planned() == nightly_clean_up


def test_a_machine_that_was_deleted_and_a_destination_that_is_gone_stop_nothing(house: House):
    with house.app.store.write() as sql:
        place = {"destination": new_guid(), "entity": new_guid(), "rule": new_guid()}
        retention.add_due(sql, place, 1)
    maintenance.tick(house.app)
    with house.app.store.read() as sql:
        assert not retention.has_due(sql)


def test_a_nightly_clean_up_judges_every_backup_and_none_is_planned_beside_another(house: House):
    node = house.node()
    set_destination(house, keepLastNFull=1)
    made = [stored(house, node) for _ in range(2)]
    with house.app.store.write() as sql:
        task = retention_plan.nightly(sql, house.destination, house.clock.now + 1)
        assert task
        tasks.insert(sql, [task])
        assert retention_plan.nightly(sql, house.destination, house.clock.now + 1) is None
    house.take(node, task)
    node_tasks.order(house.app, node, task.guid)
    assert kept(house) == {made[1]}
