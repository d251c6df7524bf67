"""The inventory and the catalogue as people see and fill them."""

from __future__ import annotations

import os
from typing import Any

import msgspec
from sqlalchemy import Connection

from haulback.errors import Conflict, Malformed
from haulback.ids import new_guid
from haulback.inventory.records import Backup, Destination, Entity, Hypervisor
from haulback.kinds.destination_init import init
from haulback.kinds.inventory_sync import sync
from haulback.kinds.seam import Ask
from haulback.server.app import App
from haulback.server.store import catalogue, shelves, tables, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.tasks.record import Task
from haulback.wire import Ref

_KEY_BYTES = 32


class NewPlace(msgspec.Struct):
    """A hypervisor or a destination to be added; `path` is a folder on its node."""

    name: str
    path: str
    driver: str | None = None
    node: Ref | None = None


def add_hypervisor(app: App, wanted: NewPlace) -> tuple[Hypervisor, Task]:
    """Add a hypervisor; the task lists its machines.  Raises Malformed, NotFound, Conflict."""
    config = _config(wanted, "image-folder")
    with app.store.write() as sql:
        node = _node(sql, wanted, Hypervisor)
        record = Hypervisor(guid=new_guid(), name=wanted.name, node=node, **config)
        catalogue.add(sql, tables.hypervisor, record)
        task = sync(record, Ask(app.clock.now_ms()))
        tasks.insert(sql, [task])
    app.bell.ring()
    return record, task


def add_destination(app: App, wanted: NewPlace) -> tuple[Destination, Task]:
    """Add a destination; the task makes its repository.  Raises Malformed, NotFound, Conflict."""
    config = _config(wanted, "folder")
    with app.store.write() as sql:
        node = _node(sql, wanted, Destination)
        record = Destination(guid=new_guid(), name=wanted.name, node=node, **config)
        sealed = app.vault.seal(record.guid, os.urandom(_KEY_BYTES))
        catalogue.add(sql, tables.destination, record, sealed_key=sealed)
        task = init(record, Ask(app.clock.now_ms()))
        tasks.insert(sql, [task])
    app.bell.ring()
    return record, task


def hypervisors(app: App) -> list[Hypervisor]:
    with app.store.read() as sql:
        return shelves.places(sql, Hypervisor)


def destinations(app: App) -> list[Destination]:
    with app.store.read() as sql:
        return shelves.places(sql, Destination)


def machine(app: App, guid: str) -> Entity:
    with app.store.read() as sql:
        return SqlCatalogue(sql).entity(guid)


def backup(app: App, guid: str) -> Backup:
    with app.store.read() as sql:
        return SqlCatalogue(sql).backup(guid)


def _config(wanted: NewPlace, driver: str) -> dict[str, Any]:
    if not 0 < len(wanted.name.strip()) <= 200:
        raise Malformed("name: 1 to 200 characters", field="name")
    if wanted.driver not in (None, driver):
        raise Malformed(f"driver: only {driver!r} is known", field="driver")
    if not wanted.path.startswith("/"):
        raise Malformed("path: name a folder by its absolute path", field="path")
    return {"driver": driver, "config": {"path": os.path.normpath(wanted.path)}}


def _node(sql: Connection, wanted: NewPlace, kind: type[msgspec.Struct]) -> str:
    """The node it lies on.  A folder is on one machine: with several nodes it must be said."""
    if shelves.is_taken(sql, kind, wanted.name):
        raise Conflict(f"name: {wanted.name!r} is taken", field="name")
    if wanted.node:
        return SqlCatalogue(sql).node(wanted.node.guid).guid
    only = shelves.only_node(sql)
    if only is None:
        raise Malformed("node: name the node on which the folder lies", field="node")
    return only
