"""A new password for a user, set in the database on the server's own machine."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path

from haulback.clock import SystemClock
from haulback.errors import Conflict, NotFound
from haulback.server.store import accounts, audit, schema
from haulback.server.store.engine import Connection, Store, amend, sqlite_url

_FIRST = "admin"


def reset(data: Path, database: str, login: str, password: str | None = None) -> str:
    """Set the password of a user, end the user's logins, and return the password.

    Without `password` a password is generated.  A lost `admin` is created again.  Raises NotFound
    for an unknown login or database, Conflict for a database of another version.
    """
    wanted = password or secrets.token_urlsafe(12)
    stored = accounts.hashed(wanted)
    with closing(amend(database or sqlite_url(data))) as store:
        _check_version(store)
        with store.write() as sql:
            account, _ = accounts.stored_password(sql, login)
            if account:
                accounts.change_account(sql, account, stored)
            elif login == _FIRST:
                accounts.set_password(sql, login, wanted)
            else:
                raise NotFound(f"there is no user {login!r}; the users are {_logins(sql)}")
            now = SystemClock().now_ms()
            trail = (account.guid if account else login, None, None)
            audit.write(sql, now, ("", "the server's machine"), "reset password", trail)
    return wanted


def _check_version(store: Store) -> None:
    with store.read() as sql:
        found = schema.schema_of(sql)
    if found != schema.known_schemas()[0]:
        raise Conflict(
            "this database was not made by this version of Haulback: start the server once, then "
            "try again"
        )


def _logins(sql: Connection) -> str:
    return ", ".join(account.login for account in accounts.accounts(sql)[:20]) or "none"
