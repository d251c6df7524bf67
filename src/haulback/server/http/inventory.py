"""Hypervisors, destinations, machines and backups, as portals and people read them."""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath, RawBody

from haulback.ids import guid_of
from haulback.inventory.records import Backup, Destination, Entity, Hypervisor
from haulback.server import stock
from haulback.server.http import queries, views
from haulback.server.http.answers import answer
from haulback.server.http.callers import Call, app_of
from haulback.server.http.threads import threaded
from haulback.server.store import shelves
from haulback.server.store.reports import MOST
from haulback.wire import Named, label
from haulback.wire import request as decode


@get("/hypervisors")
@threaded
def list_hypervisors(request: Call) -> Response[bytes]:
    """All hypervisors."""
    return answer([_hypervisor(one) for one in stock.hypervisors(app_of(request))])


@post("/hypervisors")
@threaded
def add_hypervisor(request: Call, body: RawBody) -> Response[bytes]:
    """Add one; its machines are listed by the task in the answer."""
    record, task = stock.add_hypervisor(app_of(request), decode(body, stock.NewPlace))
    return answer({**_hypervisor(record), "task": views.details(task)}, 201)


@get("/backup-destinations")
@threaded
def list_destinations(request: Call) -> Response[bytes]:
    """All destinations."""
    return answer([_destination(one) for one in stock.destinations(app_of(request))])


@post("/backup-destinations")
@threaded
def add_destination(request: Call, body: RawBody) -> Response[bytes]:
    """Add one; its repository is made by the task in the answer."""
    record, task = stock.add_destination(app_of(request), decode(body, stock.NewPlace))
    return answer({**_destination(record), "task": views.details(task)}, 201)


@get("/virtual-machines")
@threaded
def list_machines(request: Call) -> Response[bytes]:
    """A page of machines, or all."""
    page, size = _paging(request)
    with app_of(request).store.read() as sql:
        found, total = shelves.machines(sql, queries.one(request, "filter"), page, size)
    return answer([_machine(one) for one in found], headers={"X-Total-Count": str(total)})


@get("/virtual-machines/{guid:str}")
@threaded
def one_machine(request: Call, guid: FromPath[str]) -> Response[bytes]:
    """One machine."""
    return answer(_machine(stock.machine(app_of(request), guid_of(guid, "guid"))))


@get("/backups")
@threaded
def list_backups(request: Call) -> Response[bytes]:
    """A page of backups, the newest first."""
    found, total = _backups(request, queries.several(request, "status"))
    return answer([_backup(one) for one in found], headers={"X-Total-Count": str(total)})


@get("/backups/{guid:str}")
@threaded
def one_backup(request: Call, guid: FromPath[str]) -> Response[bytes]:
    """One backup."""
    return answer(_backup(stock.backup(app_of(request), guid_of(guid, "guid"))))


@get("/backup-locations")
@threaded
def list_locations(request: Call) -> Response[bytes]:
    """Where stored backups lie, the newest first."""
    found, total = _backups(request, ["SUCCESS"])
    return answer([_location(one) for one in found], headers={"X-Total-Count": str(total)})


def _backups(request: Call, statuses: list[str]) -> tuple[list[Backup], int]:
    page, size = _paging(request)
    named = queries.one(request, "protected-entity")
    entity = guid_of(named, "protected-entity") if named else None
    with app_of(request).store.read() as sql:
        return shelves.backups(sql, entity, [s for s in statuses if s], page, size)


def _paging(request: Call) -> tuple[int, int]:
    page = queries.number(request, "page", 10_000_000) or 0
    return page, queries.number(request, "size", MOST) or MOST


def _hypervisor(one: Hypervisor) -> dict[str, Any]:
    return {"guid": one.guid, "name": one.name, "type": label("IMAGE_FOLDER")} | _place(one)


def _destination(one: Destination) -> dict[str, Any]:
    shown = {"guid": one.guid, "name": one.name, "type": label("FILE_SYSTEM")}
    return shown | _place(one) | {"initialized": one.repository is not None}


def _place(one: Hypervisor | Destination) -> dict[str, Any]:
    shown: dict[str, Any] = {"driver": one.driver, "path": one.config["path"]}
    return shown | ({"node": Named(one.node)} if one.node else {})


def _machine(one: Entity) -> dict[str, Any]:
    return {
        "guid": one.guid,
        "name": one.name,
        "uuid": one.uuid,
        "present": one.present,
        "type": label(one.type),
        "hypervisor": Named(one.hypervisor),
        "disks": one.disks,
    }


def _backup(one: Backup) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "guid": one.guid,
        "name": one.entity_name,
        "protectedEntity": Named(one.entity, one.entity_name, label("VM")),
        "type": label(one.type),
        "status": label(one.status),
        "statusInfo": one.status_info,
        "backupTime": one.created,
        "snapshotTime": one.snapshot_time,
        "size": one.size,
        "transferredSize": one.read,
        "storedSize": one.stored,
        "warnings": [],
        "warningsPresent": False,
        "parentBackup": Named(one.parent) if one.parent else None,
        "backupLocations": [_location(one)] if one.status == "SUCCESS" else [],
    }
    return {name: value for name, value in shown.items() if value is not None}


def _location(one: Backup) -> dict[str, Any]:
    return {
        "guid": one.location,
        "backup": Named(one.guid, one.entity_name),
        "snapshotTime": one.snapshot_time,
        "backupDestination": Named(one.destination),
        "roleType": label("PRIMARY"),
        "status": label("PRESENT"),
        "type": label(one.type),
    }


ROUTES: list[Any] = [
    list_hypervisors,
    add_hypervisor,
    list_destinations,
    add_destination,
    list_machines,
    one_machine,
    list_backups,
    one_backup,
    list_locations,
]
