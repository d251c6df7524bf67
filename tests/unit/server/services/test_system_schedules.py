"""System schedules: Haulback's own work, as records that users change."""

import msgspec
import pytest
import sqlalchemy as sa

from haulback.contract.events import EventKind
from haulback.contract.system_schedules import SystemSchedule, SystemTask
from haulback.errors import Malformed
from haulback.server.services import fires, schedules, system_schedules
from haulback.server.services.system_schedules import guid_of
from haulback.server.store import event_tables, managers, tables
from haulback.server.store import fires as fire_store
from haulback.server.store.catalogue import SqlCatalogue
from haulback.wire import read
from tests.unit.server.conftest import START, House

HOUR, DAY = 3_600_000, 86_400_000
MIDNIGHT = START // DAY * DAY + DAY


@pytest.fixture
def own(house: House) -> House:
    system_schedules.ensure(house.app)
    return house


def at(house: House, moment: int) -> None:
    house.clock.now = moment
    fires.run_due(house.app)


def change(house: House, which: SystemTask, **members: object) -> None:
    wanted = read({"name": which.value, **members}, SystemSchedule, "")
    system_schedules.change(house.app, house.user, guid_of(which), wanted)


def planned(house: House, kind: str) -> list[str]:
    table = tables.task.c
    with house.app.store.read() as sql:
        query = sa.select(table.refs).where(table.type == kind).order_by(table.created, table.guid)
        return list(sql.scalars(query))


def test_every_task_has_one_schedule_and_a_second_start_adds_none(own: House):
    system_schedules.ensure(own.app)
    with own.app.store.read() as sql:
        known = SqlCatalogue(sql).records.of_kind("system-schedule")
        shown = {record.body["task"]: schedules.times(sql, record.guid) for record in known}
    assert sorted(shown) == sorted(task.value for task in SystemTask)
    assert all("nextRun" in times for times in shown.values())


def test_each_source_is_scanned_at_its_times_unless_a_scan_waits(own: House):
    at(own, MIDNIGHT + 1)
    [refs] = planned(own, "INVENTORY_SYNC")
    decoded = msgspec.json.decode(refs)
    assert decoded["hypervisor"]["guid"] == own.hypervisor.guid
    assert decoded["originEntity"]["type"]["name"] == "SYSTEM_SCHEDULE"
    at(own, MIDNIGHT + 4 * HOUR + 1)
    assert len(planned(own, "INVENTORY_SYNC")) == 1


def test_a_changed_schedule_works_at_its_new_time(own: House):
    change(own, SystemTask.INVENTORY, hour=7 * HOUR, timeZone="Europe/Berlin")
    at(own, MIDNIGHT + 6 * HOUR - 1)
    assert planned(own, "INVENTORY_SYNC") == []
    at(own, MIDNIGHT + 6 * HOUR)
    assert len(planned(own, "INVENTORY_SYNC")) == 1


@pytest.mark.parametrize(
    ("task", "members", "named"),
    [
        (SystemTask.TIDY, {"hour": HOUR, "task": "VERIFY"}, "task"),
        (SystemTask.TIDY, {"hour": HOUR, "atOnce": 2}, "atOnce"),
        (SystemTask.PROVE, {"hour": HOUR, "atOnce": 0}, "atOnce"),
        (SystemTask.PROVE, {"hour": HOUR, "sign": "TEXT"}, "sign"),
        (SystemTask.PROVE, {}, "hour"),
        (SystemTask.PROVE, {"cron": "0 0 30 2 *"}, "cron"),
    ],
)
def test_members_that_cannot_act_are_refused_by_name(own: House, task, members, named):
    said = own.refuses(Malformed, lambda: change(own, task, **members))
    assert said.startswith(f"{named}:")


def test_nodes_are_tidied_every_hour_and_an_absence_is_no_event(own: House):
    own.node()
    before = len(planned(own, "STAGING_CLEANUP"))
    own.clock.now = START // HOUR * HOUR + HOUR
    own.node()  # a node with a recent heartbeat
    tidied = len(planned(own, "STAGING_CLEANUP"))
    fires.run_due(own.app)
    assert len(planned(own, "STAGING_CLEANUP")) == tidied + 1 > before
    at(own, own.clock.now + 5 * HOUR)
    with own.app.store.read() as sql:
        kinds = list(sql.scalars(sa.select(event_tables.event.c.kind)))
    assert EventKind.FIRE_MISSED.value not in kinds


def test_the_server_backs_up_its_own_database_or_tells_why_not(own: House):
    at(own, MIDNIGHT + 4 * HOUR)
    with own.app.store.read() as sql:
        [fire] = fire_store.past(sql, guid_of(SystemTask.OWN_DATABASE), 5)
    assert (fire.planned, fire.skipped) == (1, 0)
    assert len(planned(own, "EXPORT")) == 1


def proving(house: House, **more: object) -> None:
    """Every machine has a stored backup on a platform that can boot it; proofs run at three
    o'clock.
    """
    node = house.node()
    for machine in house.entities:
        [export] = house.export(machine)
        house.take(node, export)
        house.finish(node, export, type="FULL", snapshotTime=START, size=1, read=1, stored=1)
        store = house.follower(export)
        house.take(node, store)
        house.finish(node, store, stored=1)
    with house.app.store.write() as sql:
        here = sa.update(tables.hypervisor).where(tables.hypervisor.c.guid == house.hypervisor.guid)
        sql.execute(here.values(driver="libvirt", config='{"url":"qemu:///system"}'))
        known = SqlCatalogue(sql).places.hypervisor(house.hypervisor.guid)
        managers.surround(sql, known, START)
    change(house, SystemTask.PROVE, hour=3 * HOUR, **more)


def proven(house: House) -> list[str]:
    refs = [msgspec.json.decode(text) for text in planned(house, "PROVE")]
    return [one["protectedEntity"]["name"] for one in refs]


def end_proof(house: House) -> None:
    node = house.node()
    for guid in house.offered(node):
        if house.row(guid).type == "PROVE":
            house.take(node, guid)
            house.fail(node, guid)


def test_machines_are_proven_in_turn_never_more_at_once_than_allowed(own: House):
    proving(own, atOnce=1, most=2)
    at(own, MIDNIGHT + 3 * HOUR)
    at(own, MIDNIGHT + 3 * HOUR + 1000)
    assert len(proven(own)) == 1
    end_proof(own)
    at(own, MIDNIGHT + 3 * HOUR + 2000)
    assert len(proven(own)) == 2
    end_proof(own)
    at(own, MIDNIGHT + 3 * HOUR + 3000)
    assert len(proven(own)) == 2, "the budget of the night is used"
    at(own, MIDNIGHT + DAY + 3 * HOUR)
    assert len(set(proven(own))) == 3, "the machine that had no turn comes first"


def test_no_proof_begins_after_the_window(own: House):
    proving(own, atOnce=1, most=3, startWindowLength=HOUR)
    at(own, MIDNIGHT + 3 * HOUR)
    end_proof(own)
    at(own, MIDNIGHT + 4 * HOUR)
    assert len(proven(own)) == 1
    with own.app.store.read() as sql:
        [fire] = fire_store.past(sql, guid_of(SystemTask.PROVE), 5)
    assert fire.state in ("RUNNING", "DONE")
