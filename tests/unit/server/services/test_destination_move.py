"""A destination moves only to a location where a node has found the same repository."""

from __future__ import annotations

import msgspec
import pytest

from haulback.contract.destination_move import MovedDestination
from haulback.contract.destination_types import SHARED_DELAY
from haulback.contract.destinations import ChangedDestination
from haulback.errors import Conflict, Malformed
from haulback.server.http import task_views
from haulback.server.services import (
    destination_move,
    destination_secrets,
    destinations,
    node_tasks,
)
from haulback.server.store import rows, tables
from haulback.wire import Ref
from tests.unit.server.conftest import EXPORTED, House


@pytest.fixture
def nodes(house: House):
    return house.node("n1"), house.node("n2")


def moved(house: House, **wanted):
    place = MovedDestination(**wanted)
    return destination_move.move(house.app, house.destination.guid, place, house.user)[1]


def record(house: House):
    return destinations.destination(house.app, house.destination.guid)


def test_the_record_changes_once_a_node_of_the_new_place_found_the_repository(house, nodes):
    n1, n2 = nodes
    task = moved(house, settings={"path": "/mnt/new"}, node=Ref(n2.guid))
    assert house.offered(n1) == []
    house.take(n2, task)
    order = node_tasks.order(house.app, n2, task.guid).order
    assert order.destination.config["path"] == "/mnt/new"
    assert node_tasks.destination_keys(house.app, n2, house.destination.guid)
    assert "path" not in record(house).config
    house.finish(n2, task, repository=house.destination.repository)
    assert record(house).config["path"] == "/mnt/new"
    assert record(house).node == n2.guid
    [export] = house.export()
    assert house.offered(n1) == []
    assert house.offered(n2) == [export.guid]


def test_another_repository_at_the_new_place_changes_nothing(house, nodes):
    task = moved(house, settings={"path": "/mnt/new"})
    house.take(nodes[0], task)
    finish = (house.finish, nodes[0], task)
    other = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(Conflict, match="another repository"):
        finish[0](*finish[1:], repository=other)
    house.fail(nodes[0], task)
    assert record(house).config == {}


def test_a_destination_in_use_does_not_move(house, nodes):
    [export] = house.export()
    house.take(nodes[0], export)
    with pytest.raises(Conflict, match="EXPORT uses bd"):
        moved(house, settings={"path": "/mnt/new"})
    house.finish(nodes[0], export, **EXPORTED)
    task = moved(house, settings={"path": "/mnt/new"})
    house.take(nodes[0], house.follower(export))
    house.take(nodes[1], task)
    with pytest.raises(Conflict, match="STORE uses bd"):
        house.finish(nodes[1], task, repository=house.destination.repository)
    assert record(house).config == {}


def test_a_move_names_a_new_place_that_is_free(house, nodes):
    with pytest.raises(Malformed, match="already at this location"):
        moved(house)
    with pytest.raises(Malformed, match="no such setting"):
        moved(house, settings={"bucket": "b"})
    moved(house, settings={"path": "/mnt/new"})
    with pytest.raises(Conflict, match="moved already"):
        moved(house, settings={"path": "/mnt/other"})


def test_a_store_with_a_single_writer_does_not_move_to_several_nodes(house, nodes):
    config = {"endpoint": "https://s3.example.com", "bucket": "vault", "singleWriter": True}
    to = msgspec.structs.replace(
        house.destination, driver="s3", config=config, node=nodes[0].guid, nodes=[]
    )
    with house.app.store.write() as sql:
        rows.change(sql, tables.destination, to)
    with pytest.raises(Malformed, match="singleWriter"):
        moved(house, allNodes=True)
    moved(house, node=Ref(nodes[1].guid))


def test_a_folder_that_moves_to_several_nodes_gets_the_listing_delay_of_a_share(house, nodes):
    task = moved(house, settings={"path": "/mnt/new"}, nodes=[Ref(node.guid) for node in nodes])
    house.take(nodes[0], task)
    order = node_tasks.order(house.app, nodes[0], task.guid).order
    assert order.destination.config["listingDelay"] == SHARED_DELAY
    house.finish(nodes[0], task, repository=house.destination.repository)
    assert record(house).config == {"path": "/mnt/new", "listingDelay": SHARED_DELAY}


def test_a_move_gives_the_secrets_of_the_new_place_to_its_own_task_first(house, nodes):
    vault, n1 = house.app.vault, nodes[0]
    place = {"endpoint": "https://a.example.com", "bucket": "vault"}
    to = msgspec.structs.replace(house.destination, driver="s3", config=place)
    with house.app.store.write() as sql:
        stored = destination_secrets.sealed(vault, to, {"secretAccessKey": "old"})
        rows.change(sql, tables.destination, stored)
    change = {"endpoint": "https://b.example.com", "secretAccessKey": "new"}
    task = moved(house, settings=change)
    other = ChangedDestination(settings={"secretAccessKey": "other"})
    with pytest.raises(Conflict, match="is being moved"):
        destinations.change_destination(house.app, to.guid, other, house.user)
    house.take(n1, task)
    asked = (house.app, n1, to.guid)
    assert node_tasks.destination_keys(*asked, task.guid).secrets == {"secretAccessKey": "new"}
    assert node_tasks.destination_keys(*asked).secrets == {"secretAccessKey": "old"}
    order = node_tasks.order(house.app, n1, task.guid).order
    shown = task_views.extended(house.row(task), [], None)
    assert "sealedSettings" not in repr((order, shown))
    house.finish(n1, task, repository=house.destination.repository)
    assert node_tasks.destination_keys(*asked).secrets == {"secretAccessKey": "new"}
    assert record(house).config["endpoint"] == "https://b.example.com"
