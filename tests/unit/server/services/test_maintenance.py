"""The periodic services of several servers on one database."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from haulback.server.services import giving_up, maintenance
from haulback.server.store import tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.tasks.record import Task
from tests.unit.server.conftest import House


def overdue(house: House, export: Task, node: str) -> str:
    """A mount whose time ended a moment ago."""
    with house.app.store.read() as sql:
        backup = SqlCatalogue(sql).backups.get(export.ref("backup") or "")
    return house.mounted(backup, node, unmount_at=house.clock.now - 1)


def test_a_tick_with_nothing_due_takes_few_connections(house: House):
    maintenance.start(house.app)
    maintenance.tick(house.app)
    taken: list[object] = []
    for engine in {house.app.store.engine, house.app.store._reader}:
        sa.event.listen(engine, "checkout", lambda *seen: taken.append(seen))
    house.clock.now += 1
    maintenance.tick(house.app)
    assert 1 <= len(taken) <= 12  # each is a statement or two: a tick of PostgreSQL takes 5 ms


def test_servers_that_check_at_one_moment_unmount_each_backup_once(house: House):
    node = house.node()
    export = house.exported(node)
    guids = {overdue(house, export, node.guid) for _ in range(10)}
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(maintenance.tick, house.app) for _ in range(4)]:
            done.result()
    task = tables.task.c
    with house.app.store.read() as sql:
        ended = sql.scalars(sa.select(task.mounted_backup).where(task.type == "UNMOUNT"))
        assert Counter(ended) == Counter(guids)


def test_an_error_of_the_maintenance_stops_no_other_step(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    node = house.node()
    guid = overdue(house, house.exported(node), node.guid)

    def fail(*_: object) -> None:
        raise RuntimeError("an index is broken")

    monkeypatch.setattr("haulback.server.services.maintenance.due_work.maintenance", fail)
    maintenance.tick(house.app)
    with house.app.store.read() as sql:
        task = tables.task.c
        assert sql.scalar(sa.select(task.mounted_backup).where(task.type == "UNMOUNT")) == guid


def test_the_mounts_of_a_node_that_is_given_up_end_then(house: House):
    node = house.node()
    guid = overdue(house, house.exported(node), node.guid)
    house.clock.now += 1
    giving_up.give_up(house.app, giving_up.NODE, node.guid, house.user)
    with house.app.store.read() as sql:
        mount = SqlCatalogue(sql).mounts.get(guid)
    assert (mount.state, mount.unmount_at) == ("UNMOUNTED", house.clock.now)
