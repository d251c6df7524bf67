"""Nodes: how people see and enrol them, and the channel that only they use."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from haulback.contract.nodes import (
    AnswerPiece,
    ChangedNode,
    Enrol,
    Enrolled,
    Invitation,
    NewNode,
    NodeRecord,
    NodeSession,
    PendingRequest,
    PieceTaken,
    Session,
    Space,
    WorkOrder,
)
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS, NODES, PEOPLE, PUBLIC
from haulback.contract.task_states import State
from haulback.errors import Conflict, Malformed, Unauthenticated
from haulback.ids import new_guid
from haulback.inventory.repository_revision import REVISION
from haulback.server.caller import SYSTEM
from haulback.server.http import node_schemas, query_params, request_body
from haulback.server.http.operation import FLAG, GUID, NUMBER, ApiRequest, Param, Reply, Router
from haulback.server.services import node_tasks
from haulback.server.services.app import App
from haulback.server.store import mounts, nodes, task_lifecycle
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.nodes import Node, Process
from haulback.texts import check_name
from haulback.wire import Named, label

_SILENT_MS = 90_000
room = Router()


_FIRST_RELEASES = re.compile(r"0\.1\.[0-9]+$")


@room(
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
    with call.app.store.read() as sql:
        found = nodes.nodes(sql)
    shown = [_record(one, call.app.clock.now_ms()) for one in found]
    return Reply(shown, headers={"X-Total-Count": str(len(shown))})


@room(
    "GET",
    "/nodes/{guid}",
    "One node.",
    answer=NodeRecord,
    roles=PEOPLE,
    projects=ProjectAccess.COMMON,
    command="node show NODE",
)
def one_node(call: ApiRequest) -> NodeRecord:
    """One node."""
    with call.app.store.read() as sql:
        return _record(nodes.one_node(sql, call.guid), call.app.clock.now_ms())


@room(
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
    """A node of somebody's own making: its token is all it needs for the task operations."""
    wanted: NewNode = call.read(NewNode)
    check_name(wanted.name)
    who = Enrolled(new_guid(), new_guid())
    with call.app.change(call.who, "add node", who.guid) as change:
        nodes.admit(change.sql, who, wanted.name, change.now)
        token, _ = nodes.renew(change.sql, who.guid)
        made = _record(nodes.one_node(change.sql, who.guid), change.now)
        change.after = msgspec.structs.replace(made)
    made.token = token
    return made


@room(
    "POST",
    "/nodes/{guid}/token",
    "A new token.",
    answer=NodeRecord,
    status=201,
    roles=ADMINS,
    command="node token OTHER",
)
def renew_token(call: ApiRequest) -> NodeRecord:
    """Another token for a node; what it ran under the old one is over."""
    with call.app.change(call.who, "renew node token", call.guid) as change:
        nodes.one_node(change.sql, call.guid)
        token, old = nodes.renew(change.sql, call.guid)
        node_tasks.give_up(call.app, change.sql, old, "its node got another token")
        made = _record(nodes.one_node(change.sql, call.guid), change.now)
    made.token = token
    return made


