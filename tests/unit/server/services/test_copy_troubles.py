"""Copies that fail, wait or outlive their backup change nothing but themselves."""

from __future__ import annotations

import pytest

from haulback.errors import BaseGone
from haulback.server.services import node_tasks
from haulback.server.store.catalogue import SqlCatalogue
from tests.unit.server.conftest import EXPORTED, START, House
from tests.unit.server.services.test_destination_sync import Copies

HOUR = 3_600_000


@pytest.fixture
def copies(house: House) -> Copies:
    return Copies(house)


def test_a_copy_that_lost_its_base_repeats_no_store(copies):
    store = copies.stored(copies.rule())
    backup = store.ref("backup")
    [sync] = copies.syncs()
    copies.house.take(copies.node, sync)
    node_tasks.report(copies.house.app, copies.node, sync.guid, results={"failure": BaseGone.code})
    copies.house.fail(copies.node, sync)
    assert [place.status for place in copies.locations(backup)] == ["SUCCESS", "FAILED"]
    assert copies.shown() == [backup]
    offered = {task.type for task in node_tasks.offer(copies.house.app, copies.node)}
    assert offered.isdisjoint({"EXPORT", "STORE", sync.type})


def test_a_late_copy_of_an_old_backup_is_not_the_newest_backup(copies):
    house = copies.house
    old = copies.stored(copies.rule()).ref("backup")
    [sync] = copies.syncs()
    house.clock.now += HOUR
    results = EXPORTED | {"snapshotTime": START + HOUR}
    [export] = house.export(backupDestination=copies.primary)
    house.take(copies.node, export)
    house.finish(copies.node, export, **results)
    store = house.follower(export)
    house.take(copies.node, store)
    house.finish(copies.node, store, stored=5)
    house.clock.now += HOUR
    copies.copied(sync)
    with house.app.store.read() as sql:
        ordered = SqlCatalogue(sql).backups.of_entity(house.entities[0].guid, "SUCCESS")
    firsts = [(item.first, item.copy_of is None) for item in ordered]
    assert firsts == [(store.ref("backup"), True), (old, True), (old, False)]
