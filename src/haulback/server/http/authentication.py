"""Authentication of callers: users by cookie or bearer token, programs and nodes by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie

from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import NODE, NODES, PUBLIC, Roles
from haulback.errors import Forbidden, Unauthenticated
from haulback.server import caller
from haulback.server.caller import Caller
from haulback.server.http.operation import Operation
from haulback.server.http.query_params import project
from haulback.server.services import giving_up, nodes, users
from haulback.server.services.app import App

COOKIE = "haulback"
NOBODY = Caller("", "nobody", frozenset())


def token_of(headers: Mapping[str, str]) -> str | None:
    """The token of a request; Authorization may hold a token without a scheme."""
    said = headers.get("authorization", "").strip()
    kind, _, token = said.partition(" ")
    if kind.lower() == "bearer" and token:
        return token.strip()
    if said and " " not in said:
        return said
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie else None


def check_origin(operation: Operation, headers: Mapping[str, str], origins: Sequence[str]) -> None:
    """Refuse writes that a page of another site sends with a user's cookie.

    Raises Forbidden.
    """
    origin = headers.get("origin")
    if operation.method == "GET" or origin is None or headers.get("authorization", "").strip():
        return
    own = origin.partition("://")[2] == headers.get("host")
    if not own and origin not in origins:
        raise Forbidden(
            f"pages of {origin[:100]} may not use this server; allow the site by --origin"
        )


def admit(
    app: App,
    operation: Operation,
    headers: Mapping[str, str],
    query: list[tuple[str, str]],
    token: str | None,
) -> Caller:
    """Return the caller if the operation admits this caller.  Raises Unauthenticated or
    Forbidden.
    """
    if operation.roles == PUBLIC:
        return NOBODY
    who = _identify(app, token, project(query, headers.get("3rd-party-project")))
    if not who.roles & operation.roles:
        raise Forbidden(_why(who, operation.roles))
    if not who.scope.is_whole and operation.access is ProjectAccess.WHOLE:
        raise Forbidden(
            "the operation concerns all projects; use an account and a token of all "
            "projects, without project-uuid and 3rd-party-project"
        )
    if who.node:
        who.node.attempt = _attempt(query)
    return who


def _identify(app: App, token: str | None, wanted: str | None) -> Caller:
    if not token:
        raise Unauthenticated("log in first (POST /api/session/login)")
    if token.startswith(caller.NODE_TOKEN):
        if node := nodes.node_of_token(app, token):
            return caller.mover(node)
        giving_up.refuse_token(app, token)
    elif known := users.account_of_token(app, token):
        account, by_program = known
        return caller.person(account, wanted, by_program=by_program)
    raise Unauthenticated("the token is unknown or expired; log in again (POST /session/login)")


def _why(who: Caller, allowed: Roles) -> str:
    if who.node:
        return "the operation is for users, not for nodes; log in as a user"
    if allowed == NODES:
        return "the operation is only for the node that runs the task"
    people = sorted(allowed - {NODE})
    return f"this operation needs one of the roles {', '.join(people)}; ask an administrator"


def _attempt(query: list[tuple[str, str]]) -> int | None:
    """A node may start a task again in a new process; reports of an earlier attempt must not
    count.
    """
    said = next((value for name, value in query if name == "attempt"), "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else None
