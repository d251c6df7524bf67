"""`haulback task`: what runs, what waits and why, what went wrong."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from haulback.cli.connection import connect
from haulback.cli.output import Output, console, dump, moment, named, show, text
from haulback.cli.watch import follow

app = App(name="task", help="List, follow, cancel and remove tasks.")
_COLUMNS = (
    text("guid"),
    named("type"),
    named("state"),
    named("protectedEntity"),
    text("progress"),
    moment("startTime"),
    text("statusInfo"),
)


@app.command
def ls(
    *,
    state: list[str] = [],  # noqa: B006 - read only
    type: str = "",  # noqa: A002 - the option's name
    size: int = 50,
    output: Output = "table",
) -> None:
    """The newest tasks; --state FAILED shows what went wrong."""
    query: dict[str, Any] = {"states": state, "type": type, "size": size, "page": 0}
    show(connect().get("/tasks", query), _COLUMNS, output)


@app.command(name="show")
def show_task(guid: str) -> None:
    """Everything about a task, its plan and why it waits."""
    dump(connect().get(f"/tasks/{guid}", {"extended": "true"}))


@app.command
def log(guid: str) -> None:
    """What the node said while it worked."""
    for line in connect().get(f"/tasks/{guid}/log"):
        print(f"{moment('time')[1](line)}  {line['text']}")


@app.command
def watch(guid: str) -> None:
    """Follow a task, and those that follow it, to the end; exits with 8 if one failed."""
    follow(connect(), guid, console())


@app.command
def cancel(guid: str) -> None:
    """Cancel a task; the second time without waiting for its node."""
    connect().put(f"/tasks/{guid}/state", {"state": "CANCELLED", "statusInfo": "Cancelled by user"})


@app.command
def rm(guid: str) -> None:
    """Take a task off the list; one that runs is cancelled."""
    connect().delete(f"/tasks/{guid}")
