"""Responses: JSON with the contract's status codes; every error has a body."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from litestar import MediaType, Request, Response
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException
from litestar.response import Stream
from litestar.types import ASGIApp, Receive, Scope, Send

from haulback.errors import HaulbackError, Malformed, NotFound, Unavailable
from haulback.server.http.authentication import COOKIE
from haulback.server.http.operation import Operation, Reply
from haulback.server.http.request_body import ClientDisconnected
from haulback.wire import JsonObject, dump

_JSON, _NO_CONTENT = "application/json", 204
_ASKED = 120  # maximum length of an unknown method and path in an error, in characters
log = logging.getLogger(__name__)
WebRequest = Request[object, object, Any]
WebResponse = Response[object]


class BytesResponse:
    """Status, headers and a complete body, as an ASGI application.

    An answer without a body has no Content-Type, because some proxies rely on that.
    """

    def __init__(
        self, status: int, body: bytes = b"", kind: str = _JSON, headers: Mapping[str, str] = {}
    ) -> None:
        self.status, self.body = status, body
        self.headers = [(k.lower().encode(), v.encode()) for k, v in headers.items()]
        if body:
            self.headers.append((b"content-type", kind.encode()))
        if status != _NO_CONTENT:
            self.headers.append((b"content-length", str(len(body)).encode()))

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def answered(operation: Operation, result: object, secure: bool, embedded: bool) -> ASGIApp:
    """The response for a handler's result, as the operation declares it.

    `secure` is true if the connection uses TLS; `embedded` is true if the server allows pages of
    other sites.
    """
    reply = result if isinstance(result, Reply) else Reply(result)
    if reply.live is not None:
        live: ASGIApp = reply.live
        return live
    status = reply.status or operation.status
    if reply.stream is not None:
        return Stream(  # type: ignore[return-value]  # the framework makes an application of it
            _chunks(reply.stream),
            status_code=status,
            media_type=MediaType.JSON,
            headers=dict(reply.headers),
        )
    body, kind = reply.raw or (b"" if reply.value is None else dump(reply.value), _JSON)
    answer = BytesResponse(status, body, kind, reply.headers)
    if reply.cookie is not None:
        answer.headers.append(_cookie(reply.cookie, secure, embedded))
    return answer


def _cookie(token: str, secure: bool, embedded: bool) -> tuple[bytes, bytes]:
    # Pages of another site may embed a console only over TLS, and only with these cookie
    # attributes.
    rule: Any = "none" if secure and embedded else "strict"
    age = None if token else 0
    made = Cookie(
        key=COOKIE,
        value=token,
        path="/",
        httponly=True,
        samesite=rule,
        secure=secure,
        max_age=age,
    )
    return made.to_encoded_header()


async def _chunks(source: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The parts of a generator that waits for the database; threads outside the event loop read
    them.
    """
    try:
        while (chunk := await asyncio.to_thread(next, source, None)) is not None:
            yield chunk
    finally:
        close = getattr(source, "close", None)
        if close:
            await asyncio.to_thread(close)


def failed(error: Exception, method: str, path: str) -> BytesResponse:
    """The response to any error."""
    if isinstance(error, OSError):
        error = _of_the_system(error)
        log.warning("%s %s: %s", method, path, error.message)
    if isinstance(error, ClientDisconnected):
        log.debug("%s %s: %s", method, path, error.message)
    if isinstance(error, HaulbackError):
        headers = {}
        if "retryAfter" in error.details:
            headers["Retry-After"] = str(error.details["retryAfter"])
        return _error(error.status, error.message, error.code, error.details, headers)
    log.error("%s %s", method, path, exc_info=error)
    return _error(500, "internal error; the server's log has the details", "internal", {}, {})


def _of_the_system(error: OSError) -> Unavailable:
    """Errors of the operating system, such as a full disk, no descriptors or a read-only file
    system.
    """
    where = f"{error.filename}: " if error.filename else ""
    return Unavailable(
        f"the operating system of the server reports: {where}{error.strerror or error}; "
        "check the disks and the limits of the server, then try again"
    )


def refused(request: WebRequest, error: HTTPException) -> WebResponse:
    """Errors of the framework: unknown path, wrong method, wrong size."""
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    code = codes.get(error.status_code, Malformed.code)
    where = {"field": "path"} if error.status_code == NotFound.status else {}
    message = error.detail
    if code in ("not_found", "method_not_allowed"):
        asked = f"{request.method} {request.url.path}"[:_ASKED]
        message = f"there is no operation {asked}; /api/docs lists the operations"
    answer = _error(error.status_code, message, code, where, dict(error.headers or {}))
    return _framed(answer)


def crashed(request: WebRequest, error: Exception) -> WebResponse:
    """A defect outside the handlers: the traceback goes to the log, a plain error to the caller."""
    return _framed(failed(error, request.method, request.url.path))


def _framed(answer: BytesResponse) -> WebResponse:
    """An exception handler in the form that the framework expects."""
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    headers.pop("content-length", None)
    return Response(answer.body, status_code=answer.status, headers=headers)


def _error(
    status: int, message: str, code: str, details: JsonObject, headers: dict[str, str]
) -> BytesResponse:
    body = {"message": message, "code": code, "details": details, "status": status}
    return BytesResponse(status, dump(body), headers=headers)
