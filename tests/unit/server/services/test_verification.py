"""Destinations are verified automatically: every night and after damage, unless turned off."""

import msgspec
import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.contract.destinations import ChangedDestination, Verification
from haulback.server.services import destinations, fires, system_schedules, verification
from haulback.server.store import tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import HOUR_MS
from haulback.units import DAY_MS
from haulback.wire import Named
from tests.unit.server.conftest import House


def verifies(house: House) -> list[str]:
    """The states of all VERIFY tasks."""
    table = tables.task.c
    with house.app.store.read() as sql:
        query = sa.select(table.state).where(table.type == "VERIFY").order_by(table.created)
        return list(sql.scalars(query))


def night(house: House) -> int:
    """The number of VERIFY tasks that the system schedule has planned so far."""
    before = len(verifies(house))
    fires.run_due(house.app)
    return len(verifies(house)) - before


def stored(house: House) -> None:
    """Store a backup."""
    system_schedules.ensure(house.app)
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=5)


def verified(house: House, **results: object) -> None:
    """Run the waiting VERIFY."""
    node = house.node()
    [guid] = [task for task in house.offered(node) if house.row(task).type == "VERIFY"]
    house.take(node, guid)
    house.finish(node, guid, **results)


def short(house: House) -> None:
    """Let a round take four days, so that it is late after six."""
    wanted = ChangedDestination(verification=Verification(days=4))
    destinations.change_destination(house.app, house.destination.guid, wanted, house.user)


def alarmed(house: House, kind: AlarmKind) -> bool:
    with house.app.store.read() as sql:
        table = tables.metadata.tables["alarm"].c
        return sql.scalar(sa.select(table.guid).where(table.kind == kind.value)) is not None


def test_a_destination_is_verified_from_the_night_after_its_first_backup(house: House):
    assert night(house) == 0, "there is nothing to read yet"
    stored(house)
    assert night(house) == 0, "its night has not come"
    house.clock.now += DAY_MS
    assert night(house) == 1
    assert verifies(house) == ["QUEUED"]
    assert night(house) == 0, "once a night"
    house.clock.now += DAY_MS - 1000  # within the start window of the first task
    night(house)
    assert verifies(house) == ["QUEUED"], "one that waits is enough"
    verified(house, cursor="", isRound=True)
    house.clock.now += DAY_MS
    night(house)
    assert verifies(house) == ["FINISHED", "QUEUED"]


def test_a_destination_that_is_not_to_be_verified_is_left_alone(house: House):
    stored(house)
    wanted = ChangedDestination(verification=Verification(active=False))
    destinations.change_destination(house.app, house.destination.guid, wanted, house.user)
    house.clock.now += 3 * DAY_MS
    assert night(house) == 0


def test_damage_that_a_task_records_brings_a_verify_at_once_but_not_every_minute(house: House):
    stored(house)
    named = Named(house.destination.guid, "bd")

    def damage() -> None:
        with house.app.store.write() as sql:
            ledger = SqlLedger(sql, house.clock.now)
            ledger.alarms.report(AlarmKind.REPOSITORY_DAMAGED, named, "one pack is torn", {})

    damage()
    assert verification.plan_due(house.app) == 1
    house.clock.now += 60_000
    damage()
    assert verification.plan_due(house.app) == 0
    house.clock.now += HOUR_MS + 1
    damage()
    assert verification.plan_due(house.app) == 1


def test_a_verify_after_damage_waits_for_the_end_of_a_repair(house: House):
    stored(house)
    named = Named(house.destination.guid, "bd")
    with house.app.store.write() as sql:
        ledger = SqlLedger(sql, house.clock.now)
        ledger.alarms.report(AlarmKind.REPOSITORY_DAMAGED, named, "one pack is torn", {})
    [repair] = house.submit("repair", {"backupDestinations": [{"guid": named.guid}]})
    assert verification.plan_due(house.app) == 0
    node = house.node()
    house.take(node, repair)
    assert verification.plan_due(house.app) == 0
    house.finish(node, repair)
    assert verification.plan_due(house.app) == 1


def test_a_share_is_bounded_so_that_a_round_takes_its_days(house: House):
    stored(house)
    wanted = ChangedDestination(verification=Verification(days=10, seconds=600))
    destinations.change_destination(house.app, house.destination.guid, wanted, house.user)
    house.clock.now += DAY_MS
    night(house)
    node = house.node()
    [guid] = [task for task in house.offered(node) if house.row(task).type == "VERIFY"]
    house.take(node, guid)
    with house.app.store.read() as sql:
        order = house.app.kinds["VERIFY"].prepare(house.row(guid), SqlCatalogue(sql))
    result = msgspec.to_builtins(order)
    assert (result["days"], result["seconds"], result["cursor"]) == (10, 600, "")


def test_a_round_that_does_not_end_is_an_alarm_until_one_does(house: House):
    stored(house)
    short(house)
    house.clock.now += DAY_MS
    for _ in range(7):
        night(house)
        verified(house, cursor="ab" * 16, isRound=False)
        house.clock.now += DAY_MS
    night(house)
    assert alarmed(house, AlarmKind.VERIFY_OVERDUE)
    verified(house, cursor="", isRound=True)
    house.clock.now += DAY_MS
    night(house)
    assert not alarmed(house, AlarmKind.VERIFY_OVERDUE)


def test_a_node_that_died_goes_on_from_the_pack_that_it_told(house: House):
    stored(house)
    [task] = house.submit("verify", {"backupDestinations": [{"guid": house.destination.guid}]})
    node = house.node()
    house.take(node, task)
    from haulback.server.services import node_tasks

    node_tasks.add_results(house.app, node, task.guid, {"cursor": "cd" * 16})
    again = house.node()
    house.take(again, task)
    with house.app.store.read() as sql:
        order = house.app.kinds["VERIFY"].prepare(house.row(task), SqlCatalogue(sql))
    assert msgspec.to_builtins(order)["cursor"] == "cd" * 16


def test_a_verify_that_fails_on_damage_it_told_is_not_made_again_every_hour(house: House):
    stored(house)
    house.clock.now += DAY_MS
    night(house)
    node = house.node()
    [guid] = [task for task in house.offered(node) if house.row(task).type == "VERIFY"]
    house.take(node, guid)
    house.clock.now += 60_000
    lost = {"destination": house.destination.guid, "objects": ["packs/ab"]}

    from haulback.server.services import node_tasks

    node_tasks.add_results(house.app, node, guid, {"damage": lost})
    house.fail(node, guid)
    assert alarmed(house, AlarmKind.REPOSITORY_DAMAGED)
    for _ in range(5):
        house.clock.now += HOUR_MS + 1
        assert night(house) == 0


def test_a_destination_that_is_verified_no_more_is_not_late(house: House):
    stored(house)
    short(house)
    for _ in range(8):
        house.clock.now += DAY_MS
        night(house)
    assert alarmed(house, AlarmKind.VERIFY_OVERDUE)
    wanted = ChangedDestination(verification=Verification(active=False))
    destinations.change_destination(house.app, house.destination.guid, wanted, house.user)
    assert not alarmed(house, AlarmKind.VERIFY_OVERDUE)
