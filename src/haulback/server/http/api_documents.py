"""The OpenAPI document of the API, and a page that shows this document offline."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from haulback.contract.roles import PUBLIC
from haulback.server.http.operation import ApiRequest, Operation, Reply, Router
from haulback.wire import JsonObject, dump


def documenting(others: Iterable[Operation]) -> Router:
    """Operations that show the documents of the API: of `others` and of these two operations."""
    router = Router()

    def described() -> list[Operation]:
        return [*others, *router.operations]

    # Callers need no login and may repeat requests, so that each document is made once only.
    @cache
    def openapi() -> bytes:
        from haulback.server.http.openapi import document  # a slow import that few processes need

        return dump(document(described()))

    @cache
    def page() -> bytes:
        from haulback.server.http.openapi import page

        return page(described()).encode()

    @router("GET", "/openapi.json", "The OpenAPI 3.1 document.", roles=PUBLIC, answer=JsonObject)
    def show_openapi(call: ApiRequest) -> Reply:
        """All operations of this API, as a document."""
        return Reply(raw=(openapi(), "application/json"))

    @router("GET", "/docs", "The operations as a page, offline.", roles=PUBLIC)
    def show_page(call: ApiRequest) -> Reply:
        """All operations of this API, as a page."""
        return Reply(raw=(page(), "text/html; charset=utf-8"))

    return router
