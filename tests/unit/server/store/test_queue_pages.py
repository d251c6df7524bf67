"""The queue as users list it: in the order of its start, read by one index."""

from __future__ import annotations

import random
import uuid

import pytest
import sqlalchemy as sa

from haulback.server.store import queue_pages
from haulback.server.store.tables import task as table
from tests.unit.server.conftest import House

_COUNT = 300
_PROJECTS = ("p0", "p1", "p2", None)


@pytest.fixture
def queued(house: House) -> list[tuple[int, str, str | None, str, bool]]:
    """Rank, guid, project, pin and readiness of queued tasks; many have the same rank."""
    [first] = house.export()
    chance = random.Random(7)
    with house.app.store.write() as sql:
        row = dict(sql.execute(sa.select(table).where(table.c.guid == first.guid)).mappings().one())
        copies = [
            row
            | {
                "guid": str(uuid.UUID(int=chance.getrandbits(128))),
                "rank": chance.randrange(20),
                "project": chance.choice(_PROJECTS),
                "pinned_node": chance.choice(["", "n1", "n2"]),
                "ready": chance.random() < 0.8,
                "state": "RUNNING" if nth % 10 == 0 else "QUEUED",
            }
            for nth in range(_COUNT)
        ]
        sql.execute(sa.insert(table), copies)
        sql.execute(sa.delete(table).where(table.c.guid == first.guid))
    keys = ("rank", "guid", "project", "pinned_node", "ready")
    return sorted(tuple(c[key] for key in keys) for c in copies if c["state"] == "QUEUED")


@pytest.mark.parametrize("projects", [None, [], ["p1"], ["p2", "p0"], ["nowhere", "p1"]])
@pytest.mark.parametrize("node", [None, "n1"])
@pytest.mark.parametrize("most", [0, 1, 40, 1000])
def test_the_first_tasks_of_the_queue_are_those_that_start_first(
    house: House, queued, projects: list[str] | None, node: str | None, most: int
):
    expected = [
        guid
        for _, guid, project, pin, ready in queued
        if (projects is None or project in projects)
        and (node is None or (ready and pin in ("", node)))
    ]
    scope = None if projects is None else frozenset(projects)
    with house.app.store.read() as sql:
        shown = [task.guid for task in queue_pages.first(sql, scope, node, most)]
    assert shown == expected[:most]
