"""Nodes: lists and enrolment for users, and the channel of nodes."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

import msgspec

from haulback.contract import example_values as example
from haulback.contract.losses import Losses
from haulback.contract.mount import MountDamage
from haulback.contract.nodes import (
    AnswerPiece,
    ChangedNode,
    DestinationKeys,
    Enrol,
    Enrolled,
    EnrolmentToken,
    NewNode,
    NodeRecord,
    NodeSession,
    PendingRequest,
    PieceReceipt,
    Session,
    Space,
    WorkOrder,
)
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS, NODES, PEOPLE, PUBLIC
from haulback.errors import Malformed, Unauthenticated
from haulback.inventory.repository_revision import REVISION
from haulback.server.caller import Node, Process
from haulback.server.http import node_schemas, query_params, request_body
from haulback.server.http.dry_run import is_gone
from haulback.server.http.operation import (
    FLAG,
    GONE,
    GUID,
    NUMBER,
    ApiRequest,
    Param,
    Reply,
    Router,
)
from haulback.server.services import giving_up, mount_reports, node_tasks, nodes, record_losses
from haulback.server.services.app import App
from haulback.server.services.giving_up import NODE
from haulback.texts import check_name

router = Router()


_FIRST_RELEASES = re.compile(r"0\.1\.[0-9]+$")


@router(
    "GET",
    "/nodes",
    "All nodes.",
    answer=NodeRecord,
    many=True,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="node ls",
)
def list_nodes(call: ApiRequest) -> Reply:
    """All nodes."""
    now = call.app.clock.now_ms()
    shown = [nodes.shown(node, now) for node in nodes.all_nodes(call.app)]
    return Reply(shown, headers={"X-Total-Count": str(len(shown))})


@router(
    "GET",
    "/nodes/{guid}",
    "A node.",
    answer=NodeRecord,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="node show NODE",
)
def one_node(call: ApiRequest) -> NodeRecord:
    """A node by its guid."""
    return _shown(call, nodes.node(call.app, call.guid))


def _shown(call: ApiRequest, node: Node, token: str | None = None) -> NodeRecord:
    shown = nodes.shown(node, call.app.clock.now_ms())
    shown.token = token
    return shown


@router(
    "POST",
    "/nodes",
    "Add a node.",
    request=NewNode,
    answer=NodeRecord,
    status=201,
    roles=ADMINS,
    examples=[{"name": "mover-2"}],
    command="node add mine",
)
def add_node(call: ApiRequest) -> NodeRecord:
    """Register a third-party node; its token gives access to the task operations."""
    wanted: NewNode = call.read(NewNode)
    check_name(wanted.name)
    return _shown(call, *nodes.add(call.app, call.who, wanted))


@router(
    "POST",
    "/nodes/{guid}/token",
    "A new token.",
    answer=NodeRecord,
    status=201,
    roles=ADMINS,
    command="node token OTHER",
    destroys=lambda call: record_losses.of_node_token(call.app, call.guid),
)
def renew_token(call: ApiRequest) -> NodeRecord:
    """Issue a new token for a node; tasks under the old token end."""
    return _shown(call, *nodes.renew_token(call.app, call.who, call.guid))


@router(
    "PUT",
    "/nodes/{guid}",
    "Change a node.",
    request=ChangedNode,
    answer=NodeRecord,
    roles=ADMINS,
    examples=[{"name": "mover-3"}],
    command="node rename NODE n1",
)
def change_node(call: ApiRequest) -> NodeRecord:
    """Rename a node, or give it another configuration."""
    wanted: ChangedNode = call.read(ChangedNode)
    if wanted.name is not None:
        check_name(wanted.name)
    return _shown(call, nodes.change(call.app, call.who, call.guid, wanted))


@router(
    "DELETE",
    "/nodes/{guid}",
    "Remove a node.",
    status=204,
    roles=ADMINS,
    query=(GONE,),
    command="node rm OTHER",
    destroys=lambda call: _lost(call),
    slow=True,
)
def remove_node(call: ApiRequest) -> Reply | None:
    """Remove a node and revoke its token. 409 while tasks, hypervisors or destinations need it.

    `gone=true` gives up a node that is lost for good, with the hypervisors and destinations that
    only it reached.
    """
    if is_gone(call):
        return Reply(giving_up.give_up(call.app, NODE, call.guid, call.who), status=200)
    nodes.remove(call.app, call.who, call.guid)
    return None


def _lost(call: ApiRequest) -> Losses:
    if is_gone(call):
        return giving_up.preview(call.app, NODE, call.guid, call.who)
    return record_losses.of_node(call.app, call.guid)


@router(
    "POST",
    "/nodes/enrolment",
    "Invite a node.",
    answer=EnrolmentToken,
    status=201,
    roles=ADMINS,
    command="node token",
)
def invite(call: ApiRequest) -> EnrolmentToken:
    """Create a token with which one node can enrol within an hour."""
    return EnrolmentToken(nodes.invite(call.app, call.who))


@router(
    "POST",
    "/nodes/enrol",
    "Enrol.",
    request=Enrol,
    answer=Enrolled,
    status=201,
    body=request_body.STRANGERS,
    roles=PUBLIC,
)
def enrol(call: ApiRequest) -> Enrolled:
    """Enrol a node; its enrolment token is used up."""
    wanted: Enrol = call.read(Enrol)
    check_name(wanted.name)
    return nodes.enrol(call.app, wanted.token, wanted.name, wanted.protocol)


def _proves_a_node(app: App, headers: Mapping[str, str]) -> bool:
    """Whether the head holds a node's guid and secret as basic credentials."""
    kind, _, said = headers.get("authorization", "").strip().partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        guid, _, secret = base64.b64decode(said, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return nodes.is_enrolled(app, Enrolled(guid, secret))


@router(
    "POST",
    "/nodes/session",
    "Begin a session.",
    request=Session,
    answer=NodeSession,
    status=201,
    body=request_body.STRANGERS,
    vouched=(_proves_a_node, request_body.INVENTORY),
    roles=PUBLIC,
)
def open_session(call: ApiRequest) -> NodeSession:
    """Open a session for a new process of a node.

    If the head holds the node's guid and secret as basic credentials, the body may have 64 MiB of
    results.
    """
    try:
        wanted = msgspec.convert(call.parsed(), Session)
    except msgspec.ValidationError as error:
        raise Malformed(f"the body: {error}") from None
    for text in (wanted.guid, wanted.secret, wanted.version, *wanted.restoreRoots):
        if "\0" in text or len(text) > 1000:
            raise Malformed(
                "the body: a text is too long or holds a NUL character; shorten the text, or "
                "remove the NUL"
            )
    who = Enrolled(wanted.guid, wanted.secret)
    # This check only reads, so that a guessed secret delays no writer.
    if not nodes.is_enrolled(call.app, who):
        giving_up.refuse_secret(call.app, who.guid, who.secret)
        raise Unauthenticated("the node is not enrolled here, or its secret is wrong")
    roots, version = wanted.restoreRoots, wanted.version[:40]
    process = Process(version, roots, _revision(wanted))
    return node_tasks.open_session(call.app, who, process, wanted.done)


def _revision(wanted: Session) -> int:
    """The revision of the repository format that a process writes; the first releases send no
    revision.
    """
    if wanted.revision is None:
        return 1 if _FIRST_RELEASES.match(wanted.version) else REVISION
    return wanted.revision


@router(
    "GET",
    "/nodes/self/orders/{guid}",
    "The order of a task that the node took.",
    answer=WorkOrder,
    answer_schema=node_schemas.orders,
    roles=NODES,
)
def order(call: ApiRequest) -> WorkOrder:
    """The order of a task that the node took."""
    return node_tasks.order(call.app, call.node, call.guid)


@router(
    "GET",
    "/nodes/self/keys/{guid}",
    "The key of a repository.",
    answer=DestinationKeys,
    query=(Param("task", "A running task of the node that works on the destination.", GUID),),
    roles=NODES,
)
def key(call: ApiRequest) -> Reply:
    """The key of a destination's repository, and the secret settings of the destination."""
    task = query_params.guid(call, "task") or ""
    keys = node_tasks.destination_keys(call.app, call.node, call.guid, task)
    return Reply(keys, headers={"Cache-Control": "no-store"})


@router(
    "GET",
    "/nodes/self/pins/{guid}",
    "Attempts that still use a destination.",
    answer=str,
    many=True,
    roles=NODES,
)
def pins(call: ApiRequest) -> list[str]:
    """The attempts that still need their data on a destination."""
    return node_tasks.pins(call.app, call.node, call.guid)


@router(
    "POST",
    "/nodes/self/needed",
    "Names that are still needed.",
    request=list[str],
    answer=str,
    many=True,
    body=request_body.NODES,
    roles=NODES,
    examples=[["haulback-1"]],
)
def needed(call: ApiRequest) -> list[str]:
    """The names of attempts and checkpoints that tasks or backups still need."""
    names: list[str] = call.read(list[str])
    return node_tasks.needed(call.app, names)


@router(
    "GET",
    "/nodes/self/expected/{guid}",
    "Backups that a task must find.",
    answer=str,
    many=True,
    query=(Param("after", "Backups after this guid.", GUID),),
    roles=NODES,
)
def expected(call: ApiRequest) -> list[str]:
    """A page of the backups that a task must find, by guid, fixed when the node took it."""
    return node_tasks.expected(
        call.app, call.node, call.guid, query_params.guid(call, "after") or ""
    )


@router("GET", "/nodes/self/shares", "Mounts of the node.", answer=str, many=True, roles=NODES)
def shares(call: ApiRequest) -> list[str]:
    """The guids of the mounted backups of this node."""
    return nodes.mounts_of(call.app, call.node)


@router(
    "GET",
    "/nodes/self/shares/{guid}",
    "The order of a mount.",
    answer=WorkOrder,
    roles=NODES,
)
def share(call: ApiRequest) -> WorkOrder:
    """The order of a mount that should exist, in the form of a MOUNT task's order."""
    return node_tasks.share(call.app, call.node, call.guid)


@router(
    "POST",
    "/nodes/self/shares/{guid}/damage",
    "Damage that the readers of a mount have found.",
    request=MountDamage,
    status=204,
    body=request_body.DAMAGE,
    roles=NODES,
    examples=[{"reports": [{"destination": example.GUID, "objects": ["packs/ab/abcd"]}]}],
)
def mount_damage(call: ApiRequest) -> None:
    """Mark the locations of the mounted backup that lack data; a repeated report changes nothing.

    Reports of destinations without a location of the backup are ignored. A node may send 60 reports
    together, and then one in 10 seconds; the answer to any other is 429 with Retry-After.
    """
    met: MountDamage = call.read(MountDamage)
    mount_reports.damaged(call.app, call.node, call.guid, met.reports)


@router(
    "GET",
    "/nodes/self/questions",
    "File requests for the node.",
    answer=PendingRequest,
    many=True,
    waits=True,
    roles=NODES,
)
def pending_requests(call: ApiRequest) -> list[PendingRequest]:
    """A file request of a waiting user, sent again until the first piece of its answer arrives."""
    return call.app.node_requests.fetch(call.node.guid)


@router(
    "POST",
    "/nodes/self/answers/{guid}",
    "A piece of an answer.",
    answer=PieceReceipt,
    body=request_body.PIECES,
    query=(
        Param("part", "The number of the piece, from 0.", NUMBER),
        Param("last", "Whether the piece is the last.", FLAG),
        Param("failed", "Whether the piece is an error, in JSON.", FLAG),
    ),
    roles=NODES,
)
def answer(call: ApiRequest) -> PieceReceipt:
    """Add the bytes of the body to an answer; the node sends them again while the buffer is
    full.
    """
    number = query_params.number(call, "part", 1 << 31) or 0
    last, failed = query_params.flag(call, "last"), query_params.flag(call, "failed")
    error = call.body.decode(errors="replace") if failed else None
    part = AnswerPiece(number, b"" if failed else call.body, bool(last or failed), error)
    return PieceReceipt(call.app.node_requests.bring(call.node.guid, call.guid, part))


@router(
    "POST",
    "/nodes/self/abandoned",
    "Snapshots of failed attempts.",
    request=list[str],
    answer=str,
    many=True,
    body=request_body.NODES,
    roles=NODES,
    examples=[["haulback-1"]],
)
def abandoned(call: ApiRequest) -> list[str]:
    """Snapshots that failed attempts of this server left on their platforms."""
    names: list[str] = call.read(list[str])
    return node_tasks.abandoned(call.app, names)


@router(
    "PUT",
    "/nodes/self/staging",
    "Report the free staging space; counts as a heartbeat of the node.",
    request=Space,
    status=204,
    roles=NODES,
    examples=[{"totalSpace": 1073741824, "usedSpace": 1048576}],
)
def staging(call: ApiRequest) -> None:
    """Record that the node is alive, and the size and use of its staging area."""
    space: Space = call.read(Space)
    if not 0 <= space.usedSpace <= space.totalSpace:
        raise Malformed("usedSpace: send a number from 0 to totalSpace", field="usedSpace")
    nodes.report_staging(call.app, call.node, space.totalSpace, space.usedSpace)
