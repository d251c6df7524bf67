"""A portal as an HTTP client with cookies and a content type on every call; every response is
checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2

from tests.contract.conftest import PASSWORD, PORTAL, Answer, Served
from tests.contract.members import MEMBERS, complaints


class Portal:
    """A portal page on another origin.  Responses are checked against the member table."""

    def __init__(self, served: Served) -> None:
        self.http = httpx2.Client(base_url=f"{served.server.url}/api", timeout=30)
        self.headers = {"origin": PORTAL, "content-type": "application/json"}
        self.walked: set[str] = set()

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.raw(method, path, body)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        if not answer.content or "json" not in answer.headers.get("content-type", ""):
            return answer.content or None
        shown = answer.json()
        if operation := _operation(method, path):
            self.walked.add(operation)
            rows = [text for row in _rows(shown) for text in complaints(operation, row)]
            assert not rows, "\n".join(rows[:20])
        return shown

    def raw(self, method: str, path: str, body: Any = None) -> Answer:
        sent: dict[str, Any] = {"json": body} if body is not None else {}
        answer = self.http.request(method, path, headers=self.headers, **sent)
        assert answer.headers["access-control-allow-origin"] == PORTAL
        assert answer.headers["access-control-allow-credentials"] == "true"
        return answer


def _rows(shown: Any) -> list[Any]:
    return shown if isinstance(shown, list) else [shown]


def _operation(method: str, path: str) -> str | None:
    """The key of the member table; a single record has the members of its list."""
    parts = path.partition("?")[0].rstrip("/").split("/")
    plain = "/".join(
        "{guid}" if len(part) == 36 and part.count("-") == 4 else part for part in parts
    )
    keys = [f"{method} {plain}", f"{method} {plain.removesuffix('/{guid}')}"]
    if method in ("POST", "PUT"):  # the response to a write is the record
        keys += [f"GET {plain.removesuffix('/{guid}')}"]
    return next((key for key in keys if key in MEMBERS), None)


def logged_in(served: Served) -> Iterator[Portal]:
    """A portal whose user has logged in."""
    made = Portal(served)
    try:
        made("POST", "/session/login", {"login": "admin", "password": PASSWORD})
        yield made
    finally:
        made.http.close()
