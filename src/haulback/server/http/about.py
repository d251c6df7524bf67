"""The server about itself: health, the OpenAPI document and a page to read it."""

from __future__ import annotations

from typing import Any

from haulback.errors import Unavailable
from haulback.server import own_key
from haulback.server.http.operation import Call, Reply, Room

room = Room()


@room("GET", "/livez", "Whether the process answers.", answer=dict[str, str])
def alive(call: Call) -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@room("GET", "/readyz", "Whether database and server key serve too.", answer=dict[str, str])
def ready(call: Call) -> dict[str, str]:
    """The database answers, and the server key opens what the database seals; 503 otherwise."""
    if why := own_key.trouble(call.app.vault, call.app.store):
        raise Unavailable(why)
    return {"status": "ok"}


@room("GET", "/openapi.json", "The OpenAPI 3.1 document.", answer=dict[str, Any])
def openapi(call: Call) -> dict[str, Any]:
    """What this API can do, for machines."""
    from haulback.server.http import openapi as made
    from haulback.server.http.site import operations

    return made.document(operations(call.app))


@room("GET", "/docs", "The same for people, offline.", answer=None)
def docs(call: Call) -> Reply:
    """What this API can do, for people."""
    from haulback.server.http import openapi as made
    from haulback.server.http.site import operations

    return Reply(raw=(made.page(operations(call.app)).encode(), "text/html; charset=utf-8"))
