"""Nodes and their sessions; the token of a session identifies the node and its process."""

from __future__ import annotations

import secrets

import msgspec
import sqlalchemy as sa

from haulback.contract.nodes import PROTOCOL, Enrolled
from haulback.errors import Conflict, NotFound, Unauthenticated
from haulback.ids import new_guid
from haulback.server.caller import NODE_TOKEN, Node, Process
from haulback.server.store import epoch, rows
from haulback.server.store.accounts import digest
from haulback.server.store.expressions import Row
from haulback.server.store.raw_sql import Statement
from haulback.server.store.tables import enrolment, node
from haulback.tasks.record import Task
from haulback.wire import Named

_NOT_INVITED = (
    "the enrolment token is unknown, used or expired: `haulback node token` prints a new one"
)


_COLUMNS = [n for n in Node.__struct_fields__ if n not in ("limits", "attempt")]
_BY_TOKEN = Statement(
    f"SELECT {', '.join(f'node.{name}' for name in _COLUMNS)}, record.body FROM node "
    "LEFT JOIN record ON record.guid = node.config WHERE node.token = :token"
)

_CONFIGS = Statement(
    "SELECT record.body, record.name, node.guid FROM record "
    "LEFT JOIN node ON node.config = record.guid WHERE record.kind = 'node-config'"
)


def invite(sql: sa.Connection, now: int, valid_ms: int = 3_600_000) -> str:
    """A token with which a single node enrols, once."""
    token = secrets.token_hex(24)  # usable in a command line, because it has no leading dash
    sql.execute(sa.insert(enrolment).values(token=digest(token), expires=now + valid_ms))
    return token


def check_invited(sql: sa.Connection, token: str, now: int) -> None:
    """Raises Unauthenticated for a token that is unknown, used or expired."""
    if sql.scalar(sa.select(enrolment.c.token).where(*_invitation(token, now))) is None:
        raise Unauthenticated(_NOT_INVITED)


def _invitation(token: str, now: int) -> tuple[sa.ColumnElement[bool], ...]:
    return enrolment.c.token == digest(token), enrolment.c.expires > now


def enrol(sql: sa.Connection, token: str, name: str, protocol: int, now: int) -> Enrolled:
    """Spend an enrolment token.

    Raises Unauthenticated, and Conflict for a name in use or an unsupported protocol version.
    """
    if protocol != PROTOCOL:
        raise Conflict(
            f"protocol: the node speaks version {protocol}, this server {PROTOCOL}; "
            "install the same Haulback on both",
            field="protocol",
        )
    if sql.execute(sa.delete(enrolment).where(*_invitation(token, now))).rowcount != 1:
        raise Unauthenticated(_NOT_INVITED)
    made = Enrolled(new_guid(), secrets.token_urlsafe(32))
    admit(sql, made, name, now)
    return made


def admit(sql: sa.Connection, who: Enrolled, name: str, now: int) -> None:
    """Enrol a node with the identity that it sends; a repetition is no error.

    Raises Conflict if another node has the name.
    """
    if sql.scalar(sa.select(node.c.guid).where(node.c.guid == who.guid)):
        return
    if sql.scalar(sa.select(node.c.guid).where(node.c.name == name)):
        raise Conflict(f"a node named {name!r} is enrolled already; choose another name")
    sql.execute(
        sa.insert(node).values(
            guid=who.guid,
            name=name,
            secret=digest(who.secret),
            version="",
            created=now,
            staging_total=0,
            staging_used=0,
            restore_roots="[]",
            protocol=PROTOCOL,
        )
    )


def is_enrolled(sql: sa.Connection, who: Enrolled) -> bool:
    """Whether a node with this guid has this secret."""
    stored = sql.scalar(sa.select(node.c.secret).where(node.c.guid == who.guid))
    return stored is not None and secrets.compare_digest(stored, digest(who.secret))


def open_session(
    sql: sa.Connection, who: Enrolled, process: Process, now: int
) -> tuple[str, str, str | None]:
    """Open the session of a node's new process; returns the session, its token, and the fenced
    session.

    Raises Unauthenticated.
    """
    row = sql.execute(sa.select(node).where(node.c.guid == who.guid).with_for_update()).first()
    if row is None or not secrets.compare_digest(row.secret, digest(who.secret)):
        raise Unauthenticated("the node is not enrolled here, or its secret is wrong")
    roots = msgspec.json.encode(process.restore_roots).decode()
    said = {"version": process.version, "revision": process.revision, "restore_roots": roots}
    session, token = _renew(sql, who.guid, seen=now, **said)
    return session, token, row.session


