"""Copies that fail, wait or outlive their backup change nothing but themselves."""

from __future__ import annotations

import pytest

from haulback.errors import BaseGone
from haulback.server.services import node_tasks
from tests.unit.server.conftest import House
from tests.unit.server.services.test_destination_sync import Copies


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
