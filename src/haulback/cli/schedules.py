"""Commands of schedules that go beyond their records: pause, resume, run, and fires."""

from __future__ import annotations

import sys

from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, moment, named, show, text
from haulback.cli.records import schedule as app
from haulback.errors import Malformed


@app.command
def pause(name: str) -> None:
    """Pause a schedule: no due time fires until it is resumed."""
    schedules = connect().schedules
    schedules.pause(schedules.find(name).guid)


@app.command
def resume(name: str = "", *, all: bool = False) -> None:  # noqa: A002 - the name of the option
    """Resume a paused schedule, or all of them."""
    schedules = connect().schedules
    if bool(name) == all:
        raise Malformed("name a schedule, or write --all")
    if name:
        schedules.resume(schedules.find(name).guid)
        return
    answer = schedules.resume_all()
    for resumed in answer.resumed:
        print(resumed.name)
    for refused in answer.refused:
        print(f"{refused.schedule.name} stays paused: {refused.message}", file=sys.stderr)


@app.command
def run(name: str) -> None:
    """Fire a schedule at once, besides its due times."""
    schedules = connect().schedules
    print(schedules.run(schedules.find(name).guid).guid)


@app.command
def fires(name: str, *, past: int = 10, next: int = 10, output: Output = "table") -> None:  # noqa: A002
    """List the newest fires of a schedule, and its next due times."""
    schedules = connect().schedules
    answer = schedules.fires(schedules.find(name).guid, past, next)
    if output == "json":
        dump(answer)
        return
    columns = (moment("due"), named("state"), text("workflows"), text("skippedCount"))
    ahead = [{"due": due.due, "state": {"name": "NEXT"}} for due in answer.next]
    show([*reversed(ahead), *answer.past], (*columns, text("reason")), output)
