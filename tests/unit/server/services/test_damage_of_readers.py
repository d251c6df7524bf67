"""Damage that readers of backups meet: each destination that a reader has read is reported."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from haulback.contract.damage import DamageReport, Loss, LostDisk
from haulback.inventory.records import Backup
from haulback.server.services import node_tasks
from haulback.server.store.damage_reports import DamageFinder, finder_of, locations
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Task
from haulback.wire import Named
from tests.unit.server.conftest import House
from tests.unit.server.services.test_destination_sync import Copies

HOUR = 3_600_000


@pytest.fixture
def copies(house: House) -> Copies:
    return Copies(house)


def lost(place: Backup) -> DamageReport:
    return DamageReport(place.destination, [Loss(place.guid, [LostDisk("vda", 9)], ["packs/aa"])])


def restored(copies: Copies, backup: str, *reports: DamageReport, fails: bool = False) -> Task:
    """A restore that ends with reports of damage."""
    body = {"backup": backup, "node": copies.node.guid, "restorePath": "/r"}
    [task, *_] = copies.house.submit("restore", body)
    copies.house.take(copies.node, task)
    told = [msgspec.to_builtins(report) for report in reports]
    damage = {"damage": told if len(told) > 1 else told[0]}
    copies.house.finish(copies.node, task, path="/r", readFrom={}, **damage)
    return task


def test_a_restore_marks_each_location_in_which_it_found_damage(copies: Copies):
    backup = copies.both()
    first, second = copies.locations(backup)
    restored(copies, backup, lost(second), lost(first))
    states = [place.location_status for place in copies.locations(backup)]
    assert states == ["DAMAGED", "DAMAGED"]


def test_a_restore_marks_the_other_location_alone(copies: Copies):
    backup = copies.both()
    restored(copies, backup, lost(copies.locations(backup)[1]))
    states = [place.location_status for place in copies.locations(backup)]
    assert states == ["PRESENT", "DAMAGED"]


def test_a_restore_marks_no_backup_of_a_destination_that_it_did_not_read(copies: Copies):
    other = copies.both()
    first, _ = copies.locations(other)
    strange = DamageReport(copies.destination("strange").guid, [Loss(first.guid)])
    restored(copies, other, strange)
    assert {place.location_status for place in copies.locations(other)} == {"PRESENT"}


@pytest.mark.parametrize(("age", "state"), [(HOUR - 1, "PRESENT"), (HOUR, "MISSING")])
def test_a_manifest_that_a_restore_missed_is_missing_once_lists_cannot_lag(
    copies: Copies, age: int, state: str
):
    backup = copies.both()
    first, _ = copies.locations(backup)
    copies.house.clock.now += age
    restored(copies, backup, DamageReport(first.destination, missing=[first.guid]))
    assert copies.locations(backup)[0].location_status == state


def absent(place: Backup) -> DamageReport:
    return DamageReport(place.destination, missing=[place.guid], unreadable=[place.guid])


def states(copies: Copies, *backups: str) -> set[str]:
    return {place.location_status for guid in backups for place in copies.locations(guid)}


@pytest.mark.parametrize("told", [lost, absent])
def test_a_restore_marks_no_backup_that_it_did_not_read(
    copies: Copies, told: Callable[[Backup], DamageReport]
):
    mine, other = copies.both(), copies.both()
    copies.house.clock.now += HOUR
    restored(copies, mine, *(told(place) for place in copies.locations(other)))
    assert states(copies, mine, other) == {"PRESENT"}


@pytest.mark.parametrize("told", [lost, absent])
def test_a_mount_marks_no_backup_that_it_did_not_read(
    copies: Copies, told: Callable[[Backup], DamageReport]
):
    mine, other = copies.both(), copies.both()
    copies.house.clock.now += HOUR
    with copies.house.app.store.write() as sql:
        finder = DamageFinder("MOUNT m", locations(sql, mine))
        ledger = SqlLedger(sql, copies.house.clock.now)
        ledger.damage.found(finder, [told(place) for place in copies.locations(other)])
    assert states(copies, mine, other) == {"PRESENT"}


def test_an_export_marks_the_base_that_it_read_and_no_other_backup(copies: Copies):
    older, base = copies.both(), copies.both()
    first, second = copies.locations(older)[0], copies.locations(base)[0]
    [export] = copies.house.export(copies.house.entities[0])
    copies.house.take(copies.node, export)
    losses = [*lost(first).losses, *lost(second).losses]
    report = DamageReport(first.destination, losses)
    node_tasks.add_results(
        copies.house.app, copies.node, export.guid, {"damage": msgspec.to_builtins(report)}
    )
    copies.house.fail(copies.node, export)
    assert states(copies, older) == {"PRESENT"}
    assert copies.locations(base)[0].location_status == "DAMAGED"


def test_a_copying_task_marks_each_backup_that_it_copies(copies: Copies):
    rule = copies.rule()
    other = copies.both(rule)
    copies.stored(rule)
    [sync] = copies.syncs()
    backup = sync.ref("backup") or ""
    source = copies.locations(backup)[0]
    strange = copies.locations(other)[0]
    report = DamageReport(source.destination, [*lost(source).losses, *lost(strange).losses])
    copies.house.take(copies.node, sync)
    results = {"damage": msgspec.to_builtins(report)}
    node_tasks.add_results(copies.house.app, copies.node, sync.guid, results)
    copies.house.fail(copies.node, sync)
    assert copies.locations(backup)[0].location_status == "DAMAGED"
    assert states(copies, other) == {"PRESENT"}


def test_the_reading_of_a_catalogue_marks_any_backup_of_its_destination(copies: Copies):
    place = copies.locations(copies.both())[0]
    sync = Task(type="BACKUP_DESTINATION_SYNC", lane="verify")
    sync.refs["backupDestination"] = Named(place.destination, "")
    with copies.house.app.store.write() as sql:
        ledger = SqlLedger(sql, copies.house.clock.now)
        ledger.damage.found(finder_of(sql, sync), [lost(place)])
    assert copies.locations(place.guid)[0].location_status == "DAMAGED"
