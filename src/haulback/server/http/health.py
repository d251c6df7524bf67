"""Health of the server."""

from __future__ import annotations

from haulback.contract.roles import PUBLIC
from haulback.server.http.operation import ApiRequest, Router

router = Router()


@router("GET", "/livez", "Whether the process answers.", answer=dict[str, str], roles=PUBLIC)
def alive(call: ApiRequest) -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router(
    "GET", "/readyz", "Whether the server can do its work.", answer=dict[str, str], roles=PUBLIC
)
def ready(call: ApiRequest) -> dict[str, str]:
    """The database can be written, the server key opens its secrets, and file descriptors are
    left.
    """
    call.app.readiness.check()
    return {"status": "ok"}
