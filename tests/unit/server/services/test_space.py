"""New backups wait before their destination is full, but restores never do."""

import msgspec
import pytest

from haulback.contract.alarms import AlarmKind
from haulback.contract.destinations import ChangedDestination
from haulback.contract.space import MachineSpace, SpaceLimits, SpaceUsage
from haulback.errors import Conflict, Malformed
from haulback.server.services import destinations, maintenance, space
from haulback.server.store import alarms
from haulback.server.store.ledger import SqlLedger
from haulback.server.store.queue_position import QueueState
from haulback.tasks.record import Task
from haulback.units import DAY_MS, GIB, TIB
from tests.unit.server.conftest import House


def told(house: House, total: int, free: int) -> None:
    """A task reports the space of the destination."""
    with house.app.store.write() as sql:
        ledger = SqlLedger(sql, house.clock.now)
        ledger.destinations.space(house.destination.guid, total, free)


def limited(house: House, **limits: int) -> None:
    wanted = ChangedDestination(space=SpaceLimits(**limits))
    destinations.change_destination(house.app, house.destination.guid, wanted, house.user)


def cleaned(house: House, usage: SpaceUsage) -> None:
    """Run a clean-up that counts this use."""
    node = house.node()
    [task] = house.submit("remove-old-backups", {"backupDestinations": [house.destination.guid]})
    house.take(node, task)
    house.finish(node, task, removed=[], usage=msgspec.to_builtins(usage))


def record(house: House) -> space.SpaceRecord:
    place = destinations.destination(house.app, house.destination.guid)
    return space.shown(house.app, [place])[place.guid]


def why(house: House, task: Task) -> str:
    with house.app.store.read() as sql:
        return QueueState(sql, house.clock.now).stand([house.row(task)])[task.guid].reason


def alarmed(house: House) -> bool:
    with house.app.store.read() as sql:
        return bool(alarms.subjects(sql, AlarmKind.DESTINATION_FULL))


def test_new_backups_wait_while_too_little_is_free_and_say_why(house: House):
    node = house.node()
    [waits] = house.export()
    told(house, TIB, GIB // 2)
    assert house.offered(node) == []
    assert "the backup destination bd has 512 MiB free and 1 GiB must stay free" in why(
        house, waits
    )
    assert "must stay free" in house.refuses(Conflict, house.take, node, waits)
    assert alarmed(house)
    assert "must stay free" in (record(house).waits or "")
    told(house, TIB, 2 * GIB)
    assert house.offered(node) == [waits.guid]
    assert not alarmed(house)


def test_a_full_destination_is_tested_until_it_has_space(house: House):
    node = house.node()
    [waits] = house.export()
    told(house, TIB, 0)
    maintenance.tick(house.app)
    maintenance.tick(house.app)
    [test] = [guid for guid in house.offered(node) if house.row(guid).type == "CONNECTIVITY_TEST"]
    house.take(node, test)
    house.finish(node, test, totalSpace=TIB, freeSpace=2 * GIB)
    assert house.offered(node) == [waits.guid]
    house.clock.now += 3_600_000
    maintenance.tick(house.app)
    assert house.offered(node) == [waits.guid]


def test_a_store_and_a_restore_never_wait_for_space(house: House):
    node = house.node()
    store = house.exported(node)
    told(house, TIB, 0)
    assert house.offered(node) == [store.guid]
    house.take(node, store)
    house.finish(node, store, stored=5)
    body = {"backup": store.ref("backup"), "hypervisor": house.hypervisor.guid}
    [restore] = house.submit("restore-and-import", body)
    assert restore.guid in house.offered(node)


def test_a_quota_counts_what_was_stored_since_the_last_clean_up(house: House):
    node = house.node()
    cleaned(house, SpaceUsage(90, 80, locked=7))
    limited(house, quota=100)
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=10)
    [waits] = house.export()
    assert (record(house).held, record(house).living, record(house).locked) == (100, 80, 7)
    assert "holds 100 B and its quota is 100 B" in why(house, waits)
    limited(house, quota=200)
    assert waits.guid in house.offered(node), "a changed limit counts at once"


def test_a_quota_counts_what_was_stored_before_the_first_clean_up(house: House):
    node = house.node()
    limited(house, quota=100)
    for stored in (40, 60):
        store = house.exported(node)
        house.take(node, store)
        house.finish(node, store, stored=stored)
    [waits] = house.export()
    assert record(house).held == 100
    assert "holds 100 B and its quota is 100 B" in why(house, waits)
    cleaned(house, SpaceUsage(30, 30))
    assert waits.guid in house.offered(node)


def test_the_size_before_the_first_clean_up_is_no_growth(house: House):
    node = house.node()
    limited(house, quota=TIB)
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=40)
    house.clock.now += 2 * DAY_MS
    cleaned(house, SpaceUsage(100 * GIB, 100 * GIB))
    assert (record(house).growthPerDay, record(house).fullAt) == (None, None)


def test_a_clean_up_that_frees_space_lets_backups_go_on(house: House):
    limited(house, quota=100)
    cleaned(house, SpaceUsage(100, 20))
    [waits] = house.export()
    assert "quota" in why(house, waits)
    cleaned(house, SpaceUsage(20, 20))
    assert "quota" not in why(house, waits)


def test_the_bytes_of_each_machine_are_those_of_the_last_clean_up(house: House):
    first, second = (entity.guid for entity in house.entities[:2])
    cleaned(house, SpaceUsage(9, 9, [MachineSpace(first, "db", 5, 1)]))
    usage = SpaceUsage(9, 9, [MachineSpace(second, "mail", 4, 2), MachineSpace(first, "db", 3, 2)])
    cleaned(house, usage)
    rows = space.machines(house.app, house.destination.guid)
    shown = [(row.protectedEntity.name, row.unique, row.shared) for row in rows]
    assert shown == [("mail", 4, 2), ("db", 3, 2)]


def test_the_growth_of_the_last_days_tells_when_the_destination_is_full(house: House):
    assert record(house).growthPerDay is None
    for day in range(40):
        told(house, TIB, TIB - day * GIB)
        told(house, TIB, TIB - day * GIB - GIB // 2)  # the last report of a day counts
        house.clock.now += DAY_MS
    shown = record(house)
    assert shown.growthPerDay == GIB
    assert shown.fullAt
    left = (TIB - 39 * GIB - GIB // 2 - GIB) // GIB
    assert abs(shown.fullAt - house.clock.now - left * DAY_MS) <= DAY_MS


def test_limits_that_are_no_bytes_are_refused(house: House):
    for limits in ({"quota": -1}, {"minimumFree": -5}):
        with pytest.raises(Malformed, match=rf"space\.{next(iter(limits))}"):
            limited(house, **limits)
    assert (record(house).quota, record(house).minimumFree) == (None, None)


def test_a_removed_destination_takes_its_figures_along(house: House):
    cleaned(house, SpaceUsage(9, 9, [MachineSpace(house.entities[0].guid, "db", 5, 1)]))
    told(house, TIB, 0)
    destinations.remove_destination(house.app, house.destination.guid, house.user)
    assert not alarmed(house)
