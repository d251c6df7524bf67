"""No frequent statement reads the whole queue on PostgreSQL, however long the queue is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest
import sqlalchemy as sa

from haulback.contract.task_states import State
from haulback.kinds.registry import KINDS
from haulback.server.key_vault import KeyVault
from haulback.server.queries import Filter
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.services import maintenance, node_tasks
from haulback.server.services import tasks as task_service
from haulback.server.services.app import App
from haulback.server.services.event_numbers import number_new
from haulback.server.store.engine import open_store
from tests import databases
from tests.unit.server.conftest import Clock, House

_LONG = 20_000  # tasks: PostgreSQL chooses the plans of a long queue
_STEP = re.compile(r"actual time=\S+ rows=(\d+) loops=(\d+)")
_DROPPED = re.compile(r"Rows Removed by [A-Za-z ]+: (\d+)")
_PLANS = (
    "SET session_preload_libraries = 'auto_explain'",
    "SET auto_explain.log_min_duration = 0",
    "SET auto_explain.log_analyze = on",
    "SET client_min_messages = 'log'",
)


@pytest.fixture
def long_house(cluster: str) -> Iterator[tuple[House, list[str]]]:
    """An app on PostgreSQL, and the plans of the statements that it executes."""
    url = databases.migrated_database(cluster, "long-queue")
    clock, plans = Clock(), list[str]()
    app = App(open_store(url), KINDS, KeyVault(bytes(32)), clock=clock)  # type: ignore[arg-type]
    house = House(app, clock)
    with app.store.write() as sql:
        sql.exec_driver_sql("LOAD 'auto_explain'")  # defines the settings below
        for change in _PLANS:
            sql.exec_driver_sql(f'ALTER DATABASE "long-queue" {change}')
    app.store.close()

    def listen(connection: Any, _record: object) -> None:
        connection.add_notice_handler(lambda notice: plans.append(str(notice.message_primary)))

    app.store = open_store(url)
    for engine in {app.store.engine, app.store._reader}:
        sa.event.listen(engine, "connect", listen)
        engine.dispose()
    yield house, plans
    app.store.close()
    with databases.psycopg.connect(
        cluster.format(database="postgres"), autocommit=True
    ) as connection:
        connection.execute('DROP DATABASE "long-queue" WITH (FORCE)')


def _lengthen(house: House, guid: str, changes: dict[str, str]) -> None:
    """Insert many copies of a task, with some columns changed."""
    with house.app.store.write() as sql:
        row = sql.exec_driver_sql("SELECT * FROM task WHERE guid = %s", (guid,)).mappings().one()
        changed = {"guid": "gen_random_uuid()::text", "workflow": "gen_random_uuid()::text"}
        changed |= {"rank": "rank + i", "created": "created - i", **changes}
        columns = ", ".join(changed.get(name, name) for name in row)
        sql.exec_driver_sql(
            f"INSERT INTO task ({', '.join(row)}) SELECT {columns} FROM "
            f"(SELECT * FROM task WHERE guid = '{guid}') AS model, generate_series(1, {_LONG}) AS i"
        )
    with house.app.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as sql:
        sql.exec_driver_sql("ANALYZE")


def _rows_read(plan: str) -> int:
    """The rows that the largest step of a plan read or dropped."""
    read = (int(rows) * int(loops) for rows, loops in _STEP.findall(plan))
    return max(chain((0,), read, map(int, _DROPPED.findall(plan))))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ready": "false", "window_start": "window_start + 86400000"},
        {"state": "'PLANNED'", "ready": "false"},
        {"state": "'FINISHED'", "ready": "false", "finished": "created"},
        {"state": "'FINISHED'", "ready": "false", "finished": "created", "archived": "true"},
        {"lane": "'store'"},
    ],
    ids=["ready", "later", "planned", "ended", "archived", "stores"],
)
def test_no_statement_of_a_node_or_of_a_tick_reads_the_whole_queue(
    long_house: tuple[House, list[str]], changes: dict[str, str]
):
    house, plans = long_house
    node = house.node()
    [first] = house.export(backupDestination=house.destination.guid)
    _lengthen(house, first.guid, changes)
    [mine] = house.export(house.entities[1], backupDestination=house.destination.guid, priority=100)
    plans.clear()
    node_tasks.offer(house.app, node)
    house.take(node, mine)
    node_tasks.progress(house.app, node, mine.guid, 50.0)
    house.fail(node, mine)
    house.clock.now += 2_000
    maintenance.tick(house.app)
    task_service.look(house.app, mine.guid)
    assert plans
    long = [plan for plan in plans if _rows_read(plan) > 1_000]
    assert not long, long[0]


def test_a_batch_of_tasks_takes_as_many_statements_as_a_small_one(
    long_house: tuple[House, list[str]],
):
    house, plans = long_house
    node, counts = house.node(), list[int]()
    house.app.limits = {"inventory": 1_000}
    [first] = house.submit("connectivity-test", {"hypervisors": [{"guid": house.hypervisor.guid}]})
    _lengthen(house, first.guid, {})
    list(number_new(house.app.store, 1))  # the event of the node's own clean-up
    for size in (10, 100):
        guids = [task.guid for task in node_tasks.offer(house.app, node, size)]
        assert len(guids) == size
        plans.clear()
        for state in (State.RUNNING, State.FINISHED):
            node_tasks.set_states(house.app, node, guids, state, None)
        ends = [event for some in number_new(house.app.store, 1) for event in some]
        kinds = Counter(event.kind.name for event in ends)
        assert (kinds["TASK_ENDED"], kinds["WORKFLOW_ENDED"]) == (size, size)
        counts.append(len(plans))
    assert counts[0] == counts[1]


def test_no_page_of_the_queue_or_of_the_newest_tasks_reads_the_whole_queue(
    long_house: tuple[House, list[str]],
):
    house, plans = long_house
    node = house.node()
    for project in ("a", "b"):
        [task] = house.export(backupDestination=house.destination.guid)
        _lengthen(house, task.guid, {"project": f"'{project}'"})
    for projects in (None, frozenset("a"), frozenset("ab"), frozenset("c")):
        for asking in (None, node.guid):
            plans.clear()
            shown = task_service.queued(house.app, projects, asking, 20)
            assert len(shown) == (0 if projects == {"c"} else 20)
            long = [plan for plan in plans if _rows_read(plan) > 1_000]
            assert not long, (projects, asking, print(long[0]))
    for scope in (EVERYTHING, Scope(frozenset("a")), Scope(frozenset("ab"))):
        plans.clear()
        newest = Filter(size=20, scope=scope)
        page, _ = task_service.page(house.app, newest)
        cursor = task_service.next_cursor(newest, [task for task, _ in page])
        task_service.page(house.app, Filter(size=20, scope=scope, cursor=cursor))
        pages = [plan for plan in plans if "Limit  (" in plan]  # without the count of the tasks
        assert len(pages) >= 2
        long = [plan for plan in pages if _rows_read(plan) > 1_000]
        assert not long, (scope, long[0])
