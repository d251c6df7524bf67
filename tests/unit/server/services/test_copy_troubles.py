"""Copies that fail, wait or outlive their backup affect no other objects."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait

import msgspec
import pytest
import sqlalchemy as sa

from haulback.contract.copies import NewCopyLink
from haulback.contract.damage import DamageReport, LocationStatus
from haulback.contract.policies import DestinationRole
from haulback.contract.task_states import State
from haulback.errors import BaseGone, Malformed
from haulback.kinds.api import Context
from haulback.kinds.support.second_copies import CopyGoal, LackingCopies, plan_copies
from haulback.server.scope import EVERYTHING
from haulback.server.services import backups, destination_sync, node_tasks
from haulback.server.services import tasks as task_service
from haulback.server.store import destinations, tables, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.wire import Ref
from tests.unit.server.conftest import EXPORTED, START, House
from tests.unit.server.services.test_destination_sync import DAY, Copies

HOUR, MINUTES_10 = 3_600_000, 600_000


@pytest.fixture
def copies(house: House) -> Copies:
    return Copies(house)


def test_a_copy_that_lost_its_base_repeats_no_store(copies):
    store = copies.stored(copies.rule())
    backup = store.ref("backup")
    [sync] = copies.syncs()
    copies.house.take(copies.node, sync)
    node_tasks.report(copies.house.app, copies.node, sync.guid, results={"failure": BaseGone.code})
    copies.house.fail(copies.node, sync)
    assert [place.status for place in copies.locations(backup)] == ["SUCCESS", "FAILED"]
    assert copies.shown() == [backup]
    offered = {task.type for task in node_tasks.offer(copies.house.app, copies.node)}
    assert offered.isdisjoint({"EXPORT", "STORE", sync.type})


def test_a_late_copy_of_an_old_backup_is_not_the_newest_backup(copies):
    house = copies.house
    old = copies.stored(copies.rule()).ref("backup")
    [sync] = copies.syncs()
    house.clock.now += HOUR
    results = EXPORTED | {"snapshotTime": START + HOUR}
    [export] = house.export(backupDestination=copies.primary)
    house.take(copies.node, export)
    house.finish(copies.node, export, **results)
    store = house.follower(export)
    house.take(copies.node, store)
    house.finish(copies.node, store, stored=5)
    house.clock.now += HOUR
    copies.copied(sync)
    with house.app.store.read() as sql:
        ordered = SqlCatalogue(sql).backups.of_entity(house.entities[0].guid, "SUCCESS")
    firsts = [(item.first, item.copy_of is None) for item in ordered]
    assert firsts == [(store.ref("backup"), True), (old, True), (old, False)]


def linked(copies: Copies) -> str:
    """A backup on a destination that is linked to the far one; its guid."""
    link = NewCopyLink(backupDestination=Ref(copies.far.guid))
    app, source = copies.house.app, copies.house.destination.guid
    destination_sync.set_links(app, source, [link], copies.house.user)
    return copies.stored().ref("backup") or ""


def test_a_copy_that_keeps_failing_is_made_ever_later_and_leaves_few_records(copies):
    house, app = copies.house, copies.house.app
    linked(copies)
    waits = []
    for _ in range(11):
        since = house.clock.now
        while not destination_sync.plan_due(app):
            house.clock.now += MINUTES_10
        waits.append((house.clock.now - since) // MINUTES_10)
        [sync] = copies.syncs()
        house.take(copies.node, sync)
        house.fail(copies.node, sync)
        copies.ledger(lambda ledger, sync=sync: ledger.removals.deleted(sync.params["copies"]))
    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 128, 144, 144]
    with app.store.read() as sql:
        query = sa.select(sa.func.count()).where(tables.backup.c.copy_of.is_not(None))
        assert sql.scalar(query) == 9


def test_a_copy_that_a_user_cancels_stays_away_for_a_day(copies):
    house, app = copies.house, copies.house.app
    linked(copies)
    destination_sync.plan_due(app)
    [sync] = copies.syncs()
    task_service.set_state(app, house.user, sync.guid, State.CANCELLED, None)
    house.clock.now += DAY - 1
    assert destination_sync.plan_due(app) == 0
    house.clock.now += 1
    assert destination_sync.plan_due(app) == 1


def test_the_sound_copy_and_no_failed_one_inherits_from_a_removed_destination(copies):
    house = copies.house
    backup = linked(copies)
    destination_sync.plan_due(house.app)
    [sync] = copies.syncs()
    house.take(copies.node, sync)
    house.fail(copies.node, sync)
    house.clock.now += MINUTES_10
    destination_sync.plan_due(house.app)
    [again] = copies.syncs()
    copies.copied(again)
    with house.app.store.write() as sql:
        destinations.remove(sql, house.destination.guid)
    [sound] = again.params["copies"]
    assert copies.shown() == [sound]
    assert copies.restore(sound).backup == sound
    assert backup not in copies.shown()


def test_a_copy_that_is_missing_is_given_up_by_the_guid_of_its_backup_or_its_own(copies):
    house, app = copies.house, copies.house.app
    backup = copies.both()
    _, copy = copies.locations(backup)
    missing = DamageReport(copy.destination, missing=[copy.guid])
    verify = house.submit("verify", {"backupDestinations": [{"guid": copy.destination}]})[0]
    house.take(copies.node, verify)
    house.finish(copies.node, verify, cursor="", damage=msgspec.to_builtins(missing))
    assert copies.locations(backup)[1].location_status == "MISSING"
    backups.confirm_missing(app, house.user, backup)
    backups.confirm_missing(app, house.user, copy.location)
    states = [place.location_status for place in copies.locations(backup)]
    assert states == ["PRESENT", "GIVEN_UP"]


def test_a_proof_of_a_copy_is_the_proof_of_its_backup(copies):
    backup = copies.both()
    _, copy = copies.locations(backup)
    with copies.house.app.store.write() as sql:
        values = {"backup": copy.guid, "time": START, "evidence": "{}", "signature": "s"}
        sql.execute(sa.insert(tables.proof).values(**values))
    for guid in (backup, copy.guid):
        proven, evidence = backups.proof(copies.house.app, guid, EVERYTHING)
        assert (proven.guid, evidence.time) == (copy.guid, START)


def test_a_backup_that_was_damaged_when_due_is_copied_once_it_is_sound(copies):
    app = copies.house.app
    backup = linked(copies)
    [place] = copies.locations(backup)
    copies.damaged(place)
    assert destination_sync.plan_due(app) == 0
    copies.ledger(lambda ledger: ledger.damage.set_location(place, LocationStatus.PRESENT, None))
    assert destination_sync.plan_due(app) == 1


def test_a_link_copies_on_what_lies_on_its_source_as_a_copy(copies):
    house, app = copies.house, copies.house.app
    third = copies.destination("third")
    link = NewCopyLink(backupDestination=Ref(third.guid))
    destination_sync.set_links(app, copies.far.guid, [link], house.user)
    destination_sync.plan_due(app)
    back = NewCopyLink(backupDestination=Ref(house.destination.guid))
    destination_sync.set_links(app, third.guid, [back], house.user)
    backup = copies.both()
    assert destination_sync.plan_due(app) == 1
    [sync] = copies.syncs()
    house.take(copies.node, sync)
    house.fail(copies.node, sync)
    house.clock.now += MINUTES_10
    assert destination_sync.plan_due(app) == 1
    copies.copied(copies.syncs()[0])
    house.clock.now += DAY
    assert destination_sync.plan_due(app) == 0
    places = {place.destination: place.status for place in copies.locations(backup)}
    assert places == dict.fromkeys((house.destination.guid, copies.far.guid, third.guid), "SUCCESS")


def test_a_location_has_one_healing_at_a_time_however_long_the_healing_waits(copies):
    backup = copies.both()
    copies.damaged(copies.locations(backup)[0])
    assert destination_sync.plan_due(copies.house.app) == 1
    copies.house.clock.now += 7 * HOUR
    assert destination_sync.plan_due(copies.house.app) == 0


def test_a_healing_in_vain_gives_way_to_another_source(copies):
    house, app = copies.house, copies.house.app
    third = copies.destination("third")
    links = [NewCopyLink(backupDestination=Ref(place.guid)) for place in (copies.far, third)]
    destination_sync.set_links(app, house.destination.guid, links, house.user)
    backup = copies.stored().ref("backup") or ""
    while destination_sync.plan_due(app):
        for sync in copies.syncs():
            copies.copied(sync)
    damaged = copies.locations(backup)[0]
    copies.damaged(damaged)
    sources, waits = [], []
    for lacks in (True, True, True, False):
        since = house.clock.now
        while not destination_sync.plan_due(app):
            house.clock.now += MINUTES_10
        waits.append((house.clock.now - since) // MINUTES_10)
        [heal] = copies.syncs()
        sources.append(heal.params["source"])
        house.take(copies.node, heal)
        done = [{"backup": damaged.guid, "stored": 1, "lacks": lacks}]
        house.finish(copies.node, heal, copied=done)
    assert {*sources[:2]} == {copies.far.guid, third.guid}
    assert sources[2:] == sources[:2]
    assert waits == [0, 1, 36, 1]
    assert copies.locations(backup)[0].location_status == "PRESENT"


@pytest.mark.parametrize("copied", [5, ["x"], [{"backup": 5}]])
def test_a_healing_with_an_unusable_report_fails_and_the_next_is_planned(copies, copied):
    house, app = copies.house, copies.house.app
    damaged = copies.locations(copies.both())[0]
    copies.damaged(damaged)
    assert destination_sync.plan_due(app) == 1
    [heal] = copies.syncs()
    house.take(copies.node, heal)
    node_tasks.report(app, copies.node, heal.guid, results={"copied": copied})
    house.fail(copies.node, heal)
    house.clock.now += 7 * HOUR
    assert destination_sync.plan_due(app) == 1


def test_two_servers_plan_one_copy_of_a_backup(copies):
    house, rule = copies.house, copies.rule()
    copies.saved(
        "schedule",
        {"name": "s", "hour": 0, "backupType": "SYNCHRONIZATION", "rules": [{"guid": rule}]},
    )
    backup = copies.stored(rule).ref("backup")
    entity = house.entities[0]
    wanted = {"rules": [{"guid": rule}], "backupType": "SYNCHRONIZATION"}
    with ThreadPoolExecutor(1) as pool:
        with house.app.store.write() as sql:
            known = SqlCatalogue(sql).backups
            places = house.destination, copies.far
            lacking = known.lacking(entity.guid, rule, *(place.guid for place in places))
            other = pool.submit(house.export, **wanted)
            wait([other], timeout=0.3)
            of_machine = LackingCopies(places[0], entity.named(), lacking)
            plan = plan_copies(of_machine, CopyGoal(places[1], "SECONDARY"), Context(START))
            SqlLedger(sql, START).backups.begun(plan.backups, {})
            tasks.insert(sql, plan.tasks)
        assert other.result() == []
    assert len(copies.locations(backup)) == 2


def test_a_synchronization_copies_the_backups_of_a_machine_that_is_no_longer_on_its_hypervisor(
    copies,
):
    house, rule = copies.house, copies.rule()
    copies.saved(
        "schedule",
        {"name": "s", "hour": 0, "backupType": "SYNCHRONIZATION", "rules": [{"guid": rule}]},
    )
    copies.stored(rule)
    with house.app.store.write() as sql:
        here = tables.entity.c.guid == house.entities[0].guid
        sql.execute(sa.update(tables.entity).where(here).values(present=False))
    wanted = {"rules": [{"guid": rule}]}
    [sync] = house.export(**wanted, backupType="SYNCHRONIZATION")
    assert len(sync.params["copies"]) == 1
    house.refuses(Malformed, lambda: house.export(**wanted))


def test_a_copy_of_a_destination_is_never_primary(copies):
    link = NewCopyLink(backupDestination=Ref(copies.far.guid), roleType=DestinationRole.PRIMARY)
    house, source = copies.house, copies.house.destination.guid
    told = house.refuses(
        Malformed, destination_sync.set_links, house.app, source, [link], house.user
    )
    assert "SECONDARY or ARCHIVE" in told


def test_a_destination_gets_one_copy_in_one_role(copies):
    app, user, far = copies.house.app, copies.house.user, {"guid": copies.far.guid}
    links = [NewCopyLink(backupDestination=Ref(copies.far.guid)) for _ in range(2)]
    source = copies.house.destination.guid
    with pytest.raises(Malformed, match="named twice"):
        destination_sync.set_links(app, source, links, user)
    targets = [{"roleType": role, "backupDestination": far} for role in ("PRIMARY", "SECONDARY")]
    body = {"name": "one", "rules": [{"name": "r", "ruleBackupDestinations": targets}]}
    with pytest.raises(Malformed, match="far is named twice"):
        copies.saved("vm-backup", body)