def renew(sql: sa.Connection, guid: str) -> tuple[str, str | None]:
    """Make a token for a node that opens no session; returns the token and the fenced session."""
    old = sql.scalar(sa.select(node.c.session).where(node.c.guid == guid).with_for_update())
    return _renew(sql, guid)[1], old


def _renew(sql: sa.Connection, guid: str, **values: object) -> tuple[str, str]:
    # The first digits of a session are the epoch, as in the numbers of attempts.
    session = f"{epoch.current(sql):08x}{new_guid()[8:]}"
    token = NODE_TOKEN + secrets.token_urlsafe(32)
    values |= {"session": session, "token": digest(token)}
    sql.execute(sa.update(node).where(node.c.guid == guid).values(values))
    return session, token


def node_of(sql: sa.Connection, token: str) -> Node | None:
    """The node of a session token, None for a token that is unknown or was replaced."""
    row = _BY_TOKEN.row(sql, token=digest(token))
    if row is None:
        return None
    *values, body = row
    found = dict(zip(_COLUMNS, values, strict=True))
    found["restore_roots"] = msgspec.json.decode(found["restore_roots"])
    limits = msgspec.json.decode(body).get("limits", {}) if body else {}
    return Node(**found, limits=limits)


def digests(sql: sa.Connection, guid: str) -> tuple[str, str | None]:
    """The digests of a node's secret and of its session token."""
    row = sql.execute(sa.select(node.c.secret, node.c.token).where(node.c.guid == guid)).one()
    return row.secret, row.token


def one_node(sql: sa.Connection, guid: str) -> Node:
    """A node by its guid.  Raises NotFound."""
    row = sql.execute(sa.select(node).where(node.c.guid == guid)).one_or_none()
    if row is None:
        raise NotFound(f"there is no node {guid}", guid=guid)
    return _node(row)


def change_node(sql: sa.Connection, guid: str, name: str, config: str | None) -> None:
    """Write a node.  Raises Conflict for a name in use."""
    taken = sa.select(node.c.guid).where(node.c.name == name, node.c.guid != guid)
    if sql.scalar(taken):
        raise rows.taken(name, "node")
    sql.execute(sa.update(node).where(node.c.guid == guid).values(name=name, config=config))


def remove_node(sql: sa.Connection, guid: str) -> None:
    """Delete a node, which invalidates its token and its secret."""
    sql.execute(sa.delete(node).where(node.c.guid == guid))


def seen(sql: sa.Connection, guid: str, now: int, total: int, used: int) -> None:
    """Record that a node is alive, and the size and use of its staging area in bytes."""
    values = {"seen": now, "staging_total": total, "staging_used": used}
    sql.execute(sa.update(node).where(node.c.guid == guid).values(values))


def nodes(sql: sa.Connection) -> list[Node]:
    """All nodes, ordered by name; their number is small."""
    return [_node(row) for row in sql.execute(sa.select(node).order_by(node.c.name))]


def windows(sql: sa.Connection) -> dict[str, dict[str, int]]:
    """Start windows in ms by node and kind; under "" the windows of the `default` configuration."""
    found: dict[str, dict[str, int]] = {}
    for body, name, guid in _CONFIGS.rows(sql):
        lengths = dict(msgspec.json.decode(body).get("windows", {}))
        if guid:
            found[guid] = lengths
        if name == "default":
            found[""] = lengths
    return found


def _node(row: Row) -> Node:
    values = {str(k): v for k, v in row._mapping.items() if k in Node.__struct_fields__}
    roots = msgspec.json.decode(values["restore_roots"])
    return msgspec.convert({**values, "restore_roots": roots}, Node)


def with_node_name(sql: sa.Connection, task: Task) -> Task:
    """The task with its node as a reference."""
    return with_node_names(sql, [task])[0]


def with_node_names(sql: sa.Connection, result: list[Task]) -> list[Task]:
    """The tasks with their nodes as references, by one query."""
    unnamed = [task for task in result if task.node and "node" not in task.refs]
    if unnamed:
        query = sa.select(node.c.guid, node.c.name)
        rows = sql.execute(query.where(node.c.guid.in_({task.node for task in unnamed})))
        names = {row.guid: row.name for row in rows}
        for task in unnamed:
            guid = str(task.node)
            task.refs["node"] = Named(guid, names.get(guid) or "a removed node")
    return result
