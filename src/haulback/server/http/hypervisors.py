"""Hypervisors and destinations: where machines live and where backups go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from haulback.contract.destinations import ChangedDestination, DestinationRecord, NewDestination
from haulback.contract.hypervisors import ChangedHypervisor, HypervisorRecord, NewHypervisor
from haulback.inventory import destination_types
from haulback.inventory.hypervisor_types import PLATFORMS
from haulback.inventory.managers import cluster_of, manager_of
from haulback.inventory.records import BackupDestination, Hypervisor
from haulback.server.http import paging, query_params, task_views
from haulback.server.http.operation import GUID, ApiRequest, Param, Reply, Router
from haulback.server.services import destination_secrets, places
from haulback.server.services.verification import wish_of
from haulback.server.store import lists, presence
from haulback.server.store.catalogue import SqlCatalogue
from haulback.wire import Named, Ref, label, parse

room = Router()


@room("GET", "/hypervisors", "All hypervisors.", answer=HypervisorRecord, many=True,
      query=(Param("hypervisor-manager", "Of this manager.", GUID), *paging.COMMON))  # fmt: skip
def list_hypervisors(call: ApiRequest) -> Reply:
    """All hypervisors, or those of a manager."""
    manager, text = query_params.guid(call, "hypervisor-manager"), query_params.one(call, "filter")
    with call.app.store.read() as sql:
        found = [
            one
            for one in lists.places(sql, Hypervisor)
            if (not manager or manager_of(one) == manager)
            and (not text or text.lower() in one.name.lower())
        ]
        around = _around(sql, call)
        shown = [_hypervisor(one, around) for one in _paged(call, found)]
    return Reply(shown, headers={"X-Total-Count": str(len(found))})


class _Around(NamedTuple):
    """Facts about hypervisors beside their records: numbers of machines, doubts, the catalogue."""

    counts: Mapping[str, int]
    doubts: Mapping[str, int]
    known: SqlCatalogue

    def named(self, kind: str, guid: str) -> Named:
        """A record of people's or of the platform's own."""
        return Named(guid, self.known.records.get(kind, guid).name)


def _around(sql: Any, call: ApiRequest) -> _Around:
    counts = lists.machine_counts(sql, call.who.scope)
    return _Around(counts, presence.doubts(sql), SqlCatalogue(sql))


def _paged(call: ApiRequest, found: list[Any]) -> list[Any]:
    page, size = query_params.paging(call)
    return found[page * size : (page + 1) * size]


@room("GET", "/hypervisors/{guid}", "One hypervisor.", answer=HypervisorRecord)
def one_hypervisor(call: ApiRequest) -> HypervisorRecord:
    """One hypervisor."""
    with call.app.store.read() as sql:
        around = _around(sql, call)
        return _hypervisor(around.known.places.hypervisor(call.guid), around)


@room("POST", "/hypervisors", "Add a hypervisor.", request=NewHypervisor,
      answer=HypervisorRecord, status=201)  # fmt: skip
def add_hypervisor(call: ApiRequest) -> HypervisorRecord:
    """Add one; its machines are listed by the task in the answer."""
    record, task = places.add_hypervisor(call.app, call.read(NewHypervisor), call.who)
    with call.app.store.read() as sql:
        shown = _hypervisor(record, _around(sql, call))
    shown.task = task_views.details(task)
    return shown


@room("PUT", "/hypervisors/{guid}", "Change a hypervisor.", request=ChangedHypervisor,
      answer=HypervisorRecord)  # fmt: skip
def change_hypervisor(call: ApiRequest) -> HypervisorRecord:
    """Rename it, or put it under a manager."""
    wanted = call.read(ChangedHypervisor)
    record = places.change_hypervisor(call.app, call.guid, wanted, call.who)
    with call.app.store.read() as sql:
        return _hypervisor(record, _around(sql, call))


@room("DELETE", "/hypervisors/{guid}", "Remove a hypervisor.", status=204)
def remove_hypervisor(call: ApiRequest) -> None:
    """Remove one whose machines have no backups."""
    places.remove_hypervisor(call.app, call.guid, call.who)


@room("POST", "/hypervisors/{guid}/confirm-absent", "Confirm that machines are gone.",
      answer=Named, many=True)  # fmt: skip
def confirm_absent(call: ApiRequest) -> list[Named]:
    """Hold absent the machines that looks miss and that are not believed gone; answers which."""
    return places.confirm_absent(call.app, call.guid, call.who)


@room("GET", "/backup-destinations", "All destinations.", answer=DestinationRecord, many=True,
      query=paging.COMMON)  # fmt: skip
def list_destinations(call: ApiRequest) -> Reply:
    """All destinations."""
    text = query_params.one(call, "filter")
    with call.app.store.read() as sql:
        found = lists.places(sql, BackupDestination)
    found = [one for one in found if not text or text.lower() in one.name.lower()]
    shown = [_destination(one) for one in _paged(call, found)]
    return Reply(shown, headers={"X-Total-Count": str(len(found))})


@room("POST", "/backup-destinations/usable-for-vms", "Destinations that machines can go to.",
      request=list[dict[str, Any]], answer=DestinationRecord, many=True)  # fmt: skip
def usable(call: ApiRequest) -> list[DestinationRecord]:
    """Those that the nodes of all the machines named can reach."""
    machines: list[Ref] = call.read(list[Ref])
    found = places.usable_for(call.app, [one.guid for one in machines], call.who)
    return [_destination(one) for one in found]


@room("GET", "/backup-destinations/{guid}", "One destination.", answer=DestinationRecord)
def one_destination(call: ApiRequest) -> DestinationRecord:
    """One destination."""
    with call.app.store.read() as sql:
        return _destination(SqlCatalogue(sql).places.destination(call.guid))


@room("POST", "/backup-destinations", "Add a destination.", request=NewDestination,
      answer=DestinationRecord, status=201)  # fmt: skip
def add_destination(call: ApiRequest) -> DestinationRecord:
    """Add one; its repository is made by the task in the answer."""
    wanted: NewDestination = call.read(NewDestination)
    kind = destination_types.chosen(wanted.type, wanted.driver)
    wanted.settings = destination_types.members(parse(call.body), kind) | (wanted.settings or {})
    record, task = places.add_destination(call.app, wanted, call.who)
    shown = _destination(record)
    shown.task = task_views.details(task)
    return shown


@room("PUT", "/backup-destinations/{guid}", "Change a destination.",
      request=ChangedDestination, answer=DestinationRecord)  # fmt: skip
def change_destination(call: ApiRequest) -> DestinationRecord:
    """Rename it, or set what it keeps."""
    wanted: ChangedDestination = call.read(ChangedDestination)
    with call.app.store.read() as sql:
        driver = SqlCatalogue(sql).places.destination(call.guid).driver
    kind = destination_types.chosen(wanted.type, None if wanted.type else driver)
    destination_types.members(parse(call.body), kind)
    return _destination(places.change_destination(call.app, call.guid, wanted, call.who))


@room("DELETE", "/backup-destinations/{guid}", "Remove a destination.", status=204)
def remove_destination(call: ApiRequest) -> None:
    """Remove one that holds no backup; its files stay."""
    places.remove_destination(call.app, call.guid, call.who)


def _hypervisor(one: Hypervisor, around: _Around) -> HypervisorRecord:
    settings, known = one.settings, around.known
    return HypervisorRecord(
        guid=one.guid,
        name=one.name,
        host=one.name,
        type=label(PLATFORMS[one.driver].label),
        driver=one.driver,
        path=str(one.config.get("path", "")),
        licenseCovered=True,
        vmCount=around.counts.get(one.guid, 0),
        notBelievedSince=around.doubts.get(one.guid),
        user="",
        url=one.config.get("url"),
        node=known.places.node(one.node) if one.node else None,
        cluster=around.named("hypervisor-cluster", cluster_of(one)),
        hypervisorManager=around.named("hypervisor-manager", manager_of(one)),
        storageId=settings.get("storage"),
    )


def _destination(one: BackupDestination) -> DestinationRecord:
    known = one.total_space is not None and one.used_space is not None
    return DestinationRecord(
        guid=one.guid,
        name=one.name,
        type=label(destination_types.chosen(None, one.driver).name),
        driver=one.driver,
        path=str(one.config.get("path", "")),
        settings=destination_secrets.shown(one).config,
        initialized=one.repository is not None,
        retention=places.retention_of(one),
        verification=wish_of(one),
        verifiedTime=one.verify_state.get("completed"),
        node=Named(one.node) if one.node else None,
        totalUsedSpace=one.used_space,
        totalAvailableSpace=(one.total_space or 0) - (one.used_space or 0) if known else None,
    )
