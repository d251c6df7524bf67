"""Reports of damage that arrive late: a location that was healed since is not marked again."""

from __future__ import annotations

import msgspec
import pytest

from haulback.contract.damage import DamageReport
from haulback.ids import new_guid
from haulback.inventory.records import Backup, Mount
from haulback.server.services import destination_sync, mount_reports
from haulback.server.store import mount_tables, rows
from tests.unit.server.conftest import House
from tests.unit.server.services.test_damage_of_readers import HOUR, lost, restored
from tests.unit.server.services.test_destination_sync import Copies


@pytest.fixture
def copies(house: House) -> Copies:
    return Copies(house)


def mounted(copies: Copies, backup: Backup) -> str:
    """The guid of a mount of a backup on the node."""
    mount = Mount(
        guid=new_guid(),
        backup=backup.guid,
        entity=backup.entity,
        entity_name=backup.entity_name,
        node=copies.node.guid,
        mode="FILE",
        state="MOUNTED",
    )
    with copies.house.app.store.write() as sql:
        rows.add(sql, mount_tables.mounted_backup, mount)
    return mount.guid


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

    def states(found: int) -> list[str]:
        told = msgspec.structs.replace(report, found=found)
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
