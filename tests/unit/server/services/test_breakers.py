"""An unreachable destination stops only its own tasks, and is tested until it answers."""

import pytest
import sqlalchemy as sa

from haulback.contract.order_records import BackupDestination
from haulback.contract.task_states import State
from haulback.errors import Conflict
from haulback.ids import new_guid
from haulback.policy.breaker import FIRST_PAUSE_MS, LONGEST_PAUSE_MS, WITHIN_MS
from haulback.server.caller import Node
from haulback.server.services import breakers, maintenance, node_tasks
from haulback.server.services import destinations as destination_service
from haulback.server.store import alarms, queue, rows, tables
from haulback.server.store.event_tables import event
from haulback.server.store.queue_position import QueueState
from haulback.tasks.record import Task
from tests.unit.server.conftest import EXPORTED, House


def second(house: House) -> BackupDestination:
    """Another destination, which answers."""
    made = BackupDestination(
        guid=new_guid(), name="well", driver="folder", config={}, repository=new_guid()
    )
    with house.app.store.write() as sql:
        sealed = house.app.vault.seal(made.guid, b"k" * 32)
        rows.add(sql, tables.destination, made, sealed_key=sealed)
    return made


def unreachable(house: House, node: Node, task: Task | str) -> None:
    """End a task because its destination does not answer."""
    guid = task if isinstance(task, str) else task.guid
    to = house.row(guid).ref("backupDestination")
    house.take(node, guid)
    node_tasks.add_results(house.app, node, guid, {"failure": "unavailable", "awayDestination": to})
    house.fail(node, guid)


def opened(house: House, node: Node) -> None:
    for entity in house.entities:
        [export] = house.export(entity, backupDestination=house.destination.guid)
        unreachable(house, node, export)


def offered(house: House, node: Node) -> list[str]:
    """The offer without the clean-ups that follow a failure."""
    guids = house.offered(node)
    return [guid for guid in guids if house.row(guid).type != "STAGING_CLEANUP"]


def state(house: House) -> str:
    with house.app.store.read() as sql:
        stands = breakers.breakers.stands(sql, [house.destination.guid])
    return breakers.shown(stands.get(house.destination.guid)).state.name


def why(house: House, task: Task) -> str:
    with house.app.store.read() as sql:
        return QueueState(sql, house.clock.now).stand([house.row(task)])[task.guid].reason


def test_of(house: House) -> Task:
    """The CONNECTIVITY_TEST that the server planned last."""
    with house.app.store.read() as sql:
        query = sa.select(*queue.tasks.COLUMNS).where(tables.task.c.type == "CONNECTIVITY_TEST")
        found = sql.execute(query.order_by(tables.task.c.created.desc())).first()
    assert found
    return queue.tasks.task_of(found)


test_of.__test__ = False  # type: ignore[attr-defined]


def kinds(house: House, *wanted: str) -> list[str]:
    with house.app.store.read() as sql:
        query = sa.select(event.c.kind).where(event.c.kind.in_(wanted)).order_by(event.c.id)
        return list(sql.scalars(query))


def test_tasks_of_a_dead_destination_wait_and_say_why_while_others_go_on(house: House):
    node, other = house.node(), second(house)
    opened(house, node)
    [waits] = house.export(backupDestination=house.destination.guid)
    [goes_on] = house.export(house.entities[1], backupDestination=other.guid)
    assert offered(house, node) == [goes_on.guid]
    assert "the backup destination bd does not answer since 2027-" in why(house, waits)
    assert "next test at 2027-" in why(house, waits)
    refused = house.refuses(Conflict, house.take, node, waits)
    assert "bd does not answer" in refused
    house.take(node, goes_on)
    house.finish(node, goes_on, **EXPORTED)


def test_an_open_breaker_is_an_alarm_and_an_event_and_closes_by_a_test(house: House):
    node = house.node()
    opened(house, node)
    with house.app.store.read() as sql:
        assert alarms.subjects(sql, alarms.AlarmKind.DESTINATION_AWAY) == {house.destination.guid}
    [waits] = house.export(backupDestination=house.destination.guid)
    assert breakers.test_due(house.app) == 0
    house.clock.now += FIRST_PAUSE_MS
    assert breakers.test_due(house.app) == 1
    assert breakers.test_due(house.app) == 0, "one test at a time"
    assert state(house) == "HALF_OPEN"
    assert "a task tests it now" in why(house, waits)
    test = test_of(house)
    assert offered(house, node) == [test.guid]
    house.take(node, test)
    house.finish(node, test, reachable=True)
    assert state(house) == "CLOSED"
    assert offered(house, node) == [waits.guid]
    with house.app.store.read() as sql:
        assert not alarms.subjects(sql, alarms.AlarmKind.DESTINATION_AWAY)
    assert kinds(house, "BREAKER_OPENED", "BREAKER_CLOSED") == ["BREAKER_OPENED", "BREAKER_CLOSED"]


def test_a_failed_test_waits_longer_and_disturbs_nobody(house: House):
    node = house.node()
    opened(house, node)
    mails = kinds(house, "DESTINATION_DOWN", "BREAKER_OPENED")
    house.clock.now += FIRST_PAUSE_MS
    breakers.test_due(house.app)
    unreachable(house, node, test_of(house))
    house.clock.now += 2 * FIRST_PAUSE_MS - 1
    assert breakers.test_due(house.app) == 0
    house.clock.now += 1
    assert breakers.test_due(house.app) == 1
    assert kinds(house, "DESTINATION_DOWN", "BREAKER_OPENED") == mails


