"""`haulback events`: the newest events, or a live stream of events."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
from cyclopts import Parameter

from haulback.cli.arguments import Rows, SubjectWord
from haulback.cli.connection import connect
from haulback.cli.output import Output, moment, named, show, text
from haulback.cli.subjects import subject_guid
from haulback.client.events import EventFilter
from haulback.contract.events import EventRecord

Kinds = Annotated[list[str], Parameter(help="Only events of this kind; may be repeated.")]
_COLUMNS = (text("number"), moment("time"), named("kind"), named("subject"), text("text"))


def events(
    *,
    follow: Annotated[bool, Parameter(negative="", help="Print events as they happen.")] = False,
    after: Annotated[int | None, Parameter(help="First the events after this number.")] = None,
    kind: Kinds = [],  # noqa: B006 - read only
    subject: SubjectWord = "",
    size: Rows = 50,
    output: Output = "table",
) -> None:
    """The command `haulback events`."""
    client = connect()
    about = subject_guid(client, subject) if subject else ""
    query: EventFilter = {"kind": [word.upper() for word in kind], "subject": about}
    if after is not None:
        query["after"] = after
    if follow:
        for event in client.events.follow(**query):
            print(_line(event, output))
            sys.stdout.flush()
        return
    query["size"] = size
    rows = client.events.page(**query).rows
    show(rows if after is not None else reversed(rows), _COLUMNS, output)


def _line(event: EventRecord, output: Output) -> str:
    """An event as one line: a JSON object, or its columns."""
    row = msgspec.to_builtins(event)
    if output == "json":
        return msgspec.json.encode(row).decode()
    return "  ".join(cell(row) for _, cell in _COLUMNS)
