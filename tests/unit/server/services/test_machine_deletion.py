"""A machine is deleted with its backups on every destination, wherever its hypervisor is."""

from __future__ import annotations

import msgspec

from haulback.server.services import node_tasks, task_losses
from haulback.server.store import rows, tables
from haulback.server.store.catalogue import SqlCatalogue
from tests.unit.server.conftest import House


def test_backups_that_no_node_of_the_hypervisor_reaches_are_deleted_apart(house: House):
    near, far = house.node("n1"), house.node("n2")
    store = house.exported(near)
    house.take(near, store)
    house.finish(near, store, stored=5)
    with house.app.store.write() as sql:
        bound = msgspec.structs.replace(house.hypervisor, node=near.guid)
        rows.change(sql, tables.hypervisor, bound)
        away = msgspec.structs.replace(house.destination, node=far.guid)
        rows.change(sql, tables.destination, away)
    entity = house.entities[0].guid
    backups, platform = house.submit("delete", {"value": entity})
    assert (backups.pinned_node, backups.ref("hypervisor")) == (far.guid, None)
    house.take(far, backups)
    order = node_tasks.order(house.app, far, backups.guid).order
    assert (order.hypervisor, order.backups) == (None, [store.ref("backup")])
    house.finish(far, backups, removed=order.backups)
    house.take(near, platform)
    order = node_tasks.order(house.app, near, platform.guid).order
    assert (order.hypervisor.guid, order.destination) == (house.hypervisor.guid, None)
    house.finish(near, platform, removed=[])
    with house.app.store.read() as sql:
        left = SqlCatalogue(sql).machines.on_hypervisor(house.hypervisor.guid)
    assert entity not in {machine.guid for machine in left}


def test_a_dry_run_of_many_lists_the_accepted_machines_and_tells_why_others_stay(house: House):
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store, stored=5)
    house.export(house.entities[1])
    stored, busy, bare = (entity.guid for entity in house.entities)
    body = msgspec.json.encode([{"value": guid} for guid in (stored, busy, bare, "no guid")])
    [way] = [way for way in house.app.ways if way.path == "batch-delete"]
    losses = task_losses.of_submission(house.app, way, body, house.user)
    guids = [item.guid for item in losses.items if item.kind == "machine"]
    assert sorted(guids) == sorted([stored, bare])
    assert [item.guid for item in losses.items if item.kind == "backup"] == [store.ref("backup")]
    assert len(losses.notes) == 2
    assert losses.notes[0].startswith(f"{house.entities[1].name} stays: ")
