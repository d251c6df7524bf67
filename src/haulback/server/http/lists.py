"""What lists other than tasks have in common: paging, text, sorting and the total."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from haulback.server.http import queries
from haulback.server.http.operation import GUID, PAGING, PROJECT, Call, Param, Reply
from haulback.server.store.shelves import Wanted

T = TypeVar("T")
TIME = {"type": "integer", "minimum": 0}
COMMON = (*PAGING, PROJECT)
ENTITY = Param("protected-entity", "Of this machine.", GUID)
SPAN = (Param("from", "Not before, epoch ms.", TIME), Param("to", "Not after, epoch ms.", TIME))


def wanted(call: Call, **more: Any) -> Wanted:
    """What of a list the query asks for.  Raises Malformed."""
    page, size = queries.paging(call)
    return Wanted(
        scope=call.who.scope,
        now=call.app.clock.now_ms(),
        page=page,
        size=size,
        text=queries.one(call, "filter"),
        order=queries.one(call, "orderBy"),
        descending=queries.descending(call),
        entity=queries.guid(call, "protected-entity"),
        since=queries.number(call, "from", 1 << 53),
        until=queries.number(call, "to", 1 << 53),
        **more,
    )


def page(found: Iterable[T], total: int, view: Callable[[T], Any]) -> Reply:
    """A bare array with its total."""
    return Reply([view(one) for one in found], headers={"X-Total-Count": str(total)})
