"""How answers leave: JSON with the contract's status codes, errors always with a body."""

from __future__ import annotations

import logging
from typing import Any

from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException

from haulback.errors import HaulbackError
from haulback.wire import dump

log = logging.getLogger(__name__)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    """A JSON body."""
    return Response(dump(value), status_code=status, media_type=MediaType.JSON, headers=headers)


def nothing(status: int) -> Response[bytes]:
    """No body, and no content type that promises one."""
    made = Response(b"", status_code=status, media_type=MediaType.TEXT)
    made.headers["content-length"] = "0"
    return made


def failed(_: Request[Any, Any, Any], error: HaulbackError) -> Response[bytes]:
    """An error raised on purpose."""
    return _error(error.status, error.message, error.code, error.details)


def refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework refuses: no such path, method or size."""
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    return _error(error.status_code, error.detail, codes.get(error.status_code, "malformed"), {})


def crashed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A defect: the log gets everything, the caller nothing of it."""
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return _error(500, "internal error; the server's log has the details", "internal", {})


def _error(status: int, message: str, code: str, details: dict[str, Any]) -> Response[bytes]:
    body = {"message": message, "code": code, "details": details, "status": status}
    return answer(body, status)
