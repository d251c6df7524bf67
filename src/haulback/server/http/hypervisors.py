"""Hypervisors and destinations: the sources of machines and the stores of backups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from haulback.contract import example_values as example
from haulback.contract.copies import COPY_OF, CopyLinkRecord
from haulback.contract.destination_move import MovedDestination
from haulback.contract.destination_probe import StoreProbe
from haulback.contract.destinations import (
    BreakerRecord,
    ChangedDestination,
    DestinationRecord,
    NewDestination,
)
from haulback.contract.hypervisors import ChangedHypervisor, HypervisorRecord, NewHypervisor
from haulback.contract.losses import Losses
from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS, PEOPLE
from haulback.hypervisor_types import declared
from haulback.ids import fits
from haulback.inventory import destination_types
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.managers import cluster_of, manager_of
from haulback.inventory.reach import Place
from haulback.kinds.support.second_copies import copying_of
from haulback.server.http import paging, query_params, task_views
from haulback.server.http.dry_run import is_gone
from haulback.server.http.operation import GONE, GUID, ApiRequest, Param, Reply, Router
from haulback.server.services import (
    breakers,
    destination_move,
    destination_secrets,
    destination_sync,
    destinations,
    giving_up,
    hypervisors,
    record_losses,
    space,
)
from haulback.server.services.app import App
from haulback.server.services.giving_up import DESTINATION, HYPERVISOR
from haulback.server.services.hypervisors import HypervisorReading
from haulback.server.services.verification import wish_of
from haulback.wire import JsonObject, Named, Ref, label, parse

router = Router()


@router(
    "GET",
    "/hypervisors",
    "All hypervisors.",
    answer=HypervisorRecord,
    many=True,
    query=(Param("hypervisor-manager", "Of this manager.", GUID), *paging.COMMON),
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="hypervisor ls",
)
def list_hypervisors(call: ApiRequest) -> Reply:
    """All hypervisors, or the hypervisors of a manager."""
    manager, text = query_params.guid(call, "hypervisor-manager"), query_params.one(call, "filter")
    with HypervisorReading.of(call.app) as reading:
        rows = [
            hypervisor
            for hypervisor in reading.all()
            if (not manager or manager_of(hypervisor) == manager)
            and fits(text, hypervisor.guid, hypervisor.name)
        ]
        around = _around(reading, call)
        shown = [_hypervisor(hypervisor, around) for hypervisor in _paged(call, rows)]
    return Reply(shown, headers={"X-Total-Count": str(len(rows))})


class _Around(NamedTuple):
    """Data for answers about hypervisors: numbers of machines, doubtful scans, nodes, the
    catalogue.
    """

    counts: Mapping[str, int]
    doubts: Mapping[str, int]
    nodes: Mapping[str, str]
    known: Catalogue

    def named(self, kind: str, guid: str) -> Named:
        """A record that a user added, or that a scan of a platform created."""
        return Named(guid, self.known.records.get(kind, guid).name)


def _around(reading: HypervisorReading, call: ApiRequest) -> _Around:
    counts = reading.machine_counts(call.who.scope)
    names = reading.catalogue.places.node_names()
    return _Around(counts, reading.doubts(), names, reading.catalogue)


def _paged(call: ApiRequest, found: list[Any]) -> list[Any]:
    page, size = query_params.paging(call)
    return found[page * size : (page + 1) * size]


@router(
    "GET",
    "/hypervisors/{guid}",
    "A hypervisor.",
    answer=HypervisorRecord,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="hypervisor show HYPERVISOR",
)
def one_hypervisor(call: ApiRequest) -> HypervisorRecord:
    """A hypervisor by its guid."""
    with HypervisorReading.of(call.app) as reading:
        around = _around(reading, call)
        return _hypervisor(around.known.places.hypervisor(call.guid), around)


@router(
    "POST",
    "/hypervisors",
    "Add a hypervisor.",
    request=NewHypervisor,
    answer=HypervisorRecord,
    status=201,
    roles=ADMINS,
    examples=[{"name": "here", "path": "/srv/machines"}],
    command="hypervisor add there /srv/machines --node NODE",
)
def add_hypervisor(call: ApiRequest) -> HypervisorRecord:
    """Add a hypervisor; the task in the answer lists its machines."""
    record, task = hypervisors.add_hypervisor(call.app, call.read(NewHypervisor), call.who)
    with HypervisorReading.of(call.app) as reading:
        shown = _hypervisor(record, _around(reading, call))
    shown.task = task_views.details(task)
    return shown


@router(
    "PUT",
    "/hypervisors/{guid}",
    "Change a hypervisor.",
    request=ChangedHypervisor,
    answer=HypervisorRecord,
    roles=ADMINS,
    examples=[{"name": "there"}],
    command="hypervisor set HYPERVISOR --rename hv",
)
def change_hypervisor(call: ApiRequest) -> HypervisorRecord:
    """Rename a hypervisor, assign it to a manager, or set the nodes that reach it."""
    wanted = call.read(ChangedHypervisor)
    record = hypervisors.change_hypervisor(call.app, call.guid, wanted, call.who)
    with HypervisorReading.of(call.app) as reading:
        return _hypervisor(record, _around(reading, call))


@router(
    "DELETE",
    "/hypervisors/{guid}",
    "Remove a hypervisor.",
    status=204,
    roles=ADMINS,
    query=(GONE,),
    command="hypervisor rm HYPERVISOR",
    destroys=lambda call: _lost(call, HYPERVISOR, record_losses.of_hypervisor),
    slow=True,
)
def remove_hypervisor(call: ApiRequest) -> Reply | None:
    """Remove a hypervisor whose machines have no backups.

    `gone=true` gives up a hypervisor that is lost for good: machines with backups stay and become
    absent.
    """
    if is_gone(call):
        return Reply(giving_up.give_up(call.app, HYPERVISOR, call.guid, call.who), status=200)
    hypervisors.remove_hypervisor(call.app, call.guid, call.who)
    return None


def _lost(call: ApiRequest, kind: str, otherwise: Callable[[App, str], Losses]) -> Losses:
    """The objects that a removal, or giving up, would affect."""
    if is_gone(call):
        return giving_up.preview(call.app, kind, call.guid, call.who)
    return otherwise(call.app, call.guid)


@router(
    "POST",
    "/hypervisors/{guid}/confirm-absent",
    "Confirm the absence of missed machines.",
    answer=Named,
    many=True,
    roles=ADMINS,
    command="hypervisor confirm-absent UNBELIEVED",
    destroys=lambda call: record_losses.of_missed_machines(call.app, call.guid),
)
def confirm_absent(call: ApiRequest) -> list[Named]:
    """Mark the missed machines of a hypervisor as absent; the answer lists them."""
    return hypervisors.confirm_absent(call.app, call.guid, call.who)


@router(
    "GET",
    "/backup-destinations",
    "All destinations.",
    answer=DestinationRecord,
    many=True,
    query=paging.COMMON,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="destination ls",
)
def list_destinations(call: ApiRequest) -> Reply:
    """All destinations."""
    text = query_params.one(call, "filter")
    rows = [
        destination
        for destination in destinations.all_destinations(call.app)
        if fits(text, destination.guid, destination.name)
    ]
    shown = shown_destinations(call, _paged(call, rows))
    return Reply(shown, headers={"X-Total-Count": str(len(rows))})


@router(
    "POST",
    "/backup-destinations/usable-for-vms",
    "Destinations for backups of machines.",
    request=list[JsonObject],
    answer=DestinationRecord,
    many=True,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    examples=[[{"entity": example.GUID, "guid": example.GUID}]],
    command="destination ls MACHINE",
)
def usable(call: ApiRequest) -> list[DestinationRecord]:
    """Destinations that the nodes of all these machines can reach."""
    machines: list[Ref] = call.read(list[Ref])
    found = destinations.usable_for(call.app, [machine.guid for machine in machines], call.who)
    return shown_destinations(call, found)


@router(
    "GET",
    "/backup-destinations/{guid}",
    "A destination.",
    answer=DestinationRecord,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="destination show DESTINATION",
)
def one_destination(call: ApiRequest) -> DestinationRecord:
    """A destination by its guid."""
    return shown_destinations(call, [destinations.destination(call.app, call.guid)])[0]


@router(
    "POST",
    "/backup-destinations",
    "Add a destination.",
    request=NewDestination,
    answer=DestinationRecord,
    status=201,
    roles=ADMINS,
    examples=[{"name": "vault", "path": "/srv/vault", "retention": {"keepLastNFull": 4}}],
    command="destination add vault /srv/vault --node NODE",
)
def add_destination(call: ApiRequest) -> DestinationRecord:
    """Add a destination; the task in the answer creates its repository."""
    wanted: NewDestination = call.read(NewDestination)
    kind = destination_types.chosen(wanted.type, wanted.driver)
    wanted.settings = destination_types.members(parse(call.body), kind) | (wanted.settings or {})
    record, task = destinations.add_destination(call.app, wanted, call.who)
    [shown] = shown_destinations(call, [record])
    shown.task = task_views.details(task)
    return shown


@router(
    "PUT",
    "/backup-destinations/{guid}",
    "Change a destination.",
    request=ChangedDestination,
    answer=DestinationRecord,
    roles=ADMINS,
    examples=[{"name": "vault-2"}],
    command="destination set DESTINATION --keep-full 4 --lock-days 7",
    destroys=lambda call: record_losses.of_destination_settings(
        call.app, call.guid, call.read(ChangedDestination)
    ),
)
def change_destination(call: ApiRequest) -> DestinationRecord:
    """Rename a destination, set its retention, set the nodes that reach it, or change its secret
    settings and the settings that do not determine its location.
    """
    wanted: ChangedDestination = call.read(ChangedDestination)
    driver = destinations.destination(call.app, call.guid).driver
    kind = destination_types.chosen(wanted.type, None if wanted.type else driver)
    wanted.settings = destination_types.members(parse(call.body), kind) | (wanted.settings or {})
    changed = destinations.change_destination(call.app, call.guid, wanted, call.who)
    return shown_destinations(call, [changed])[0]


@router(
    "DELETE",
    "/backup-destinations/{guid}",
    "Remove a destination.",
    status=204,
    roles=ADMINS,
    query=(GONE,),
    command="destination rm DESTINATION",
    destroys=lambda call: _lost(call, DESTINATION, record_losses.of_destination),
    slow=True,
)
def remove_destination(call: ApiRequest) -> Reply | None:
    """Remove a destination without backups; its files stay.

    `gone=true` gives up a destination that is lost for good, and the backups that were stored on it
    alone.
    """
    if is_gone(call):
        return Reply(giving_up.give_up(call.app, DESTINATION, call.guid, call.who), status=200)
    destinations.remove_destination(call.app, call.guid, call.who)
    return None


@router(
    "POST",
    "/backup-destinations/{guid}/init",
    "Create the repository of a destination again.",
    answer=DestinationRecord,
    roles=ADMINS,
    command="destination init FAILED",
)
def init_destination(call: ApiRequest) -> DestinationRecord:
    """Repeat the BACKUP_DESTINATION_INIT of a destination; 409 if it has a repository already."""
    record, task = destinations.init_again(call.app, call.guid, call.who)
    [shown] = shown_destinations(call, [record])
    shown.task = task_views.details(task)
    return shown


@router(
    "POST",
    "/backup-destinations/{guid}/move",
    "Move a destination.",
    request=MovedDestination,
    answer=DestinationRecord,
    roles=ADMINS,
    examples=[{"path": "/mnt/vault", "nodes": [example.REF, example.REF]}],
    command="destination move DESTINATION /mnt/vault --node NODE",
    destroys=lambda call: record_losses.of_moved_destination(call.app, call.guid),
)
def move_destination(call: ApiRequest) -> DestinationRecord:
    """Change the location of a destination's repository; the task in the answer checks the new
    location.
    """
    wanted: MovedDestination = call.read(MovedDestination)
    kind = destination_types.chosen(None, destinations.destination(call.app, call.guid).driver)
    wanted.settings = destination_types.members(parse(call.body), kind) | (wanted.settings or {})
    before, task = destination_move.move(call.app, call.guid, wanted, call.who)
    [shown] = shown_destinations(call, [before])
    shown.task = task_views.details(task)
    return shown


@router(
    "POST",
    "/backup-destinations/{guid}/close-breaker",
    "Close the breaker of a destination.",
    answer=DestinationRecord,
    roles=ADMINS,
    command="destination close-breaker DESTINATION",
)
def close_breaker(call: ApiRequest) -> DestinationRecord:
    """Let the tasks of a destination that did not answer continue at once."""
    return shown_destinations(call, [breakers.close(call.app, call.guid, call.who)])[0]


def _hypervisor(hypervisor: Hypervisor, around: _Around) -> HypervisorRecord:
    settings = hypervisor.settings
    return HypervisorRecord(
        guid=hypervisor.guid,
        name=hypervisor.name,
        host=hypervisor.name,
        type=label(declared(hypervisor.driver).label),
        driver=hypervisor.driver,
        path=str(hypervisor.config.get("path", "")),
        licenseCovered=True,
        vmCount=around.counts.get(hypervisor.guid, 0),
        notBelievedSince=around.doubts.get(hypervisor.guid),
        user="",
        url=hypervisor.config.get("url"),
        **_reach(hypervisor, around.nodes),
        cluster=around.named("hypervisor-cluster", cluster_of(hypervisor)),
        hypervisorManager=around.named("hypervisor-manager", manager_of(hypervisor)),
        storageId=settings.get("storage"),
    )


def _reach(place: Place, names: Mapping[str, str]) -> dict[str, Any]:
    """The members of an answer that name the nodes that reach a hypervisor or destination."""
    nodes = place.nodes or ([place.node] if place.node else [])
    shown = [Named(guid, names.get(guid, "")) for guid in nodes]
    only = shown[0] if place.node else None
    return {"node": only, "nodes": sorted(shown, key=lambda node: node.name), "allNodes": not nodes}


def shown_destinations(call: ApiRequest, found: list[BackupDestination]) -> list[DestinationRecord]:
    """Destinations in the form that callers read."""
    stands, names = breakers.stands(call.app, found), destinations.node_names(call.app)
    shown = [_destination(one, breakers.shown(stands.get(one.guid)), names) for one in found]
    spaces = space.shown(call.app, found)
    for record in shown:
        record.space = spaces[record.guid]
    return _with_copies(call, shown)


def _with_copies(call: ApiRequest, shown: list[DestinationRecord]) -> list[DestinationRecord]:
    """Destinations with the names of the destinations at the other end of their copies."""
    links = destination_sync.links(call.app)
    names = {place.guid: place.name for place in destinations.all_destinations(call.app)}
    for record in shown:
        record.copies = [
            CopyLinkRecord(backupDestination=Named(link.target, name), roleType=label(link.role))
            for link, name in links.get(record.guid, [])
        ]
        if record.copyOf:
            record.copyOf = Named(record.copyOf.guid, names.get(record.copyOf.guid, ""))
    return shown


def _destination(
    destination: BackupDestination, breaker: BreakerRecord, names: Mapping[str, str]
) -> DestinationRecord:
    known = destination.total_space is not None and destination.used_space is not None
    return DestinationRecord(
        guid=destination.guid,
        name=destination.name,
        type=label(destination_types.chosen(None, destination.driver).name),
        driver=destination.driver,
        path=str(destination.config.get("path", "")),
        settings=destination_secrets.shown(destination).config,
        initialized=destination.repository is not None,
        retention=destinations.retention_of(destination),
        verification=wish_of(destination),
        verifiedTime=destination.verify_state.get("completed"),
        unknownBackups=destination.verify_state.get("unknown", 0),
        **_reach(destination, names),
        catalogueReadTime=destination.verify_state.get("catalogueRead"),
        extractTime=destination.verify_state.get("extractTime"),
        owner=destination.owner if destination.owner.number else None,
        probe=msgspec.convert(destination.probe, StoreProbe) if destination.probe else None,
        totalUsedSpace=destination.used_space,
        totalAvailableSpace=(destination.total_space or 0) - (destination.used_space or 0)
        if known
        else None,
        breaker=breaker,
        copying=copying_of(destination),
        copyOf=Named(destination.settings[COPY_OF]) if COPY_OF in destination.settings else None,
    )
