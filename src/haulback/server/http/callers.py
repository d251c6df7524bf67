"""Who is calling: people by cookie or bearer token, nodes by the bearer token of their session."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from haulback.errors import Forbidden, Unauthenticated
from haulback.server.app import App
from haulback.server.store import access
from haulback.server.store.access import Account, Node

COOKIE = "haulback"
Call = Request[Any, Any, Any]
PUBLIC: dict[str, Any] = {"for": "public"}
ANYBODY: dict[str, Any] = {"for": "both"}
NODES: dict[str, Any] = {"for": "nodes"}


def token_of(request: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """The token a request carries."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token:
        return token.strip()
    return request.cookies.get(COOKIE)


def app_of(request: ASGIConnection[Any, Any, Any, Any]) -> App:
    found: App = request.app.state["haulback"]
    return found


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Before every handler: people only, unless the handler's `opt` says otherwise.

    Raises Unauthenticated or Forbidden.
    """
    allowed = handler.opt.get("for", "people")
    if allowed == "public" or connection.scope.get("method") == "OPTIONS":
        return
    caller = await asyncio.to_thread(_identify, connection)
    if allowed == "people" and isinstance(caller, Node):
        raise Forbidden("a node may not do this; it is for people")
    if allowed == "nodes" and isinstance(caller, Account):
        raise Forbidden("only the node that runs a task may do this")
    if isinstance(caller, Node):
        caller.attempt = _attempt(connection)
    connection.scope["haulback"] = caller  # type: ignore[typeddict-unknown-key]


def _identify(connection: ASGIConnection[Any, Any, Any, Any]) -> Account | Node:
    token, app = token_of(connection), app_of(connection)
    if token:
        with app.store.read() as sql:
            found = access.account_of(sql, token, app.clock.now_ms()) or access.node_of(sql, token)
        if found:
            return found
    raise Unauthenticated("log in first (POST /api/session/login)")


def _attempt(connection: ASGIConnection[Any, Any, Any, Any]) -> int | None:
    """A node's process may run a task twice: late words of the first attempt must not count."""
    said = str(connection.query_params.get("attempt", ""))
    return int(said) if said.isascii() and said.isdigit() and len(said) < 10 else None


def caller(request: Call) -> Account | Node:
    """Who the guard let in."""
    found: Account | Node = request.scope["haulback"]  # type: ignore[typeddict-item]
    return found


def person(request: Call) -> Account:
    """The person, in a handler for people."""
    found = caller(request)
    assert isinstance(found, Account)
    return found


def node(request: Call) -> Node:
    """The node, in a handler for nodes."""
    found = caller(request)
    assert isinstance(found, Node)
    return found
