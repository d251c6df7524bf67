"""Long task lists: for any sort, filter and depth the rows equal those of a full scan."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from benchmarks.long_lists import filters

from haulback.server.queries import Filter
from haulback.server.store import tables, task_lists, task_pages
from haulback.server.store.task_lists import SORTS
from tests.contract.conftest import Served
from tests.history import Site, fill

_COUNT = 2500  # more rows than may be read one by one
_STATE = "NOT archived AND state <> 'PLANNED'"


@pytest.fixture(scope="module")
def site(served: Served) -> Site:
    served.rest()
    made = Site()
    fill(served.app.store, made, _COUNT, served.app.clock.now_ms())
    return made


def listed(served: Served, **query: Any) -> tuple[list[str], int]:
    answer = served.http.get(
        "/api/tasks", params=query, headers={"authorization": f"Bearer {served.person}"}
    )
    assert answer.status_code == 200, answer.text
    total = int(answer.headers["x-total-count"])
    return [row["guid"] for row in answer.json()], total


@pytest.mark.parametrize("name", sorted(SORTS))
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_every_page_of_every_sort_is_a_part_of_the_whole(
    served: Served, site: Site, name: str, direction: str
):
    sort = {"orderBy": name, "direction": direction}
    result, total = listed(served, **sort, size=10_000)
    assert (len(result), total, len(set(result))) == (_COUNT, _COUNT, _COUNT)
    for page in (0, 7, 12, 13, 20, 24, 25, 9999):
        assert listed(served, **sort, size=100, page=page) == (
            result[page * 100 : page * 100 + 100],
            _COUNT,
        )
    with served.app.store.read() as sql:  # the sort order of the database itself
        column = SORTS[name].desc() if direction == "desc" else SORTS[name].asc()
        guid = tables.task.c.guid.desc() if direction == "desc" else tables.task.c.guid.asc()
        query = sa.select(tables.task.c.guid).where(sa.text(_STATE)).order_by(column, guid)
        assert result == list(sql.scalars(query))


@pytest.mark.parametrize("title", sorted(filters(Site())))
def test_every_filter_finds_what_looking_at_each_task_finds(served: Served, site: Site, title: str):
    query = filters(site)[title]
    result, total = listed(served, **query, size=10_000)
    streamed, again = listed(served, **query)
    assert (total, again) == (len(result), len(result))
    assert result == streamed
    item = next(iter(query.values())) if len(query) == 1 else None
    if looked := _LOOKED.get(title):
        rows = served.http.get(
            "/api/tasks/detailed", headers={"authorization": f"Bearer {served.person}"}
        ).json()
        assert set(result) == {row["guid"] for row in rows if looked(row, item)}
    chance = random.Random(title)
    for page in {0, total // 100, chance.randrange(total // 50 + 1)}:
        part, _ = listed(served, **query, orderBy="finishTime", size=50, page=page)
        whole, _ = listed(served, **query, orderBy="finishTime", size=10_000)
        assert part == whole[page * 50 : page * 50 + 50]


_LOOKED: dict[str, Callable[[Any, Any], bool]] = {
    "state": lambda row, wanted: row["state"]["name"] == wanted,
    "states": lambda row, wanted: row["state"]["name"] in wanted,
    "type": lambda row, wanted: row["type"]["name"] == wanted,
    "machine": lambda row, wanted: row["protectedEntity"]["guid"] == wanted,
    "destination": lambda row, wanted: row["backupDestination"]["guid"] == wanted,
    "text many": lambda row, wanted: row["state"]["name"] == "FINISHED",
    "nameLike few": lambda row, wanted: wanted in row["protectedEntity"]["name"],
    "nameLike none": lambda row, wanted: False,
    "changed since": lambda row, wanted: True,
}


@pytest.mark.parametrize("name", [*SORTS, None])
@pytest.mark.parametrize("filtered", [False, True])
def test_no_page_is_found_by_reading_whole_rows(
    served: Served, site: Site, name: str | None, filtered: bool
):
    if not served.app.store.is_sqlite:
        pytest.skip("PostgreSQL decides by what it has counted")
    more = {"states": ["FINISHED"], "name": "example"} if filtered else {}
    asked = task_lists._question(Filter(order=name, **more))  # type: ignore[arg-type]
    with served.app.store.read() as sql:
        index = task_pages.TaskListReader(sql, asked)._index
        query = sa.select(tables.task.c.guid).where(*asked.where).order_by(*asked.order)
        plan = task_pages._rows_by_index(sql, query, index, "EXPLAIN QUERY PLAN ")
    assert any("COVERING INDEX" in str(step[3]) for step in plan), plan


def test_what_few_tasks_have_is_found_by_its_own_index(served: Served, site: Site):
    if not served.app.store.is_sqlite:
        pytest.skip("PostgreSQL decides by what it has counted")
    with served.app.store.read() as sql:
        for wanted, index in (
            (Filter(refs={"protectedEntity": site.machines[0].guid}), "task_entity"),
            (Filter(states=["RUNNING"]), "task_state"),
            (Filter(states=["FINISHED"]), "task_list"),
            (Filter(states=["FINISHED"], types=["STORE"]), "task_type"),
            (Filter(), "task_newest"),
        ):
            assert task_pages.TaskListReader(sql, task_lists._question(wanted))._index == index


def test_names_of_any_length_fit_into_the_index(served: Served):
    long = "\U0001f600" * 400
    answer = served.call("POST", "/api/hypervisors", {"name": "hv-long", "path": "/l"})
    hypervisor = answer.json()["guid"]
    number = served.new_machine(hypervisor=hypervisor)
    with served.app.store.write() as sql:
        entity = tables.entity
        here = entity.c.guid == served.machines[number]
        sql.execute(sa.update(entity).where(here).values(name=long))
    made = served.export(protectedEntities=[served.machines[number]])
    assert listed(served, nameLike=long[:100])[0] == [made["guid"]]
    served.machines.pop()
