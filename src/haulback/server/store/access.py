"""Who may ask: accounts and logins, nodes and sessions.  Of tokens only hashes are stored."""

from __future__ import annotations

import hashlib
import secrets

import msgspec
import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from haulback.errors import Conflict, Unauthenticated
from haulback.ids import new_guid
from haulback.server.store.tables import account, enrolment, login, node

LOGIN_MS = 12 * 3_600_000
_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody has this password")


class Account(msgspec.Struct):
    """Somebody with a password."""

    guid: str
    login: str


class Node(msgspec.Struct):
    """A data mover as the server knows it; `session` is that of its present process."""

    guid: str
    name: str
    session: str | None
    version: str
    seen: int | None
    staging_total: int
    staging_used: int
    restore_roots: list[str]
    attempt: int | None = None  # for which it speaks in the call at hand, if it says so


class Enrolled(msgspec.Struct):
    """What a node keeps to open sessions with."""

    guid: str
    secret: str


def set_password(sql: sa.Connection, name: str, password: str) -> None:
    """Make the account, or give it another password."""
    hashed = _HASHER.hash(password)
    done = sql.execute(sa.update(account).where(account.c.login == name).values(password=hashed))
    if done.rowcount == 0:
        row = {"guid": new_guid(), "login": name, "password": hashed}
        sql.execute(sa.insert(account).values(row))


def has_accounts(sql: sa.Connection) -> bool:
    return sql.scalar(sa.select(account.c.guid).limit(1)) is not None


def check_password(sql: sa.Connection, name: str, password: str) -> Account:
    """Raises Unauthenticated, after the same time whether the name is known or not."""
    row = sql.execute(sa.select(account).where(account.c.login == name)).one_or_none()
    try:
        _HASHER.verify(row.password if row else _NOBODY, password)
    except (Argon2Error, InvalidHashError):
        row = None
    if row is None:
        raise Unauthenticated("login or password is wrong")
    return Account(row.guid, row.login)


def log_in(sql: sa.Connection, who: Account, now: int) -> str:
    """A token for further calls."""
    token = secrets.token_urlsafe(32)
    sql.execute(sa.delete(login).where(login.c.expires < now))
    row = {"token": _hash(token), "account": who.guid, "expires": now + LOGIN_MS}
    sql.execute(sa.insert(login).values(row))
    return token


def log_out(sql: sa.Connection, token: str) -> None:
    sql.execute(sa.delete(login).where(login.c.token == _hash(token)))


def account_of(sql: sa.Connection, token: str, now: int) -> Account | None:
    """Whose token it is, if anybody's."""
    query = sa.select(account.c.guid, account.c.login).join(login)
    query = query.where(login.c.token == _hash(token), login.c.expires > now)
    row = sql.execute(query).one_or_none()
    return Account(row.guid, row.login) if row else None


def invite(sql: sa.Connection, now: int, valid_ms: int = 3_600_000) -> str:
    """A token with which one node enrols, once."""
    token = secrets.token_hex(24)  # may stand in a command line: no leading dash
    sql.execute(sa.insert(enrolment).values(token=_hash(token), expires=now + valid_ms))
    return token


def enrol(sql: sa.Connection, token: str, name: str, now: int) -> Enrolled:
    """Use up an invitation.  Raises Unauthenticated, or Conflict for a taken name."""
    where = (enrolment.c.token == _hash(token), enrolment.c.expires > now)
    if sql.execute(sa.delete(enrolment).where(*where)).rowcount != 1:
        raise Unauthenticated("the enrolment token is unknown, used or expired; ask for a new one")
    made = Enrolled(new_guid(), secrets.token_urlsafe(32))
    admit(sql, made, name, now)
    return made


def admit(sql: sa.Connection, who: Enrolled, name: str, now: int) -> None:
    """Make a node known that brings its own identity; twice is fine.

    Raises Conflict when another node has the name.
    """
    if sql.scalar(sa.select(node.c.guid).where(node.c.guid == who.guid)):
        return
    if sql.scalar(sa.select(node.c.guid).where(node.c.name == name)):
        raise Conflict(f"a node named {name!r} is enrolled already; choose another name")
    sql.execute(
        sa.insert(node).values(
            guid=who.guid,
            name=name,
            secret=_hash(who.secret),
            version="",
            created=now,
            staging_total=0,
            staging_used=0,
            restore_roots="[]",
        )
    )


def open_session(
    sql: sa.Connection, who: Enrolled, version: str, restore_roots: list[str], now: int
) -> tuple[str, str, str | None]:
    """A new process of a node speaks: its session, its token, and the session this one fences.

    Raises Unauthenticated.
    """
    row = sql.execute(sa.select(node).where(node.c.guid == who.guid).with_for_update()).first()
    if row is None or not secrets.compare_digest(row.secret, _hash(who.secret)):
        raise Unauthenticated("the node is not enrolled here, or its secret is wrong")
    session, token = new_guid(), secrets.token_urlsafe(32)
    values = {
        "session": session,
        "token": _hash(token),
        "version": version,
        "seen": now,
        "restore_roots": msgspec.json.encode(restore_roots).decode(),
    }
    sql.execute(sa.update(node).where(node.c.guid == who.guid).values(values))
    return session, token, row.session


def node_of(sql: sa.Connection, token: str) -> Node | None:
    """Whose session token it is, if anybody's: a newer session's token replaces the old one."""
    row = sql.execute(sa.select(node).where(node.c.token == _hash(token))).one_or_none()
    return _node(row) if row else None


def seen(sql: sa.Connection, guid: str, now: int, total: int, used: int) -> None:
    """A node says that it lives and how full its staging area is, bytes."""
    values = {"seen": now, "staging_total": total, "staging_used": used}
    sql.execute(sa.update(node).where(node.c.guid == guid).values(values))


def nodes(sql: sa.Connection) -> list[Node]:
    """All of them, by name; there are never many."""
    return [_node(row) for row in sql.execute(sa.select(node).order_by(node.c.name))]


def _node(row: sa.Row[tuple[object, ...]]) -> Node:
    values = {str(k): v for k, v in row._mapping.items() if k in Node.__struct_fields__}
    roots = msgspec.json.decode(values["restore_roots"])
    return msgspec.convert({**values, "restore_roots": roots}, Node)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
