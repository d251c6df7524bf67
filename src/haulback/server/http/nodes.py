"""Nodes: how people see and enrol them, and the channel that only they use."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from litestar import Response, get, post, put
from litestar.params import FromPath, RawBody

from haulback.errors import Malformed
from haulback.ids import guid_of
from haulback.server import movers
from haulback.server.http.answers import answer, nothing
from haulback.server.http.callers import NODES, PUBLIC, Call, app_of, node
from haulback.server.http.threads import threaded
from haulback.server.store import access
from haulback.server.store.access import Enrolled, Node
from haulback.wire import label, parse, read
from haulback.wire import request as decode

_SILENT_MS = 90_000


class Enrol(msgspec.Struct):
    """What a new node brings."""

    token: str
    name: str


class Session(msgspec.Struct):
    """What a node's process brings."""

    guid: str
    secret: str
    version: str
    restoreRoots: list[str] = []  # noqa: N815 - as the contract spells
    done: list[movers.Done] = []


class Space(msgspec.Struct):
    """Bytes of the staging area."""

    totalSpace: int  # noqa: N815 - as the contract spells
    usedSpace: int  # noqa: N815


@get("/nodes")
@threaded
def list_nodes(request: Call) -> Response[bytes]:
    """All nodes."""
    app = app_of(request)
    with app.store.read() as sql:
        found = access.nodes(sql)
    return answer([_record(one, app.clock.now_ms()) for one in found])


@post("/nodes/enrolment")
@threaded
def invite(request: Call) -> Response[bytes]:
    """A token with which one node may enrol within the hour."""
    app = app_of(request)
    with app.store.write() as sql:
        token = access.invite(sql, app.clock.now_ms())
    return answer({"token": token}, 201)


@post("/nodes/enrol", opt=PUBLIC)
@threaded
def enrol(request: Call, body: RawBody) -> Response[bytes]:
    """Use up an enrolment token."""
    wanted, app = decode(body, Enrol), app_of(request)
    if not 0 < len(wanted.name) <= 200:
        raise Malformed("name: 1 to 200 characters", field="name")
    with app.store.write() as sql:
        made = access.enrol(sql, wanted.token, wanted.name, app.clock.now_ms())
    return answer(made, 201)


@post("/nodes/session", opt=PUBLIC)
@threaded
def open_session(request: Call, body: RawBody) -> Response[bytes]:
    """A node's process has started."""
    try:
        wanted = msgspec.convert(parse(body), Session)
    except msgspec.ValidationError as error:
        raise Malformed(f"the body: {error}") from None
    for text in (wanted.guid, wanted.secret, wanted.version, *wanted.restoreRoots):
        if "\0" in text or len(text) > 1000:
            raise Malformed("the body: a text is too long or holds a NUL character")
    who = Enrolled(wanted.guid, wanted.secret)
    opened = movers.open_session(
        app_of(request), who, wanted.version[:40], wanted.restoreRoots, wanted.done
    )
    return answer(opened, 201)


@get("/nodes/self/orders/{guid:str}", opt=NODES)
@threaded
def order(request: Call, guid: FromPath[str]) -> Response[bytes]:
    """What a task that the node took asks for exactly."""
    return answer(movers.order(app_of(request), node(request), guid_of(guid, "guid")))


@get("/nodes/self/keys/{guid:str}", opt=NODES)
@threaded
def key(request: Call, guid: FromPath[str]) -> Response[bytes]:
    """The key of a destination's repository."""
    found = movers.repository_key(app_of(request), node(request), guid_of(guid, "guid"))
    return answer({"key": base64.b64encode(found).decode()}, headers={"Cache-Control": "no-store"})


@post("/nodes/self/needed", opt=NODES)
@threaded
def needed(request: Call, body: RawBody) -> Response[bytes]:
    """Which of these names of attempts and checkpoints are still needed."""
    names: list[str] = read(parse(body), list[str], "")
    return answer(movers.needed(app_of(request), names))


@put("/nodes/self/staging", opt=NODES)
@threaded
def staging(request: Call, body: RawBody) -> Response[bytes]:
    """A sign of life, and how full the staging area is."""
    space, app = decode(body, Space), app_of(request)
    with app.store.write() as sql:
        now = app.clock.now_ms()
        access.seen(sql, node(request).guid, now, space.totalSpace, space.usedSpace)
    return nothing(204)


def _record(one: Node, now: int) -> dict[str, Any]:
    lives = one.seen is not None and now - one.seen < _SILENT_MS
    shown: dict[str, Any] = {
        "guid": one.guid,
        "name": one.name,
        "version": one.version,
        "state": label("ONLINE" if lives else "OFFLINE"),
        "stagingSpace": {"totalSpace": one.staging_total, "usedSpace": one.staging_used},
        "restoreRoots": one.restore_roots,
    }
    return shown | ({"lastSeen": one.seen} if one.seen is not None else {})


ROUTES: list[Any] = [list_nodes, invite, enrol, open_session, order, key, needed, staging]
