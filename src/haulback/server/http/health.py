"""The server about itself: health, the OpenAPI document and a page to read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from haulback.server.http.operation import ApiRequest, Operation, Reply, Router
from haulback.server.services.app import App
from haulback.wire import dump

room = Router()


@room("GET", "/livez", "Whether the process answers.", answer=dict[str, str])
def alive(call: ApiRequest) -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@room("GET", "/readyz", "Whether the server can do its work.", answer=dict[str, str])
def ready(call: ApiRequest) -> dict[str, str]:
    """The database can be written, the server key opens it, and descriptors are left."""
    call.app.readiness.check()
    return {"status": "ok"}


@room("GET", "/openapi.json", "The OpenAPI 3.1 document.", answer=dict[str, Any])
def openapi(call: ApiRequest) -> Reply:
    """What this API can do, for machines."""
    from haulback.server.http.openapi import document

    return Reply(raw=(_made(call.app, lambda known: dump(document(known))), "application/json"))


@room("GET", "/docs", "The same for people, offline.", answer=None)
def docs(call: ApiRequest) -> Reply:
    """What this API can do, for people."""
    from haulback.server.http.openapi import page

    made = _made(call.app, lambda known: page(known).encode(), "page")
    return Reply(raw=(made, "text/html; charset=utf-8"))


def _made(app: App, make: Callable[[list[Operation]], bytes], name: str = "document") -> bytes:
    """A document, made once: anybody may ask for it without a login, as often as they like."""
    from haulback.server.http.routes import operations

    key = (name, *app.ways)
    if key not in app.documents:
        app.documents[key] = make(operations(app))
    return app.documents[key]
