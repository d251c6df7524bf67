"""Reports of damage that arrive late: a location that was healed since is not marked again."""

from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.contract.damage import DamageReport
from haulback.errors import NotFound, TooMany
from haulback.inventory.records import Backup
from haulback.server.services import destination_sync, mount_reports
from haulback.server.store import alarms, audit, mount_tables
from tests.unit.server.conftest import House
from tests.unit.server.services.test_damage_of_readers import HOUR, lost, restored
from tests.unit.server.services.test_destination_sync import Copies


@pytest.fixture
def copies(house: House) -> Copies:
    return Copies(house)


def mounted(copies: Copies, backup: Backup) -> str:
    """The guid of a mount of a backup on the node."""
    return copies.house.mounted(backup, copies.node.guid)


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_mount_marks_no_location_for_damage_that_was_healed_since(
    copies: Copies, is_missing: bool
):
    backup, house = copies.both(), copies.house
    _, place = copies.locations(backup)
    mount = mounted(copies, place)
    house.clock.now += HOUR
    report = lost(place)
    if is_missing:
        report = DamageReport(place.destination, missing=[place.guid])

    def states(reported: int) -> list[str]:
        told = msgspec.structs.replace(report, found=reported)
        mount_reports.damaged(house.app, copies.node, mount, [told])
        by_mount = copies.locations(backup)[1].location_status
        restored(copies, backup, told)  # as the end of an UNMOUNT reports
        return [by_mount, copies.locations(backup)[1].location_status]

    state = "MISSING" if is_missing else "DAMAGED"
    first = house.clock.now
    assert states(first) == [state] * 2
    house.clock.now += 5
    destination_sync.plan_due(house.app)
    [sync] = copies.syncs()
    copies.ledger(lambda ledger: ledger.damage.healed(sync, place.guid, is_whole=True))
    assert states(first) == ["PRESENT"] * 2
    assert states(house.clock.now) == [state] * 2


def reported(copies: Copies, mount: str, times: int, *reports: DamageReport) -> int:
    """Report damage until the server refuses; the number of accepted reports."""
    for number in range(times):
        try:
            mount_reports.damaged(copies.house.app, copies.node, mount, reports)
        except TooMany:
            return number
    return times


def test_a_node_that_floods_the_server_with_damage_is_refused_for_a_while(copies: Copies):
    place = copies.locations(copies.both())[1]
    mounts = [mounted(copies, place) for _ in range(2)]
    assert reported(copies, mounts[0], 100, lost(place)) == 60
    assert reported(copies, mounts[1], 100, lost(place)) == 0  # all mounts of a node together
    copies.house.clock.now += 25_000
    assert reported(copies, mounts[1], 100, lost(place)) == 2
    copies.house.clock.now += HOUR
    assert reported(copies, mounts[1], 100, lost(place)) == 60


def test_a_report_of_a_mount_is_in_the_audit_log(copies: Copies):
    place = copies.locations(copies.both())[1]
    mount = mounted(copies, place)
    reported(copies, mount, 1, lost(place))
    with copies.house.app.store.read() as sql:
        [line] = audit.read(sql, mount, None, 10)
    assert (line.caller, line.after["damaged"][0]["losses"]) == (copies.node.guid, 1)


def test_a_mount_clears_no_alarm(copies: Copies):
    place = copies.locations(copies.both())[1]
    mount = mounted(copies, place)
    reported(copies, mount, 1, DamageReport(place.destination, unreliable="half of all packs"))
    reported(copies, mount, 1, DamageReport(place.destination, complete=True))
    with copies.house.app.store.read() as sql:
        assert alarms.subjects(sql, AlarmKind.DESTINATION_UNRELIABLE) == {place.destination}


def test_damage_that_a_mount_found_is_recorded_after_its_end(copies: Copies):
    place = copies.locations(copies.both())[1]
    mount = mounted(copies, place)
    table = mount_tables.mounted_backup
    with copies.house.app.store.write() as sql:
        sql.execute(sa.update(table).where(table.c.guid == mount).values(state="UNMOUNTED"))
    reported(copies, mount, 1, lost(place))
    assert copies.locations(place.first)[1].location_status == "DAMAGED"
    with pytest.raises(NotFound):
        mount_reports.damaged(copies.house.app, copies.house.node("other"), mount, [])


def test_a_location_that_a_node_marks_again_and_again_is_not_healed_all_the_time(copies: Copies):
    place = copies.locations(copies.both())[1]
    mount, house = mounted(copies, place), copies.house
    healed = 0
    for _ in range(10):
        house.clock.now += 60_000
        reported(copies, mount, 1, lost(place))
        destination_sync.plan_due(house.app)
        for sync in copies.syncs():
            healed += 1
            copies.copied(sync)
    assert healed == 1
