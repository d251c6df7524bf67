"""Managers, clusters and storages as portals read them, with the references between them."""

from __future__ import annotations

from collections.abc import Callable

from haulback.errors import NotFound
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.managers import SEEN_ON, USUAL_TYPE, cluster_of, manager_of
from haulback.inventory.records import Record
from haulback.wire import JsonObject


def managers_for(known: Catalogue, backup: str) -> list[str]:
    """The guids of the managers that have a host of the platform of a backup's machine.

    Raises NotFound.
    """
    home = known.places.hypervisor(known.machines.get(known.backups.get(backup).entity).hypervisor)
    return [
        manager_of(hypervisor)
        for hypervisor in known.places.hypervisors()
        if hypervisor.driver == home.driver
    ]


def beneath(known: Catalogue, kind: str, manager: str) -> list[str]:
    """The guids of the records of one kind that belong to a manager; with `only`, to its hosts."""
    hosts = {
        hypervisor.guid
        for hypervisor in known.places.hypervisors()
        if manager_of(hypervisor) == manager
    }
    return [
        record.guid
        for record in known.records.of_kind(kind)
        if record.parent == manager
        or (not record.parent and hosts & set(record.body.get(SEEN_ON, ())))
    ]


def _manager(shown: JsonObject, record: Record, known: Catalogue) -> None:
    shown.setdefault("url", "")
    if not record.body.get("type"):
        shown["type"] = {"name": USUAL_TYPE, "description": USUAL_TYPE.capitalize()}


def _cluster(shown: JsonObject, record: Record, known: Catalogue) -> None:
    shown["uuid"] = shown.get("uuid") or record.guid


def _storage(shown: JsonObject, record: Record, known: Catalogue) -> None:
    """Add to a storage the clusters of its hosts: portals show the storages of one cluster."""
    hosts = set(record.body.get(SEEN_ON, ()))
    result = [item["guid"] for item in shown.get("clusters", [])]
    result += [
        cluster_of(hypervisor)
        for hypervisor in known.places.hypervisors()
        if hypervisor.guid in hosts
    ]
    shown["clusters"] = [
        {"guid": guid, "name": _name(known, guid)} for guid in dict.fromkeys(result)
    ]


def _name(known: Catalogue, cluster: str) -> str:
    try:
        return known.records.get("hypervisor-cluster", cluster).name
    except NotFound:
        return ""


View = Callable[[JsonObject, Record, Catalogue], None]
VIEWS: dict[str, View] = {
    "hypervisor-manager": _manager,
    "hypervisor-cluster": _cluster,
    "hypervisor-storage": _storage,
}
