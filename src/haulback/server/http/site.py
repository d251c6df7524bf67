"""All routes, below /api and at the root, with the rules that hold for every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Response, get
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Receive, Scope, Send

from haulback.errors import HaulbackError
from haulback.server.app import App
from haulback.server.http import inventory, nodes, reports, session, tasks
from haulback.server.http.answers import answer, crashed, failed, refused
from haulback.server.http.callers import PUBLIC, Call, app_of, guard
from haulback.server.http.threads import threaded

_BODY_LIMIT = 64 * 1024 * 1024  # a full inventory of a large site


@get("/livez", opt=PUBLIC, sync_to_thread=False)
def alive() -> Response[bytes]:
    """The process answers."""
    return answer({"status": "ok"})


@get("/readyz", opt=PUBLIC)
@threaded
def ready(request: Call) -> Response[bytes]:
    """The database answers too."""
    with app_of(request).store.read() as sql:
        sql.exec_driver_sql("SELECT 1")
    return answer({"status": "ok"})


def site(app: App, origins: Sequence[str] = ()) -> ASGIApp:
    """The web application; `origins` are other sites whose pages may use it."""
    made = Litestar(
        [alive, ready, *_routes(app)],
        state=State({"haulback": app}),
        guards=[guard],
        cors_config=_cors(origins),
        exception_handlers={
            HaulbackError: failed,
            HTTPException: refused,
            Exception: crashed,
        },
        request_max_body_size=_BODY_LIMIT,
        openapi_config=None,
        logging_config=None,
    )

    async def below_api_too(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith("/api/"):
            scope["path"] = path.removeprefix("/api")
            scope["raw_path"] = scope["path"].encode()
        await made(scope, receive, send)

    return below_api_too


def _routes(app: App) -> list[Any]:
    rooms = (session.ROUTES, nodes.ROUTES, inventory.ROUTES, reports.ROUTES)
    return [*(route for room in rooms for route in room), *tasks.routes(app.kinds)]


def _cors(origins: Sequence[str]) -> CORSConfig | None:
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_credentials=True,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["content-type", "x-csrftoken", "authorization"],
        expose_headers=["X-Total-Count", "Content-Disposition"],
    )
