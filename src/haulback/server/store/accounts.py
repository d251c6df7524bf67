"""Accounts, logins and API tokens.  The database holds only hashes of tokens."""

from __future__ import annotations

import hashlib
import secrets

import msgspec
import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from haulback.errors import Conflict, NotFound
from haulback.ids import new_guid
from haulback.server.caller import API_TOKEN, USER_TOKEN, Account, ApiToken
from haulback.server.store.expressions import Row
from haulback.server.store.raw_sql import Statement
from haulback.server.store.tables import account, api_token, login
from haulback.wire import JsonObject

LOGIN_MS = 12 * 3_600_000  # a login ends after twelve hours
_EVERYTHING = "administrator"  # this role has the rights of all other user roles
_BY_LOGIN = Statement(
    "SELECT account.guid, account.login, account.roles, account.projects, account.time_zone "
    "FROM login JOIN account ON account.guid = login.account "
    "WHERE login.token = :token AND login.expires > :now"
)
_HASHER = PasswordHasher()
# The hash of a discarded random password, with the hasher's present parameters: refusing an unknown
# login takes the same time.  Hashing at import would add 0.1 s to each start.
_NOBODY = (
    "$argon2id$v=19$m=65536,t=3,p=4$8GPSPNp30qAXjKj5frbNIg$M4Nwhl"
    "GxSJDk/pXZx9O/zQeiMVFoJ7nKcdSk5tutN80"
)


def set_password(sql: sa.Connection, name: str, password: str) -> None:
    """Set the password of an account; a missing account is created as an administrator."""
    done = sql.execute(
        sa.update(account).where(account.c.login == name).values(password=hashed(password))
    )
    if done.rowcount == 0:
        add_account(sql, Account(new_guid(), name), hashed(password))


def hashed(password: str) -> str:
    """The hash of a password, slow on purpose."""
    return _HASHER.hash(password)


def add_account(sql: sa.Connection, who: Account, stored: str) -> None:
    """Add an account with its hashed password.  Raises Conflict for a login in use."""
    if sql.scalar(sa.select(account.c.guid).where(account.c.login == who.login)):
        raise Conflict(
            f"login: {who.login!r} is taken by another user; choose another login", field="login"
        )
    sql.execute(sa.insert(account).values(**_account_row(who), password=stored))


def change_account(sql: sa.Connection, who: Account, stored: str | None) -> None:
    """Write an account, and end its sessions."""
    values = _account_row(who)
    values |= {"password": stored} if stored else {}
    sql.execute(sa.update(account).where(account.c.guid == who.guid).values(values))
    sql.execute(sa.delete(login).where(login.c.account == who.guid))


def remove_account(sql: sa.Connection, guid: str) -> None:
    """Delete an account with its sessions and API tokens."""
    sql.execute(sa.delete(account).where(account.c.guid == guid))


def accounts(sql: sa.Connection) -> list[Account]:
    """All accounts, ordered by login."""
    return [_account(row) for row in sql.execute(sa.select(account).order_by(account.c.login))]


def one_account(sql: sa.Connection, guid: str) -> Account:
    """An account by its guid.  Raises NotFound."""
    row = sql.execute(sa.select(account).where(account.c.guid == guid)).one_or_none()
    if row is None:
        raise NotFound(f"there is no user {guid}", guid=guid)
    return _account(row)


def has_accounts(sql: sa.Connection) -> bool:
    return sql.scalar(sa.select(account.c.guid).limit(1)) is not None


def stored_password(sql: sa.Connection, name: str) -> tuple[Account | None, str]:
    """An account by its login, and the hash of its password."""
    row = sql.execute(sa.select(account).where(account.c.login == name)).one_or_none()
    return (_account(row), row.password) if row else (None, _NOBODY)


def check_password(stored: str, password: str) -> bool:
    """Compare a password with a hash; unknown logins take the same time."""
    try:
        return _HASHER.verify(stored, password)
    except (Argon2Error, InvalidHashError):
        return False


