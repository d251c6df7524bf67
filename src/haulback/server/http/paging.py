"""Paging, text filter, sorting and total of all lists except tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from haulback.server.http import query_params
from haulback.server.http.operation import GUID, PAGING, PROJECT, ApiRequest, Param, Reply
from haulback.server.queries import ListQuery

T = TypeVar("T")
TIME = {"type": "integer", "minimum": 0}
COMMON = (*PAGING, PROJECT)
ENTITY = Param("protected-entity", "Of this machine.", GUID)
SPAN = (Param("from", "Not before, epoch ms.", TIME), Param("to", "Not after, epoch ms.", TIME))


def wanted(call: ApiRequest, **more: Any) -> ListQuery:
    """The list query of a request.  Raises Malformed."""
    page, size = query_params.paging(call)
    return ListQuery(
        scope=call.who.scope,
        now=call.app.clock.now_ms(),
        page=page,
        size=size,
        text=query_params.one(call, "filter"),
        order=query_params.one(call, "orderBy"),
        descending=query_params.descending(call),
        entity=query_params.guid(call, "protected-entity"),
        since=query_params.number(call, "from", 1 << 53),
        until=query_params.number(call, "to", 1 << 53),
        **more,
    )


def page(found: Iterable[T], total: int, view: Callable[[T], object]) -> Reply:
    """An array with its total in a header."""
    return Reply([view(one) for one in found], headers={"X-Total-Count": str(total)})
