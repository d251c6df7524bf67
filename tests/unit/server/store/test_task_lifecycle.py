"""The life cycle of tasks, on SQLite and on PostgreSQL."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from haulback.contract.nodes import FinishedWork
from haulback.contract.task_states import State
from haulback.errors import Conflict, Fenced, Forbidden, HaulbackError, Malformed, NotFound
from haulback.server.queries import Filter
from haulback.server.services import bulk_removal, maintenance, node_tasks, system_schedules
from haulback.server.services import tasks as task_service
from haulback.server.store import nodes, rows, tables, task_lists
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from tests.unit.server.conftest import EXPORTED, START, House


def test_a_backup_goes_from_queued_to_stored_and_becomes_the_base(house: House):
    node = house.node()
    [export] = house.export()
    assert house.offered(node) == [export.guid]
    house.take(node, export)
    house.finish(node, export, **EXPORTED, checkpoint="haulback-x")
    store = house.follower(export)
    assert house.offered(node) == [store.guid]
    house.take(node, store)
    house.finish(node, store, stored=5)
    with house.app.store.read() as sql:
        known = SqlCatalogue(sql)
        backup = known.backups.get(export.ref("backup") or "")
        base = known.bases.find(house.entities[0].guid, house.destination.guid)
    assert (backup.status, backup.stored) == ("SUCCESS", 5)
    assert base is not None
    assert (base.backup, base.checkpoint) == (backup.guid, "haulback-x")


def test_of_many_who_take_a_task_one_gets_it(house: House):
    nodes = [house.node(f"n{i}") for i in range(4)]
    [export] = house.export()

    def attempt(node: object) -> bool:
        try:
            house.take(node, export)  # type: ignore[arg-type]
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, nodes)) == 1
    assert house.row(export).attempt == 1


def test_followers_are_unseen_until_their_turn(house: House):
    node = house.node()
    [export] = house.export()
    assert [
        t.guid for t, _ in task_service.page(house.app, Filter(types=["STORE", "EXPORT"]))[0]
    ] == [export.guid]
    store = house.follower(export)
    house.refuses(NotFound, task_service.look, house.app, store.guid)
    house.refuses(Conflict, house.take, node, store)


def test_higher_priority_goes_first(house: House):
    node = house.node()
    db, mail, _ = house.entities
    [low] = house.export(db, priority=10)
    [high] = house.export(mail, priority=90)
    assert house.offered(node) == [high.guid, low.guid]


def test_a_source_bears_two_exports_at_once(house: House):
    node = house.node()
    first, second, third = house.export(*house.entities)
    house.take(node, first)
    house.take(node, second)
    assert house.offered(node) == []
    assert "source" in house.refuses(Conflict, house.take, node, third)
    assert "source" in task_service.look(house.app, third.guid)[1].reason  # type: ignore[union-attr]
    house.fail(node, first)
    assert third.guid in house.offered(node)


def test_one_entity_is_exported_by_one_task_until_its_store_is_over(house: House):
    node = house.node()
    store = house.exported(node)
    [again] = house.export()
    assert again.guid not in house.offered(node)
    house.refuses(Conflict, house.take, node, again)
    house.take(node, store)
    house.finish(node, store, stored=1)
    house.take(node, again)


def test_limits_are_given_back_whatever_happens(house: House):
    node = house.node()
    for end in (house.fail, house.finish):
        [test] = house.submit("connectivity-test", {"hypervisors": [house.hypervisor.guid]})
        house.take(node, test)
        end(node, test)
    with house.app.store.read() as sql:
        assert sql.execute(tables.slot.select()).all() == []


def test_a_closed_window_fails_the_task_and_its_backup(house: House):
    [export] = house.export(windowEnd=START + 1000)
    house.clock.now += 1000
    maintenance.tick(house.app)
    row = house.row(export)
    assert (row.state, (row.status_info or "").partition(":")[0]) == ("FAILED", "WINDOW_EXPIRED")
    with house.app.store.read() as sql:
        assert SqlCatalogue(sql).backups.get(export.ref("backup") or "").status == "FAILED"


def test_a_window_opens_by_the_servers_clock(house: House):
    node = house.node()
    [export] = house.export(windowStart=START + 5000)
    assert house.offered(node) == []
    house.refuses(Conflict, house.take, node, export)
    house.clock.now += 5000
    maintenance.tick(house.app)
    assert house.offered(node) == [export.guid]


def test_a_failed_export_is_tried_again_by_a_copy_that_inherits_its_store(house: House):
    node = house.node()
    [export] = house.export(retryCount=1)
    house.take(node, export)
    house.fail(node, export)
    [(copy, _)] = task_service.page(house.app, Filter(states=["QUEUED"], types=["EXPORT"]))[0]
    assert (copy.retry_count, copy.window_start > START) == (0, True)
    assert house.follower(copy).state == "PLANNED"
    house.clock.now = copy.window_start
    maintenance.tick(house.app)
    house.take(node, copy)
    house.fail(node, copy)
    assert (
        task_service.page(house.app, Filter(states=["QUEUED"], types=["EXPORT", "STORE"]))[1] == 0
    )


def test_a_lost_lease_requeues_a_bounded_number_of_times(house: House):
    node = house.node()
    [export] = house.export()
    for _ in range(5):
        house.take(node, export)
        house.clock.now += house.app.lease_ms + 1
        maintenance.tick(house.app)
    assert house.state(export) == "FAILED"


def test_an_attempt_whose_lease_was_lost_is_fenced(house: House):
    old, new = house.node("n1"), house.node("n2")
    [export] = house.export()
    house.take(old, export)
    house.clock.now += house.app.lease_ms + 1
    maintenance.tick(house.app)
    house.take(new, export)
    house.refuses(Forbidden, node_tasks.report, house.app, old, export.guid)
    house.refuses(Forbidden, house.finish, old, export)
    assert house.state(export) == "RUNNING"


def test_any_report_renews_the_lease_and_progress_never_goes_back(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    for progress in (40.0, 30.0):
        house.clock.now += house.app.lease_ms - 1
        node_tasks.report(house.app, node, export.guid, progress=progress)
        maintenance.tick(house.app)
    assert (house.state(export), house.row(export).progress) == ("RUNNING", 40.0)


def test_a_new_process_of_a_node_fences_the_old_one(house: House):
    old = house.node()
    [export] = house.export()
    house.take(old, export)
    new = house.node()
    house.refuses(Fenced, house.finish, old, export)
    house.take(new, export)
    assert house.row(export).attempt == 2


def test_work_that_was_complete_when_its_node_died_counts(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    house.node(done=[FinishedWork(export.guid, 1, EXPORTED)])
    assert house.state(export) == "FINISHED"
    assert house.follower(export).state == "QUEUED"


def test_results_that_cannot_be_read_do_not_count(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    bad = {**EXPORTED, "size": "big"}
    node_tasks.add_results(house.app, node, export.guid, bad)
    house.refuses(Malformed, house.finish, node, export)
    house.node(done=[FinishedWork(export.guid, 1, bad)])
    assert house.state(export) == "QUEUED"


def test_a_backup_whose_nodes_said_too_little_is_never_restorable_and_never_a_base(house: House):
    node = house.node()
    for said, more in (({}, {"stored": 5}), (EXPORTED, {})):
        [export] = house.export()
        house.take(node, export)
        house.finish(node, export, **said)
        store = house.follower(export)
        house.take(node, store)
        house.finish(node, store, **more)
        with house.app.store.read() as sql:
            known = SqlCatalogue(sql)
            assert known.backups.get(export.ref("backup") or "").status == "PARTIAL_SUCCESS"
            assert known.bases.find(house.entities[0].guid, house.destination.guid) is None
        body = {"backup": export.ref("backup"), "hypervisor": house.hypervisor.guid}
        house.refuses(Conflict, house.submit, "restore-and-import", body)


def test_a_queued_task_is_cancelled_at_once_and_its_followers_with_it(house: House):
    [export] = house.export()
    task_service.set_state(house.app, house.user, export.guid, State.CANCELLED, None)
    assert house.state(export) == "CANCELLED"
    assert house.follower(export).state == "CANCELLED"


def test_a_running_task_is_cancelled_when_its_node_has_cleaned_up(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    task_service.set_state(house.app, house.user, export.guid, State.CANCELLED, "enough")
    assert house.state(export) == "RUNNING"
    assert node_tasks.state_for(house.app, node, export.guid).state == "CANCELLED"
    node_tasks.set_state(house.app, node, export.guid, State.CANCELLED, "enough")
    assert house.state(export) == "CANCELLED"
    task_service.remove(house.app, house.user, export.guid)
    house.refuses(NotFound, task_service.look, house.app, export.guid)


def test_asking_twice_cancels_by_force(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    task_service.remove(house.app, house.user, export.guid)
    task_service.set_state(house.app, house.user, export.guid, State.CANCELLED, None)
    assert house.state(export) == "CANCELLED"
    house.refuses(Fenced, node_tasks.report, house.app, node, export.guid)


def test_an_export_that_finishes_although_cancelled_is_not_stored(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    task_service.set_state(house.app, house.user, export.guid, State.CANCELLED, "enough")
    house.finish(node, export, **EXPORTED)
    assert (house.state(export), house.follower(export).state) == ("CANCELLED", "CANCELLED")


def test_a_final_state_never_changes(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    house.fail(node, export)
    house.refuses(
        Conflict, task_service.set_state, house.app, house.user, export.guid, State.CANCELLED, None
    )
    house.refuses(Conflict, house.take, node, export)
    house.fail(node, export)  # repeated, because a response may be lost
    assert house.row(export).status_info == "it broke"


def test_people_do_not_finish_tasks(house: House):
    [export] = house.export()
    house.refuses(
        Forbidden, task_service.set_state, house.app, house.user, export.guid, State.FINISHED, None
    )


def test_a_clock_that_jumps_ends_no_lease(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    house.clock.drift = 3_600_000
    maintenance.tick(house.app)
    assert house.state(export) == "RUNNING"
    assert house.clock.now == START + 3_600_000


def test_staging_is_needed_until_its_store_is_over(house: House):
    node = house.node()
    store = house.exported(node)
    staging = house.row(store).params["staging"]
    assert node_tasks.needed(house.app, [staging, f"haulback-{staging}"]) == [
        staging,
        f"haulback-{staging}",
    ]
    house.take(node, store)
    house.fail(node, store)
    assert node_tasks.needed(house.app, [staging, "other"]) == []


def test_after_a_failure_the_node_is_asked_to_tidy_up(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    house.fail(node, export)
    [cleanup] = node_tasks.offer(house.app, node)
    assert cleanup.type == "STAGING_CLEANUP"


def test_what_needs_a_node_is_offered_to_no_other(house: House):
    one, two = house.node("n1"), house.node("n2")
    store = house.exported(one)
    assert store.guid in house.offered(one)
    assert store.guid not in house.offered(two)
    house.refuses(Conflict, house.take, two, store)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"protectedEntities": []},
        {"protectedEntities": ["nonsense"]},
        {"protectedEntities": ["00000000-0000-0000-0000-000000000000"]},
        {"priority": 101},
        {"priority": "high"},
        {"windowEnd": 5},
        {"windowStart": START + 10, "windowEnd": START + 5},
        {"backupType": "SYNTHETIC"},
        {"backupType": "HALF"},
        {"retryCount": -1},
    ],
)
def test_a_bad_export_is_refused_and_leaves_nothing(house: House, body: dict[str, object]):
    if body and "protectedEntities" not in body:
        body = {"protectedEntities": [house.entities[0].guid], **body}
    house.refuses(HaulbackError, house.submit, "export", body)
    with house.app.store.read() as sql:
        assert sql.execute(tables.task.select()).all() == []
        assert sql.execute(tables.backup.select()).all() == []


def test_without_a_destination_named_there_must_be_only_one(house: House):
    other = house.destination
    with house.app.store.write() as sql:
        record = type(other)(guid=house.user.guid, name="second", driver="folder", config={})
        rows.add(sql, tables.destination, record, sealed_key="")
    assert "several" in house.refuses(Malformed, house.export)
    assert house.export(backupDestination=other.guid)


def test_a_machine_that_vanished_is_kept_but_not_present(house: House):
    node = house.node()
    for _ in range(2):  # two of three machines at once: the first scan must be confirmed
        [sync] = house.submit("inventory-sync", {"hypervisors": [house.hypervisor.guid]})
        house.clock.now += 1
        house.take(node, sync)
        house.finish(node, sync, machines=[{"uuid": house.entities[0].uuid, "name": "db2"}])
    with house.app.store.read() as sql:
        result = SqlCatalogue(sql).machines.on_hypervisor(house.hypervisor.guid)
    assert sorted((e.name, e.present) for e in result) == [
        ("db2", True),
        ("mail", False),
        ("web", False),
    ]
    assert house.entities[0].guid in {e.guid for e in result}


def test_lists_are_paged_filtered_and_counted(house: House):
    house.export(*house.entities)
    found, total = task_service.page(house.app, Filter(size=2, page=1, order="priority"))
    assert (len(found), total) == (1, 3)
    entity = house.entities[1].guid
    [(one, _)] = task_service.page(house.app, Filter(refs={"protectedEntity": entity}))[0]
    assert one.ref("protectedEntity") == entity
    assert task_service.page(house.app, Filter(text="%"))[1] == 0
    assert task_service.page(house.app, Filter(name="MAIL"))[1] == 1


def test_all_finished_are_removed_and_nothing_else(house: House):
    node = house.node()
    one, two, _ = house.export(*house.entities)
    house.take(node, one)
    house.fail(node, one)
    house.take(node, two)
    bulk_removal.remove_all(house.app, house.user, [State.FINISHED, State.FAILED, State.CANCELLED])
    left = {t.guid: t.state for t, _ in task_service.page(house.app, Filter(types=["EXPORT"]))[0]}
    assert one.guid not in left
    assert sorted(left.values()) == ["QUEUED", "RUNNING"]


def test_a_machine_imported_during_an_inventory_stays_present(house: House):
    node = house.node()
    [sync] = house.submit("inventory-sync", {"hypervisors": [house.hypervisor.guid]})
    house.clock.now += 1
    house.take(node, sync)
    with house.app.store.write() as sql:
        made = type(house.entities[0])(
            guid=house.user.guid, uuid="new", name="new", hypervisor=house.hypervisor.guid
        )
        SqlLedger(sql, house.clock.now).inventory.scanned(
            house.hypervisor.guid, [made, made], complete_since=None
        )
    seen = [{"uuid": entity.uuid, "name": entity.name} for entity in house.entities[:2]]
    house.finish(node, sync, machines=seen)
    with house.app.store.read() as sql:
        result = SqlCatalogue(sql).machines.on_hypervisor(house.hypervisor.guid)
    assert [e.name for e in result if e.present] == ["db", "mail", "new"]


def test_late_reports_of_an_earlier_attempt_of_the_same_process_do_not_count(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    house.clock.now += house.app.lease_ms + 1
    maintenance.tick(house.app)
    house.take(node, export)
    node.attempt = 1
    house.refuses(Fenced, house.fail, node, export)
    house.refuses(Fenced, node_tasks.add_results, house.app, node, export.guid, {})
    node.attempt = 2
    house.finish(node, export, **EXPORTED)
    assert house.follower(export).params["staging"] == f"{export.guid}-2"


@pytest.mark.parametrize("how", ["cancel", "remove", "window", "wish"])
def test_an_export_that_nobody_wants_any_more_is_tidied_away(house: House, how: str):
    node = house.node()
    if how == "wish":
        [export] = house.export()
        house.take(node, export)
        task_service.set_state(house.app, house.user, export.guid, State.CANCELLED, None)
        house.finish(node, export, **EXPORTED)
    else:
        store = house.exported(node)
        if how == "cancel":
            task_service.set_state(house.app, house.user, store.guid, State.CANCELLED, None)
        if how == "remove":
            bulk_removal.remove_some(house.app, house.user, [store.guid], [State.QUEUED])
        house.clock.now += 6 * 3_600_000 if how == "window" else 0
        maintenance.tick(house.app)
    assert [task.type for task in node_tasks.offer(house.app, node)] == ["STAGING_CLEANUP"]


def test_bulk_operations_pass_over_what_is_not_there(house: House):
    one, two, _ = house.export(*house.entities)
    bulk_removal.remove_some(
        house.app, house.user, [one.guid, house.user.guid, two.guid], [State.QUEUED]
    )
    assert (house.state(one), house.state(two)) == ("CANCELLED", "CANCELLED")


@pytest.mark.parametrize(
    "machine",
    [
        {"uuid": "u" * 81, "name": "a"},
        {"uuid": "u", "name": "n" * 401},
        {"uuid": "u", "name": "a\0b"},
        {"uuid": "u", "name": "a", "disks": [{"name": "d", "size": "big"}]},
    ],
)
def test_results_that_the_database_cannot_hold_are_no_success(house: House, machine: object):
    node = house.node()
    [sync] = house.submit("inventory-sync", {"hypervisors": [house.hypervisor.guid]})
    house.take(node, sync)
    done = FinishedWork(sync.guid, 1, {"machines": [machine]})
    with contextlib.suppress(Malformed):  # SQLite stores some of them
        house.finish(node, sync, machines=[machine])
    house.node(done=[done])
    with house.app.store.read() as sql:
        assert SqlCatalogue(sql).machines.on_hypervisor(house.hypervisor.guid)


def test_a_limit_of_nothing_admits_nothing(house: House):
    node = house.node()
    house.app.limits = {"export.source": 0}
    [export] = house.export()
    house.refuses(Conflict, house.take, node, export)


def test_what_a_restore_left_is_not_needed_by_the_import_that_follows(house: House):
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=5)
    body = {"backup": store.ref("backup"), "hypervisor": {"guid": house.hypervisor.guid}}
    [restore] = house.submit("restore-and-import", body)
    house.take(node, restore)
    house.finish(node, restore, checked=True)
    assert house.follower(restore).state == "QUEUED"
    assert node_tasks.needed(house.app, [f"{restore.guid}-1"]) == []


def test_a_removed_task_is_remembered_for_a_month_and_no_longer(house: House):
    [export] = house.export()
    task_service.remove(house.app, house.user, export.guid)
    house.clock.now += maintenance.KEEP_MS
    maintenance.tick(house.app)
    assert house.state(export) == "CANCELLED"
    house.clock.now += 1
    maintenance.tick(house.app)
    house.refuses(NotFound, house.row, export)


def test_a_store_whose_base_is_gone_begins_the_backup_anew_once(house: House):
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    node_tasks.add_results(house.app, node, store.guid, {"failure": "base_gone"})
    house.fail(node, store)
    with house.app.store.read() as sql:
        assert SqlCatalogue(sql).backups.get(store.ref("backup") or "").status == "FAILED"
    [(again, _)] = task_service.page(house.app, Filter(states=["QUEUED"], types=["EXPORT"]))[0]
    assert again.workflow == store.workflow
    assert again.ref("backup") != store.ref("backup")
    house.take(node, again)
    house.finish(node, again, **EXPORTED)
    second = house.follower(again)
    house.take(node, second)
    node_tasks.add_results(house.app, node, second.guid, {"failure": "base_gone"})
    house.fail(node, second)
    assert (
        task_service.page(house.app, Filter(states=["QUEUED"], types=["EXPORT", "STORE"]))[1] == 0
    )


def test_a_cancelled_store_does_not_begin_anew_though_its_base_is_gone(house: House):
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    task_service.set_state(house.app, house.user, store.guid, State.CANCELLED, None)
    node_tasks.add_results(house.app, node, store.guid, {"failure": "base_gone"})
    house.fail(node, store)
    assert (
        task_service.page(house.app, Filter(states=["QUEUED"], types=["EXPORT", "STORE"]))[1] == 0
    )


def test_a_task_that_is_tried_again_names_the_next_try_in_its_log_and_the_next_try_names_it(
    house: House,
):
    node = house.node()
    [export] = house.export(retryCount=1)
    house.take(node, export)
    node_tasks.add_log(house.app, node, export.guid, ["the disks were read"])
    house.fail(node, export)
    [copy] = task_service.page(house.app, Filter(states=["QUEUED"], types=["EXPORT"]))[0]
    texts = [line.text for line in task_service.log(house.app, export.guid)]
    assert "n1 took the task" in texts[1]
    assert texts[2] == "the disks were read"
    assert texts[3].endswith(f"EXPORT {copy[0].guid}")
    again = [line.text for line in task_service.log(house.app, copy[0].guid)]
    assert f"EXPORT {export.guid} failed and is repeated: it broke" in again


def test_a_long_log_keeps_its_first_and_its_last_lines(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    for start in range(0, 1500, 500):
        lines = [f"line {start + number}" for number in range(500)]
        node_tasks.add_log(house.app, node, export.guid, lines)
    texts = [line.text for line in task_service.log(house.app, export.guid)]
    assert texts[2] == "line 0"
    assert "(500 lines were left out here)" in texts
    assert texts[-1] == "line 1499"
    assert len(texts) == task_lists.LOG_LINES + 3


def test_a_task_that_ended_leaves_the_lists_after_a_while(house: House):
    node = house.node()
    [export] = house.export()
    house.take(node, export)
    house.fail(node, export)
    house.clock.now += maintenance.LISTED_MS
    maintenance.tick(house.app)
    assert house.row(export).archived is False
    house.clock.now += 1
    maintenance.tick(house.app)
    house.refuses(NotFound, task_service.look, house.app, export.guid)
    assert task_service.log(house.app, export.guid)[-1].text.endswith(": it broke")


def test_a_node_that_lives_looks_for_leftovers_every_hour_and_one_that_is_silent_does_not(
    house: House,
):
    node = house.node()
    system_schedules.ensure(house.app)
    maintenance.tick(house.app)

    def made() -> int:
        with house.app.store.read() as sql:
            query = sa.select(sa.func.count()).where(tables.task.c.type == "STAGING_CLEANUP")
            return int(sql.scalar(query) or 0)

    before = made()
    for minutes, more in ((30, 0), (31, 1)):
        house.clock.now += minutes * 60_000
        with house.app.store.write() as sql:
            nodes.seen(sql, node.guid, house.clock.now, 0, 0)
        maintenance.tick(house.app)
        assert made() - before == more
    house.clock.now += 2 * 3_600_000
    maintenance.tick(house.app)
    assert made() - before == 1