def test_a_test_that_is_lost_or_removed_is_made_again(house: House):
    node = house.node()
    opened(house, node)
    house.clock.now += FIRST_PAUSE_MS
    breakers.test_due(house.app)
    house.take(node, test_of(house))
    node_tasks.set_state(house.app, node, test_of(house).guid, State.CANCELLED, None)
    assert state(house) == "OPEN"
    house.clock.now += FIRST_PAUSE_MS
    assert breakers.test_due(house.app) == 1


def test_a_clock_that_went_back_does_not_stop_the_tests(house: House):
    node = house.node()
    opened(house, node)
    house.clock.now -= 2 * LONGEST_PAUSE_MS
    assert breakers.test_due(house.app) == 1


def test_a_breaker_is_closed_by_hand(house: House):
    node = house.node()
    opened(house, node)
    [waits] = house.export(backupDestination=house.destination.guid)
    breakers.close(house.app, house.destination.guid, house.user)
    assert (state(house), offered(house, node)) == ("CLOSED", [waits.guid])
    breakers.close(house.app, house.destination.guid, house.user)
    assert kinds(house, "BREAKER_CLOSED") == ["BREAKER_CLOSED"]


def test_a_backup_that_succeeds_forgets_earlier_failures(house: House):
    node = house.node()
    for entity in house.entities[:2]:
        [export] = house.export(entity)
        unreachable(house, node, export)
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=5)
    [export] = house.export(house.entities[1])
    unreachable(house, node, export)
    assert state(house) == "CLOSED"


def test_failed_attempts_that_are_retried_count(house: House):
    node = house.node()
    [export] = house.export(retryCount=2)
    for _ in range(3):
        unreachable(house, node, export)
        house.clock.now += WITHIN_MS // 4
        maintenance.tick(house.app)
        left = [guid for guid in offered(house, node) if house.row(guid).type == "EXPORT"]
        export = house.row(left[0]) if left else export
    assert state(house) in ("OPEN", "HALF_OPEN")


@pytest.mark.parametrize("failure", ["out_of_space", "base_gone", ""])
def test_other_failures_do_not_count(house: House, failure: str):
    node = house.node()
    for entity in house.entities:
        [export] = house.export(entity)
        house.take(node, export)
        node_tasks.add_results(house.app, node, export.guid, {"failure": failure})
        house.fail(node, export)
    assert state(house) == "CLOSED"


def test_a_hypervisor_that_does_not_answer_is_no_failure_of_the_destination(house: House):
    node = house.node()
    for entity in house.entities:
        [export] = house.export(entity)
        house.take(node, export)
        node_tasks.add_results(house.app, node, export.guid, {"failure": "unavailable"})
        house.fail(node, export)
    assert state(house) == "CLOSED"


def test_a_hanging_destination_leaves_a_place_of_each_lane_to_the_others(house: House):
    node, other = house.node(), second(house)
    for entity in house.entities:
        [export] = house.export(entity, backupDestination=house.destination.guid)
        with house.app.store.write() as sql:  # the limit of the source is not tested here
            change = tables.task.update().where(tables.task.c.guid == export.guid)
            sql.execute(change.values(source_slot=None))
    first, also, third = offered(house, node)
    house.take(node, first)
    house.take(node, also)
    refused = house.refuses(Conflict, house.take, node, third)
    assert "of this destination" in refused
    assert why(house, house.row(third)) == refused.removeprefix("the task has to wait: ")
    assert offered(house, node) == []
    free = next(
        machine
        for machine in house.entities
        if machine.guid == house.row(third).ref("protectedEntity")
    )
    [goes_on] = house.export(free, backupDestination=other.guid)
    assert offered(house, node) == [goes_on.guid]
    house.take(node, goes_on)


def test_a_single_destination_has_all_places_of_a_node(house: House):
    node = house.node()
    for entity in house.entities:
        [export] = house.export(entity)
        with house.app.store.write() as sql:
            change = tables.task.update().where(tables.task.c.guid == export.guid)
            sql.execute(change.values(source_slot=None))
    for guid in offered(house, node):
        house.take(node, guid)
    assert offered(house, node) == []


def test_the_rows_of_a_dead_destination_are_not_read_by_an_offer(house: House):
    if not house.app.store.is_sqlite:
        pytest.skip("the plan of SQLite")
    with house.app.store.read() as sql:
        lane = {"lane": "export", "pinned": "", "now": 1, "most": 5, "destination": "d"}
        for statement in (queue.READY_AT, queue.READY_NOWHERE, queue.PLACES):
            text = f"EXPLAIN QUERY PLAN {statement._sqlite}"
            plan = [str(row[3]) for row in sql.exec_driver_sql(text, lane)]
            reads = [step for step in plan if " task" in step]
            assert all("task_ready_at (lane=? AND pinned_node=?" in step for step in reads), plan
            assert not any("B-TREE" in step for step in plan), plan


def test_a_removed_destination_takes_its_breaker_along(house: House):
    node = house.node()
    for _ in range(3):
        [test] = house.submit("connectivity-test", {"backupDestinations": [house.destination.guid]})
        unreachable(house, node, test)
    assert state(house) == "OPEN"
    destination_service.remove_destination(house.app, house.destination.guid, house.user)
    with house.app.store.read() as sql:
        assert breakers.breakers.open_ones(sql) == set()
