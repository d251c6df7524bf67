"""Events: a list with a cursor, and a live stream."""

from __future__ import annotations

from haulback.contract.events import EventKind, EventRecord
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import PEOPLE
from haulback.errors import Malformed
from haulback.server.http import paging, query_params
from haulback.server.http.event_stream import EventStream
from haulback.server.http.operation import GUID, PROJECT, ApiRequest, Param, Reply, Router
from haulback.server.queries import EventQuery
from haulback.server.services import events

_KINDS = {"enum": sorted(EventKind.__members__)}
_NUMBER = {"type": "integer", "minimum": 0}
_MOST, _USUAL = 1000, 100
_LONGEST = 1 << 53
router = Router()


@router(
    "GET",
    "/events",
    "Events.",
    answer=EventRecord,
    many=True,
    query=(
        Param("after", "Events after this number, oldest first; a stream starts there.", _NUMBER),
        Param("before", "Events before this number, newest first.", _NUMBER),
        Param("size", "Number of events of a page, at most 1000.", _NUMBER),
        Param("kind", "Of these kinds.", _KINDS, many=True),
        Param("subject", "About this object.", GUID),
        Param("policy", "Of this policy.", GUID),
        *paging.SPAN,
        PROJECT,
    ),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="events",
)
def list_events(call: ApiRequest) -> Reply:
    """A page of events, with the cursor of the next page in X-Next-Cursor.

    `Accept: text/event-stream` requests a stream, which resumes after Last-Event-ID.  X-Incomplete
    means that events after the given number are no longer stored.
    """
    wanted = _wanted(call)
    if "text/event-stream" in call.headers.get("accept", ""):
        return _stream(call, wanted)
    rows = events.page(call.app, wanted)
    headers = {}
    if wanted.after is not None:
        headers["X-Next-Cursor"] = str(rows[-1].number if rows else wanted.after)
        if events.is_incomplete(call.app, wanted.after):
            headers["X-Incomplete"] = "true"
    elif len(rows) == wanted.size and rows:
        headers["X-Next-Cursor"] = str(rows[-1].number)
    return Reply(rows, headers=headers)


def _wanted(call: ApiRequest) -> EventQuery:
    """The query of a request.  Raises Malformed."""
    after, before = (query_params.number(call, name, _LONGEST) for name in ("after", "before"))
    if after is not None and before is not None:
        raise Malformed("before: send either after or before, not both", field="before")
    return EventQuery(
        scope=call.who.scope,
        after=after,
        before=before,
        size=query_params.size(call, _MOST, _USUAL),
        kinds=query_params.names(call, "kind", set(EventKind.__members__)),
        subject=query_params.guid(call, "subject"),
        policy=query_params.guid(call, "policy"),
        since=query_params.number(call, "from", _LONGEST),
        until=query_params.number(call, "to", _LONGEST),
    )


def _stream(call: ApiRequest, wanted: EventQuery) -> Reply:
    """A stream of the events after Last-Event-ID, after `after`, or from now on."""
    if wanted.before is not None:
        raise Malformed("before: a stream has no end; leave the parameter out", field="before")
    start, incomplete = _last_seen(call, wanted.after), False
    call.app.event_hub.advance()
    if start is None:
        start = call.app.event_hub.head
    elif events.is_incomplete(call.app, start):
        start, incomplete = min(start, call.app.event_hub.head), True
    wanted.after = start
    stream = EventStream(call.app, wanted, call.who.guid, call.readmit, incomplete=incomplete)
    return Reply(live=stream)


def _last_seen(call: ApiRequest, after: int | None) -> int | None:
    """The position of a client; the header of a reconnection takes precedence over the query.

    Raises Malformed.
    """
    said = call.headers.get("last-event-id", "").strip()
    if not said:
        return after
    if not said.isascii() or not said.isdigit() or len(said) > 16:
        raise Malformed(
            "Last-Event-ID: is not the id of an event; send the id of the last received event",
            field="Last-Event-ID",
        )
    return int(said)
