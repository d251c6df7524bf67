"""Damage that readers of backups meet: each destination that a reader has read is reported."""

from __future__ import annotations

import msgspec
import pytest

from haulback.contract.damage import DamageReport, Loss, LostDisk
from haulback.inventory.records import Backup
from haulback.tasks.record import Task
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


def test_a_restore_marks_each_location_in_which_it_met_damage(copies: Copies):
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
