"""Accounts, logins, API tokens, and the audit log."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from haulback.contract.audit import AuditEntry
from haulback.contract.losses import Losses
from haulback.contract.roles import ADMINISTRATOR
from haulback.errors import Conflict, NotFound
from haulback.server.caller import API_TOKEN, Account, ApiToken, Caller
from haulback.server.services.app import App
from haulback.server.services.losses import Tally
from haulback.server.store import accounts, audit
from haulback.server.store.engine import Connection


def account_of_token(app: App, token: str) -> tuple[Account, bool] | None:
    """The account of a login or an API token, and whether the token is an API token."""
    is_api_token = token.startswith(API_TOKEN)
    find = accounts.account_of_api_token if is_api_token else accounts.account_of
    with app.store.read() as sql:
        account = find(sql, token, app.clock.now_ms())
    return (account, is_api_token) if account else None


def log_in(app: App, login: str, password: str, address: str) -> tuple[Account, str]:
    """The account and a session token.  Raises Unauthenticated, TooMany."""
    account = app.login_limiter.enter(app.store, login, password, address)
    with app.store.write() as sql:
        return account, accounts.log_in(sql, account, app.clock.now_ms())


def log_out(app: App, who: Caller, token: str) -> None:
    """End the session of a token."""
    with app.change(who, "log out") as change:
        accounts.log_out(change.sql, token)


def all_users(app: App) -> list[Account]:
    """All accounts, by login."""
    with app.store.read() as sql:
        return accounts.accounts(sql)


def user(app: App, guid: str) -> Account:
    """An account by its guid.  Raises NotFound."""
    with app.store.read() as sql:
        return accounts.one_account(sql, guid)


def hashed(app: App, password: str, address: str) -> str:
    """The hash of a password, computed outside transactions because it is slow on purpose."""
    return app.login_limiter.hashing.run(lambda: accounts.hashed(password), address)


def add_user(app: App, who: Caller, account: Account, password: str) -> None:
    """Add an account with its hashed password.  Raises Conflict for a taken login."""
    with app.change(who, "add user", account.guid) as change:
        accounts.add_account(change.sql, account, password)
        change.after = account


def change_user(
    app: App, who: Caller, guid: str, edit: Callable[[Account], None], password: str | None
) -> Account:
    """Apply `edit` to an account, set a new hashed password, and end the sessions of the account.

    Raises NotFound, the errors of `edit`, and Conflict for the last administrator.
    """
    with app.change(who, "change user", guid) as change:
        account = accounts.one_account(change.sql, guid)
        change.before = msgspec.structs.replace(account)
        edit(account)
        accounts.change_account(change.sql, account, password)
        _check_an_administrator_is_left(change.sql)
        change.after = account
    return account


def remove_user(app: App, who: Caller, guid: str) -> None:
    """Remove an account with its sessions and API tokens.  Raises NotFound, Conflict."""
    with app.change(who, "remove user", guid) as change:
        change.before = accounts.one_account(change.sql, guid)
        accounts.remove_account(change.sql, guid)
        _check_an_administrator_is_left(change.sql)


def _check_an_administrator_is_left(sql: Connection) -> None:
    administrators = [
        account for account in accounts.accounts(sql) if ADMINISTRATOR in account.roles
    ]
    if not any(one.projects is None for one in administrators):
        raise Conflict(
            "the last administrator of all projects must stay; add another administrator first"
        )


def api_tokens(app: App, who: Caller) -> list[ApiToken]:
    """The API tokens of the caller's account; all tokens for administrators.

    A narrowed caller sees only tokens for the caller's own projects.
    """
    with app.store.read() as sql:
        found = accounts.api_tokens(sql, _owner(who))
    return [token for token in found if _in_reach(who, token)]


def add_api_token(app: App, who: Caller, made: ApiToken, valid_ms: int | None) -> str:
    """Store an API token that expires after `valid_ms` milliseconds, or never; returns its
    secret.
    """
    with app.change(who, "add API token") as change:
        made.created = change.now
        made.expires = change.now + valid_ms if valid_ms else None
        secret = accounts.add_api_token(change.sql, made)
        change.subject, change.after = made.guid, made
    return secret


def remove_api_token(app: App, who: Caller, guid: str) -> None:
    """Revoke an API token.  Raises NotFound, also for a token that the caller may not see."""
    with app.change(who, "remove API token", guid) as change:
        for token in accounts.api_tokens(change.sql, _owner(who)):
            if token.guid == guid and not _in_reach(who, token):
                raise NotFound(f"there is no API token {guid}", guid=guid)
        accounts.remove_api_token(change.sql, guid, _owner(who))


def token_losses(app: App, who: Caller, guid: str) -> Losses:
    """The API token that a removal revokes, if the caller may see the token."""
    tally = Tally()
    for token in api_tokens(app, who):
        if token.guid == guid:
            tally.item("token", "revoked", guid, token.name)
    return tally.losses


def _owner(who: Caller) -> str | None:
    """The account whose tokens a caller may see; None for an administrator of all projects."""
    return None if ADMINISTRATOR in who.roles and who.scope.is_whole else who.guid


def _in_reach(who: Caller, token: ApiToken) -> bool:
    """Whether a token of the caller's account is within the caller's projects."""
    listed, account = who.scope.listed, who.account
    if listed is None:
        return True
    projects = token.projects
    if projects is None and account is not None:
        projects = account.projects
    return projects is not None and set(projects) <= listed


def audit_log(app: App, subject: str | None, before: int | None, size: int) -> list[AuditEntry]:
    """The newest entries of the audit log, about one object or all, older than `before`."""
    with app.store.read() as sql:
        return audit.read(sql, subject, before, size)
