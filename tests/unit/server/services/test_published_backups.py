"""A backup counts once its manifest is stored, also when its STORE fails after that."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from haulback.contract.task_states import State
from haulback.server.services import node_tasks
from haulback.server.store import tables, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.tasks.record import Task
from tests.unit.server.conftest import House

PUBLISHED = {"stored": 5, "parent": None, "published": True}


def failed_store(house: House, results: dict[str, object]) -> Task:
    """A STORE that reported some results and failed."""
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    node_tasks.report(house.app, node, store.guid, results=results)
    house.fail(node, store)
    return house.row(store)


def states(house: House, store: Task) -> tuple[str, str | None]:
    """The state of the backup of a STORE, and the backup that is the base of its machine."""
    with house.app.store.read() as sql:
        known = SqlCatalogue(sql)
        backup = known.backups.get(store.ref("backup") or "")
        base = known.bases.find(backup.entity, backup.destination)
        return backup.status, base and base.backup


def test_a_store_that_fails_after_its_manifest_leaves_a_backup_and_the_next_base(house: House):
    store = failed_store(house, PUBLISHED)
    assert store.state == "FAILED"
    assert states(house, store) == ("SUCCESS", store.ref("backup"))


@pytest.mark.parametrize(
    "results", [{}, {"stored": 5}, {**PUBLISHED, "stored": "much"}, {"published": True}]
)
def test_a_store_that_fails_before_its_manifest_leaves_no_backup(house: House, results):
    store = failed_store(house, results)
    assert states(house, store) == ("FAILED", None)


@pytest.mark.parametrize("end", [State.FAILED, State.CANCELLED])
def test_a_store_that_is_retried_after_its_manifest_leaves_a_backup_whatever_its_end(
    house: House, end: State
):
    node = house.node()
    store = house.exported(node, retryCount=1)
    house.take(node, store)
    node_tasks.report(house.app, node, store.guid, results=PUBLISHED)
    house.fail(node, store)
    with house.app.store.write() as sql:
        row = tables.task.c
        again = sql.scalar(sa.select(row.guid).where(row.state == "QUEUED", row.type == "STORE"))
        assert again
        house.app.task_changes(sql).end(tasks.get(sql, again), end, "it broke")
    assert states(house, store) == ("SUCCESS", store.ref("backup"))
