"""Refused removals of objects that are in use, with the command that gives them up."""

from __future__ import annotations

import re

import msgspec

from haulback.errors import Conflict
from haulback.ids import new_guid
from haulback.inventory.records import Entity
from haulback.server.services import destinations, hypervisors, machines
from haulback.server.store import rows, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from tests.unit.server.conftest import House


def test_a_refused_removal_names_the_command_that_gives_the_object_up(house: House):
    node = house.node()
    store = house.exported(node)
    house.take(node, store)
    house.finish(node, store)
    named = Entity(guid=new_guid(), uuid=new_guid(), name="my db", hypervisor=house.hypervisor.guid)
    with house.app.store.write() as sql:
        SqlLedger(sql, house.clock.now).inventory.scanned(
            house.hypervisor.guid, [*house.entities, named], complete_since=None
        )
        [mine] = [
            entity
            for entity in SqlCatalogue(sql).machines.on_hypervisor(house.hypervisor.guid)
            if entity.name == "my db"
        ]
    machine = house.refuses(Conflict, machines.remove, house.app, house.user, mine.guid)
    assert machine.endswith("haulback machine forget 'my db' --gone")
    with house.app.store.write() as sql:
        gone = msgspec.structs.replace(house.entities[0], present=False)
        rows.change(sql, tables.entity, gone)
    kept = house.refuses(Conflict, machines.remove, house.app, house.user, house.entities[0].guid)
    assert re.search(r"has backups or tasks; delete them by haulback machine rm \S+ \(POST", kept)
    guid = house.hypervisor.guid
    host = house.refuses(Conflict, hypervisors.remove_hypervisor, house.app, guid, house.user)
    assert host.startswith("the machine ")
    assert host.endswith("haulback hypervisor rm hv --gone")
    guid = house.destination.guid
    place = house.refuses(Conflict, destinations.remove_destination, house.app, guid, house.user)
    assert place.endswith("haulback destination rm bd --gone")