def log_in(sql: sa.Connection, who: Account, now: int) -> str:
    """Start a session of an account, and return its token."""
    token = USER_TOKEN + secrets.token_urlsafe(32)
    sql.execute(sa.delete(login).where(login.c.expires < now))
    row = {"token": digest(token), "account": who.guid, "expires": now + LOGIN_MS}
    sql.execute(sa.insert(login).values(row))
    return token


def log_out(sql: sa.Connection, token: str) -> None:
    sql.execute(sa.delete(login).where(login.c.token == digest(token)))


def account_of(sql: sa.Connection, token: str, now: int) -> Account | None:
    """The account of a login, None for an unknown or expired token."""
    row = _BY_LOGIN.row(sql, token=digest(token), now=now)
    if row is None:
        return None
    guid, name, roles, projects, zone = row
    mine = msgspec.json.decode(projects) if projects is not None else None
    return Account(guid, name, msgspec.json.decode(roles), mine, zone)


def add_api_token(sql: sa.Connection, made: ApiToken) -> str:
    """Add an API token, and return its secret, which only this answer shows."""
    token = API_TOKEN + secrets.token_urlsafe(32)
    projects = None if made.projects is None else _json(made.projects)
    row = {**msgspec.structs.asdict(made), "roles": _json(made.roles), "projects": projects}
    sql.execute(sa.insert(api_token).values({**row, "token": digest(token)}))
    return token


def api_tokens(sql: sa.Connection, owner: str | None) -> list[ApiToken]:
    """The API tokens of an account, or of all accounts."""
    query = sa.select(api_token).order_by(api_token.c.name, api_token.c.guid)
    if owner:
        query = query.where(api_token.c.account == owner)
    return [_api_token(row) for row in sql.execute(query)]


def remove_api_token(sql: sa.Connection, guid: str, owner: str | None) -> None:
    """Delete an API token.  Raises NotFound, with `owner` also for the token of another account."""
    where = [api_token.c.guid == guid] + ([api_token.c.account == owner] if owner else [])
    if sql.execute(sa.delete(api_token).where(*where)).rowcount != 1:
        raise NotFound(f"there is no API token {guid}", guid=guid)


def account_of_api_token(sql: sa.Connection, token: str, now: int) -> Account | None:
    """The account of an API token, with the roles and projects that account and token share."""
    granted = (api_token.c.roles.label("granted"), api_token.c.projects.label("within"))
    query = sa.select(account, *granted, api_token.c.expires).join(api_token)
    row = sql.execute(query.where(api_token.c.token == digest(token))).one_or_none()
    if row is None or (row.expires is not None and row.expires <= now):
        return None
    result = _account(row)
    given = msgspec.json.decode(row.granted)
    mine = given if _EVERYTHING in result.roles else result.roles
    result.roles = [role for role in given if role in mine]
    result.projects = _within(result.projects, row.within and msgspec.json.decode(row.within))
    return result


def _within(account: list[str] | None, token: list[str] | None) -> list[str] | None:
    """The projects that account and token have in common; None stands for all."""
    if account is None or token is None:
        return token if account is None else account
    return [project for project in account if project in token]


def digest(token: str) -> str:
    """The hash of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _account_row(who: Account) -> JsonObject:
    projects = None if who.projects is None else _json(who.projects)
    return {**msgspec.structs.asdict(who), "roles": _json(who.roles), "projects": projects}


def _account(row: Row) -> Account:
    projects = msgspec.json.decode(row.projects) if row.projects is not None else None
    roles = msgspec.json.decode(row.roles)
    return Account(row.guid, row.login, roles, projects, row.time_zone)


def _api_token(row: Row) -> ApiToken:
    roles = msgspec.json.decode(row.roles)
    projects = msgspec.json.decode(row.projects) if row.projects is not None else None
    return ApiToken(row.guid, row.name, row.account, roles, row.created, row.expires, projects)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
