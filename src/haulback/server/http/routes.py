"""All routes, below /api and at the root, with the rules that apply to all operations."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from haulback.errors import HaulbackError, Malformed, TooMany
from haulback.server.caller import Caller
from haulback.server.http.authentication import admit, check_origin, token_of
from haulback.server.http.dry_run import carried_out
from haulback.server.http.error_fields import name_field
from haulback.server.http.operation import ApiRequest, Operation, path_guid
from haulback.server.http.operations import operations
from haulback.server.http.request_body import Bounds, check_values, read_body
from haulback.server.http.responses import WebRequest, answered, crashed, failed, refused
from haulback.server.services.app import App

_LONGEST_WAIT, _LOOK_AGAIN = 60.0, 20.0  # seconds between two queries
_HELD = 1.0  # seconds of delay for a client that repeats long polls too quickly
_POOL = ThreadPoolExecutor(max_workers=16, thread_name_prefix="http")
_SLOW = ThreadPoolExecutor(max_workers=16, thread_name_prefix="slow")


def site(app: App, origins: Sequence[str] = ()) -> ASGIApp:
    """The web application; `origins` are other sites whose pages may use it."""
    by_path: dict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in operations(app.ways):
        by_path[operation.path][operation.method] = operation
    made = Litestar(
        [_route(app, path, entry, origins) for path, entry in by_path.items()],
        cors_config=_cors(origins),
        exception_handlers={HTTPException: refused, Exception: crashed},
        # This function reads the body within the limits that each operation declares.
        request_max_body_size=None,
        openapi_config=None,
        logging_config=None,
    )

    async def below_api_too(scope: Scope, receive: Receive, send: Send) -> None:
        if "path" in scope:
            path = scope["path"]
            path = path.removeprefix("/api") if path.startswith("/api/") else path
            scope["path"] = path.rstrip("/") or "/"
            scope["raw_path"] = scope["path"].encode()
        await made(scope, receive, send)

    return below_api_too


def _route(
    app: App, path: str, result: Mapping[str, Operation], origins: Sequence[str]
) -> HTTPRouteHandler:
    async def answer(request: WebRequest) -> ASGIApp:
        operation = result[str(request.method)]
        try:
            return await _answer(app, operation, request, origins)
        except TooMany as error:
            await asyncio.sleep(_HELD)  # the delay occupies no thread and slows the client
            return failed(error, request.method, request.url.path)
        except Exception as error:  # noqa: BLE001 - the one place where all of them end
            return failed(error, request.method, request.url.path)

    methods: Any = list(result)
    wrapped = path.replace("{guid}", "{guid:str}")
    return HTTPRouteHandler(wrapped, http_method=methods, status_code=200, name=path)(answer)


async def _answer(
    app: App, operation: Operation, request: WebRequest, origins: Sequence[str]
) -> ASGIApp:
    # Headers are read from the ASGI scope: the framework's objects cost more than a small request.
    scope = request.scope
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = list(request.query_params.multi_items()) if scope["query_string"] else []
    named = request.path_params.get("guid")
    guid = path_guid(named, operation.path) if named is not None else ""
    token = token_of(headers)
    check_origin(operation, headers, origins)
    place = scope["client"][0] if scope["client"] else ""
    loop = asyncio.get_running_loop()
    # The caller is known before the first byte of the body is read.
    who, body, bounds = None, b"", operation.body

    def known() -> tuple[Caller, Bounds]:
        result = admit(app, operation, headers, query, token)
        return result, operation.bounds(app, headers)

    if operation.takes_body:
        who, bounds = await loop.run_in_executor(_POOL, known)
        body = await read_body(request.receive, headers, bounds)

    def first() -> tuple[ApiRequest, object]:
        check_values(body, bounds)
        readmit = partial(admit, app, operation, headers, query, token)
        by = who or readmit()
        call = ApiRequest(app, by, guid, query, headers, body, place, token, bounds, readmit)
        try:
            return call, None if operation.waits else carried_out(operation, call)
        except HaulbackError as error:  # parsed in this thread, because a large body takes long
            raise name_field(error, guid, query, body) from error.__cause__

    pool = _SLOW if operation.slow else _POOL
    call, reply = await loop.run_in_executor(pool, first)
    if operation.waits:
        reply = await _wait(app, operation, call)
    return answered(operation, reply, scope["scheme"] == "https", bool(origins))


async def _wait(app: App, operation: Operation, call: ApiRequest) -> object:
    """Call the handler, and call it again at each event until the caller stops waiting."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _wanted_wait(call.headers)
    while True:
        waiter = app.wakeups.listen(call.who.guid if call.who.node else "")
        try:
            result = await loop.run_in_executor(_POOL, operation.handle, call)
            left = end - loop.time()
            if result or left <= 0 or app.wakeups.is_over:
                return result
            await asyncio.wait_for(waiter.event.wait(), min(left, _LOOK_AGAIN))
        except TimeoutError:
            continue
        finally:
            app.wakeups.leave(waiter)


def _wanted_wait(headers: Mapping[str, str]) -> float:
    found = re.search(r"\bwait=([0-9]{1,4})\b", headers.get("prefer", ""))
    return min(float(found[1]), _LONGEST_WAIT) if found else 0.0


def _cors(origins: Sequence[str]) -> CORSConfig | None:
    if not origins:
        return None
    if "*" in origins:
        raise Malformed("--origin: name each site; * would allow every page")
    return CORSConfig(
        allow_origins=list(origins),
        allow_credentials=True,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=[
            "content-type",
            "x-csrftoken",
            "authorization",
            "prefer",
            "idempotency-key",
            "last-event-id",
        ],
        expose_headers=[
            "X-Total-Count",
            "X-Next-Cursor",
            "X-Next-Name",
            "X-Incomplete",
            "X-Left-Behind",
            "Content-Disposition",
            "Preference-Applied",
            "Retry-After",
        ],
    )
