"""How answers leave: JSON with the contract's status codes, errors always with a body."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException
from litestar.response import Stream

from haulback.errors import HaulbackError, Malformed
from haulback.server.http.callers import COOKIE
from haulback.server.http.operation import Operation, Reply
from haulback.wire import dump

log = logging.getLogger(__name__)
Answer = Response[Any]


def answered(operation: Operation, found: Any, secure: bool, embedded: bool) -> Answer:
    """What a handler returned, as the operation declares it.

    `secure`: it goes over TLS; `embedded`: pages of other sites may use the API.
    """
    reply = found if isinstance(found, Reply) else Reply(found)
    status = reply.status or operation.status
    headers = dict(reply.headers)
    if reply.stream is not None:
        return Stream(
            _chunks(reply.stream), status_code=status, media_type=MediaType.JSON, headers=headers
        )
    if reply.raw is not None:
        body, kind = reply.raw
        made: Answer = Response(body, status_code=status, media_type=kind, headers=headers)
    elif reply.value is None:
        made = _nothing(status, headers)
    else:
        body = dump(reply.value)
        made = Response(body, status_code=status, media_type=MediaType.JSON, headers=headers)
    if reply.cookie is not None:
        _set_cookie(made, reply.cookie, secure, embedded)
    return made


def _set_cookie(made: Answer, token: str, secure: bool, embedded: bool) -> None:
    # Pages of another site may embed a console only over TLS, and only with these words.
    rule: Any = "none" if secure and embedded else "strict"
    age = None if token else 0
    made.set_cookie(
        Cookie(
            key=COOKIE,
            value=token,
            path="/",
            httponly=True,
            samesite=rule,
            secure=secure,
            max_age=age,
        )
    )


def _nothing(status: int, headers: dict[str, str]) -> Answer:
    """No body, and no content type that promises one."""
    made: Answer = Response(b"", status_code=status, media_type=MediaType.TEXT, headers=headers)
    made.headers["content-length"] = "0"
    return made


async def _chunks(source: Iterator[bytes]) -> AsyncIterator[bytes]:
    """A generator that waits for the database, read off the event loop."""
    try:
        while (chunk := await asyncio.to_thread(next, source, None)) is not None:
            yield chunk
    finally:
        close = getattr(source, "close", None)
        if close:
            await asyncio.to_thread(close)


def failed(error: Exception, method: str, path: str) -> Answer:
    """The answer to whatever went wrong."""
    if isinstance(error, HaulbackError):
        headers = {}
        if "retryAfter" in error.details:
            headers["Retry-After"] = str(error.details["retryAfter"])
        return _error(error.status, error.message, error.code, error.details, headers)
    log.error("%s %s", method, path, exc_info=error)
    return _error(500, "internal error; the server's log has the details", "internal", {}, {})


def refused(_: Request[Any, Any, Any], error: HTTPException) -> Answer:
    """What the framework refuses: no such path, method or size."""
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    code = codes.get(error.status_code, Malformed.code)
    return _error(error.status_code, error.detail, code, {}, dict(error.headers or {}))


def crashed(request: Request[Any, Any, Any], error: Exception) -> Answer:
    """A defect outside every handler: the log gets everything, the caller nothing of it."""
    return failed(error, request.method, request.url.path)


def _error(
    status: int, message: str, code: str, details: dict[str, Any], headers: dict[str, str]
) -> Answer:
    body = {"message": message, "code": code, "details": details, "status": status}
    return Response(dump(body), status_code=status, media_type=MediaType.JSON, headers=headers)
