"""Attached destinations, their owners, and the catalogue between server and nodes."""

from __future__ import annotations

from haulback.contract import example_values as example
from haulback.contract.catalogue import (
    AttachedDestination,
    CataloguePage,
    FoundPage,
    PageReceipt,
    TakeOver,
)
from haulback.contract.destinations import DestinationRecord
from haulback.contract.roles import ADMINS, NODES, OPERATORS
from haulback.inventory import destination_types
from haulback.server.http import query_params, request_body, task_views
from haulback.server.http.hypervisors import shown_destinations
from haulback.server.http.operation import TEXT, ApiRequest, Param, Router
from haulback.server.services import attach, catalogue_exchange, record_losses
from haulback.wire import parse

router = Router()


@router(
    "POST",
    "/backup-destinations/attach",
    "Attach a destination with its backups.",
    request=AttachedDestination,
    answer=DestinationRecord,
    status=201,
    roles=ADMINS,
    examples=[{"name": "vault", "path": "/srv/vault", "keyFile": "0" * 64}],
    command="destination attach vault /srv/vault --key-file KEY --node NODE",
    destroys=lambda call: record_losses.of_attached_destination(call.read(AttachedDestination)),
)
def attach_destination(call: ApiRequest) -> DestinationRecord:
    """Add a destination that holds a repository; the task in the answer reads its catalogue.

    The destination is read-only unless `takeOver` makes this server its owner.
    """
    record, task = attach.attach(call.app, _attached(call), call.who)
    [shown] = shown_destinations(call, [record])
    shown.task = task_views.details(task)
    return shown


def _attached(call: ApiRequest) -> AttachedDestination:
    """The body of the request; settings of the type may stand beside the members."""
    wanted: AttachedDestination = call.read(AttachedDestination)
    kind = destination_types.chosen(wanted.type, wanted.driver)
    own = AttachedDestination.__struct_fields__
    body = {name: value for name, value in parse(call.body).items() if name not in own}
    wanted.settings = destination_types.members(body, kind) | (wanted.settings or {})
    return wanted


@router(
    "POST",
    "/backup-destinations/{guid}/take-over",
    "Become the owner of a destination.",
    request=TakeOver,
    answer=DestinationRecord,
    status=201,
    roles=ADMINS,
    examples=[{}, {"oldCredentialRevoked": True}],
    command="destination take-over DESTINATION",
    destroys=lambda call: record_losses.of_taken_destination(
        call.app, call.guid, revoked=call.read(TakeOver).oldCredentialRevoked
    ),
)
def take_over(call: ApiRequest) -> DestinationRecord:
    """Stop the server that owned the destination; the task in the answer reads the catalogue.

    Nothing is deleted for 24 hours, unless the deleting credential of the old owner was revoked.
    """
    wanted: TakeOver = call.read(TakeOver)
    return _with_task(call, take=True, revoked=wanted.oldCredentialRevoked)


@router(
    "POST",
    "/backup-destinations/{guid}/read-catalogue",
    "Read the catalogue of a destination.",
    answer=DestinationRecord,
    status=201,
    roles=OPERATORS,
    command="destination sync DESTINATION",
)
def read_catalogue(call: ApiRequest) -> DestinationRecord:
    """Add backups that the catalogue lacks, from manifests and extracts.

    The task ends the hold of a restored server for this destination.
    """
    return _with_task(call, take=False, revoked=False)


def _with_task(call: ApiRequest, *, take: bool, revoked: bool) -> DestinationRecord:
    record, task = attach.read_again(call.app, call.guid, call.who, take_over=take, revoked=revoked)
    [shown] = shown_destinations(call, [record])
    shown.task = task_views.details(task)
    return shown


@router(
    "GET",
    "/nodes/self/catalogue/{guid}",
    "The catalogue of the destination of a task.",
    answer=CataloguePage,
    query=(Param("after", "The cursor of the page before.", TEXT),),
    roles=NODES,
)
def catalogue(call: ApiRequest) -> CataloguePage:
    """A page of the facts about backups and entities, which the node writes into an extract."""
    after = query_params.one(call, "after") or ""
    return catalogue_exchange.page(call.app, call.node, call.guid, after)


@router(
    "POST",
    "/nodes/self/catalogue/{guid}",
    "Backups that a node found on the destination of a task.",
    request=FoundPage,
    answer=PageReceipt,
    body=request_body.NODES,
    roles=NODES,
    examples=[
        {"backups": [{"guid": example.GUID, "entity": example.GUID, "name": "web", "disks": []}]}
    ],
)
def take_found(call: ApiRequest) -> PageReceipt:
    """Insert the backups that the catalogue does not know; a repeated page changes nothing."""
    wanted: FoundPage = call.read(FoundPage)
    return PageReceipt(catalogue_exchange.take(call.app, call.node, call.guid, wanted.backups))
