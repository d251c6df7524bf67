"""`haulback alarm`: alarms for operators, each with its age."""

from __future__ import annotations

import time
from itertools import islice
from typing import Annotated

from cyclopts import App, Parameter

from haulback import units
from haulback.cli.arguments import AlarmWord, Rows, SubjectWord
from haulback.cli.connection import connect
from haulback.cli.output import Column, Output, dump, moment, named, show, text
from haulback.cli.subjects import subject_guid
from haulback.client.calls import ListFilters

app = App(name="alarm")
_AT_ONCE = 500  # rows per request
Kinds = Annotated[list[str], Parameter(help="Only alarms of this kind; may be repeated.")]


def _age() -> Column:
    """The duration of a state, by this machine's clock."""
    now = time.time()
    return "age", lambda row: units.duration(max(0.0, now - row["since"] / 1000))


@app.command(name="ls")
def list_alarms(
    *,
    kind: Kinds = [],  # noqa: B006 - read only
    subject: SubjectWord = "",
    size: Rows = 50,
    output: Output = "table",
) -> None:
    """List the newest alarms, of all kinds or of --kind, about all objects or about one, by its
    name, guid or beginning of a guid.
    """
    client = connect()
    query: ListFilters = {"size": min(size, _AT_ONCE)}
    if kind:
        query["kind"] = [word.upper() for word in kind]
    if subject:
        query["subject"] = subject_guid(client, subject)
    state = (named("kind"), named("subject"), text("text"))
    columns = (text("guid"), moment("since"), _age(), *state)
    show(islice(client.alarms.all(**query), size), columns, output)


@app.command(name="show")
def show_alarm(guid: AlarmWord) -> None:
    """Show all details of an alarm."""
    dump(connect().alarms.find(guid))