@room(
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
    with call.app.change(call.who, "change node", call.guid) as change:
        before = nodes.one_node(change.sql, call.guid)
        config = before.config
        if wanted.nodeConfig:
            known = SqlCatalogue(change.sql, call.who.scope)
            config = known.record("node-config", wanted.nodeConfig.guid).guid
        nodes.change_node(change.sql, call.guid, wanted.name or before.name, config)
        after = nodes.one_node(change.sql, call.guid)
        change.before, change.after = (
            {"name": one.name, "config": one.config} for one in (before, after)
        )
    return _record(after, call.app.clock.now_ms())


@room(
    "DELETE", "/nodes/{guid}", "Remove a node.", status=204, roles=ADMINS, command="node rm OTHER"
)
def remove_node(call: ApiRequest) -> None:
    """Its token is worth nothing any more.  409 while it runs tasks or something lies on it."""
    with call.app.change(call.who, "remove node", call.guid) as change:
        node = nodes.one_node(change.sql, call.guid)
        if node.session and task_lifecycle.of_session(change.sql, node.session):
            raise Conflict(f"{node.name} runs tasks; stop it or cancel them first")
        known = SqlCatalogue(change.sql)
        bound: list[Any] = [*known.hypervisors(), *known.destinations()]
        if names := [one.name for one in bound if one.node == node.guid]:
            raise Conflict(f"{', '.join(names[:5])} can be reached from {node.name} only")
        task_lifecycle.end_pinned(change.sql, call.app.life(change.sql), node.guid, State.FAILED)
        nodes.remove_node(change.sql, call.guid)
        change.before = {"name": node.name}


@room(
    "POST",
    "/nodes/enrolment",
    "Invite a node.",
    answer=Invitation,
    status=201,
    roles=ADMINS,
    command="node token",
)
def invite(call: ApiRequest) -> Invitation:
    """A token with which one node may enrol within the hour."""
    with call.app.change(call.who, "invite node") as change:
        return Invitation(nodes.invite(change.sql, change.now))


@room(
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
    """Use up an enrolment token."""
    wanted: Enrol = call.read(Enrol)
    check_name(wanted.name)
    with call.app.store.read() as sql:  # a stranger's guess makes no writer wait
        nodes.check_invited(sql, wanted.token, call.app.clock.now_ms())
    with call.app.change(SYSTEM, "enrol node") as change:
        made = nodes.enrol(change.sql, wanted.token, wanted.name, wanted.protocol, change.now)
        change.subject, change.after = made.guid, {"name": wanted.name}
        return made


def _proves_a_node(app: App, headers: Mapping[str, str]) -> bool:
    """Whether the head brings a node's guid and secret, as basic credentials."""
    kind, _, said = headers.get("authorization", "").strip().partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        guid, _, secret = base64.b64decode(said, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    with app.store.read() as sql:
        return nodes.is_enrolled(sql, Enrolled(guid, secret))


@room(
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
    """A node's process has started.

    Its guid and secret as basic credentials in the head let it bring up to 64 MiB of finished work.
    """
    try:
        wanted = msgspec.convert(call.parsed(), Session)
    except msgspec.ValidationError as error:
        raise Malformed(f"the body: {error}") from None
    for text in (wanted.guid, wanted.secret, wanted.version, *wanted.restoreRoots):
        if "\0" in text or len(text) > 1000:
            raise Malformed("the body: a text is too long or holds a NUL character")
    who = Enrolled(wanted.guid, wanted.secret)
    with call.app.store.read() as sql:  # a stranger's guess makes no writer wait
        if not nodes.is_enrolled(sql, who):
            raise Unauthenticated("the node is not enrolled here, or its secret is wrong")
    roots, version = wanted.restoreRoots, wanted.version[:40]
    process = Process(version, roots, _revision(wanted))
    return node_tasks.open_session(call.app, who, process, wanted.done)


def _revision(wanted: Session) -> int:
    """The revision that a process can write: the first releases did not say theirs."""
    if wanted.revision is None:
        return 1 if _FIRST_RELEASES.match(wanted.version) else REVISION
    return wanted.revision


@room(
    "GET",
    "/nodes/self/orders/{guid}",
    "What a taken task asks for.",
    answer=WorkOrder,
    answer_schema=node_schemas.orders,
    roles=NODES,
)
def order(call: ApiRequest) -> WorkOrder:
    """The exact order of a task that the node took."""
    return node_tasks.order(call.app, call.node, call.guid)


@room(
    "GET", "/nodes/self/keys/{guid}", "The key of a repository.", answer=dict[str, str], roles=NODES
)
def key(call: ApiRequest) -> Reply:
    """The key of a destination's repository."""
    found = node_tasks.repository_key(call.app, call.node, call.guid)
    return Reply({"key": base64.b64encode(found).decode()}, headers={"Cache-Control": "no-store"})


@room(
    "GET",
    "/nodes/self/pins/{guid}",
    "Attempts a destination must wait for.",
    answer=str,
    many=True,
    roles=NODES,
)
def pins(call: ApiRequest) -> list[str]:
    """Attempts that must not lose what they found on a destination."""
    return node_tasks.pins(call.app, call.node, call.guid)


@room(
    "POST",
    "/nodes/self/needed",
    "Which names are needed.",
    request=list[str],
    answer=str,
    many=True,
    body=request_body.NODES,
    roles=NODES,
    examples=[["haulback-1"]],
)
def needed(call: ApiRequest) -> list[str]:
    """Which of these names of attempts and checkpoints are still needed."""
    names: list[str] = call.read(list[str])
    return node_tasks.needed(call.app, names)


@room(
    "GET",
    "/nodes/self/expected/{guid}",
    "Backups that a task must find.",
    answer=str,
    many=True,
    query=(Param("after", "Those after this guid.", GUID),),
    roles=NODES,
)
def expected(call: ApiRequest) -> list[str]:
    """A page of the backups that were fixed when the task was taken, by guid."""
    return node_tasks.expected(
        call.app, call.node, call.guid, query_params.guid(call, "after") or ""
    )


@room("GET", "/nodes/self/shares", "What a node has to share.", answer=str, many=True, roles=NODES)
def shares(call: ApiRequest) -> list[str]:
    """The guids of the mounted backups of this node."""
    with call.app.store.read() as sql:
        return mounts.shared_by(sql, call.node.guid)


@room(
    "GET",
    "/nodes/self/shares/{guid}",
    "What one share is to show.",
    answer=WorkOrder,
    roles=NODES,
)
def share(call: ApiRequest) -> WorkOrder:
    """The order of a mount that should exist, as for the task that made it."""
    return node_tasks.share(call.app, call.node, call.guid)


@room(
    "GET",
    "/nodes/self/questions",
    "What a node is asked.",
    answer=PendingRequest,
    many=True,
    waits=True,
    roles=NODES,
)
def asked(call: ApiRequest) -> list[PendingRequest]:
    """A file request of a waiting user; repeated until the first piece of its answer comes."""
    return call.app.desk.fetch(call.node.guid)


@room(
    "POST",
    "/nodes/self/answers/{guid}",
    "A piece of an answer.",
    answer=PieceTaken,
    body=request_body.PIECES,
    query=(
        Param("part", "Which piece, from 0.", NUMBER),
        Param("last", "Whether it is the last.", FLAG),
        Param("failed", "Whether it is an error, in JSON.", FLAG),
    ),
    roles=NODES,
)
def answer(call: ApiRequest) -> PieceTaken:
    """The bytes in the body; without room for them they have to be brought again."""
    number = query_params.number(call, "part", 1 << 31) or 0
    last, failed = query_params.flag(call, "last"), query_params.flag(call, "failed")
    error = call.body.decode(errors="replace") if failed else None
    part = AnswerPiece(number, b"" if failed else call.body, bool(last or failed), error)
    return PieceTaken(call.app.desk.bring(call.node.guid, call.guid, part))


@room(
    "POST",
    "/nodes/self/abandoned",
    "Which snapshots nobody wants.",
    request=list[str],
    answer=str,
    many=True,
    body=request_body.NODES,
    roles=NODES,
    examples=[["haulback-1"]],
)
def abandoned(call: ApiRequest) -> list[str]:
    """Which of these snapshots were taken by attempts of ours that ended badly."""
    names: list[str] = call.read(list[str])
    return node_tasks.abandoned(call.app, names)


@room(
    "PUT",
    "/nodes/self/staging",
    "A sign of life.",
    request=Space,
    status=204,
    roles=NODES,
    examples=[{"totalSpace": 1073741824, "usedSpace": 1048576}],
)
def staging(call: ApiRequest) -> None:
    """A sign of life, and how full the staging area is."""
    space: Space = call.read(Space)
    if not 0 <= space.usedSpace <= space.totalSpace:
        raise Malformed("usedSpace: is between 0 and totalSpace", field="usedSpace")
    with call.app.store.write() as sql:
        now = call.app.clock.now_ms()
        nodes.seen(sql, call.node.guid, now, space.totalSpace, space.usedSpace)


def _record(one: Node, now: int) -> NodeRecord:
    lives = one.seen is not None and now - one.seen < _SILENT_MS
    return NodeRecord(
        guid=one.guid,
        name=one.name,
        version=one.version,
        state=label("ONLINE" if lives else "OFFLINE"),
        stagingSpace=Space(one.staging_total, one.staging_used),
        restoreRoots=one.restore_roots,
        protocol=one.protocol,
        lastSeen=one.seen,
        nodeConfig=Named(one.config) if one.config else None,
    )
