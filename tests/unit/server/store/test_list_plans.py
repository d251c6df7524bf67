"""Each list that pages finds its first page in an index that has its order, on SQLite."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from haulback.server.queries import Filter, ListQuery
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.store import audit, lists, queue_pages, task_lists
from tests.unit.server.conftest import House

ONE, TWO = Scope(frozenset({"a"})), Scope(frozenset({"a", "b"}))
_QUERY = ListQuery(scope=EVERYTHING, size=100)
_TIES = re.compile("TEMP B-TREE FOR (RIGHT PART|LAST TERM) OF ORDER BY")
_CURSOR = base64.urlsafe_b64encode(b'["creationTime",false,5,"g"]').decode()
Page = Callable[[sa.Connection], object]


def explained(sql: sa.Connection, page: Page) -> list[str]:
    """The plans of SQLite for the queries of a page, without those that count."""
    plans: list[str] = []

    def explain(*call: Any) -> None:
        text, values = call[2], call[3]
        if text.startswith("SELECT") and "ORDER BY" in text:
            cursor = call[0].connection.driver_connection.execute(
                f"EXPLAIN QUERY PLAN {text}", values
            )
            plans.append(" ".join(row[3] for row in cursor))

    sa.event.listen(sql, "before_cursor_execute", explain)
    page(sql)
    sa.event.remove(sql, "before_cursor_execute", explain)
    return plans


def of_tasks(**wanted: Any) -> Page:
    return lambda sql: task_lists.page(sql, Filter(size=100, **wanted))


PAGES: dict[str, tuple[Page, str]] = {
    "queue": (lambda sql: queue_pages.first(sql, None, None, 100), "task_queue"),
    "queue of a project": (lambda sql: queue_pages.first(sql, ONE.listed, None, 100), "task_queue"),
    "queue of two": (lambda sql: queue_pages.first(sql, TWO.listed, None, 100), "task_queue"),
    "queue of a node": (lambda sql: queue_pages.first(sql, TWO.listed, "n", 100), "task_queue"),
    "tasks": (of_tasks(), "task_newest"),
    "tasks behind a cursor": (of_tasks(cursor=_CURSOR), "task_list ((created,guid)<(?,?))"),
    "tasks of a project": (of_tasks(scope=ONE), "task_project"),
    "tasks of a state": (of_tasks(states=["QUEUED"]), "task_state"),
    "tasks of a type": (of_tasks(types=["EXPORT"]), "task_type"),
    "tasks of a machine": (of_tasks(refs={"protectedEntity": "g"}), "task_entity"),
    "workflows": (lambda sql: lists.heads(sql, _QUERY), "task_heads"),
    "machines": (lambda sql: lists.machines(sql, _QUERY), "entity_name"),
    "backups": (lambda sql: lists.backups(sql, _QUERY), "backup_first"),
    "snapshots": (lambda sql: lists.snapshots(sql, _QUERY), "snapshot_newest"),
    "mounts": (lambda sql: lists.mounts(sql, _QUERY), "mounted_newest"),
    "alarms": (lambda sql: lists.alarms(sql, _QUERY), "alarm_newest"),
    "restore jobs": (lambda sql: lists.restore_jobs(sql, _QUERY), "restore_job_newest"),
    "records": (lambda sql: lists.kept(sql, "policy", _QUERY), "record_kind"),
    "audit trail": (lambda sql: audit.read(sql, None, 5, 100), "INTEGER PRIMARY KEY"),
    "audit trail of an object": (lambda sql: audit.read(sql, "g", None, 100), "audit_subject"),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_read_in_the_order_of_an_index(house: House, name: str):
    if not house.app.store.is_sqlite:
        pytest.skip("test_long_queue counts the rows that PostgreSQL reads")
    page, index = PAGES[name]
    house.export(*house.entities)
    with house.app.store.read() as sql:
        plans = explained(sql, page)
    assert plans
    for plan in plans:
        assert index in plan, plan
        # the rows of one moment or one name may be sorted by their guids
        assert "TEMP B-TREE" not in _TIES.sub("", plan), plan
