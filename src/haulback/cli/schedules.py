"""`haulback schedule`: schedules and system schedules, their times, fires, pause and run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from haulback.cli.arguments import Members, NewName, ScheduleWord
from haulback.cli.confirmation import ASK, Consent
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, moment, named, show, text
from haulback.cli.questions import agreed
from haulback.cli.records import with_members
from haulback.client.schedules import Schedules
from haulback.contract.schedules import Day
from haulback.errors import Malformed
from haulback.policy.time_text import read_days, read_duration, read_time
from haulback.units import DAY_MS
from haulback.wire import JsonObject

app = App(name="schedule")
System = Annotated[bool, Parameter(negative="", help="A system schedule: Haulback's own work.")]
_LISTED = (text("guid"), text("name"), text("active"), text("paused"))
_TIMES = (moment("lastRun"), moment("nextRun"))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScheduleTimes:
    """Times of a schedule as people write them."""

    at: Annotated[str, Parameter(help="A time of the day: 22:00, or 22:00 Europe/Berlin.")] = ""
    every: Annotated[str, Parameter(help="A duration between two fires: 4h, 30m.")] = ""
    between: Annotated[str, Parameter(help="Where --every begins and ends: 8:00-18:00.")] = ""
    cron: Annotated[str, Parameter(help="A cron expression of five fields.")] = ""
    zone: Annotated[str, Parameter(help="An IANA time zone: Europe/Berlin.")] = ""
    days: Annotated[str, Parameter(help="Days of the week: mon-fri, sat,sun, daily.")] = ""
    window: Annotated[str, Parameter(help="Time that tasks may wait for their start: 6h.")] = ""

    @property
    def members(self) -> JsonObject:
        """The members that these options set.  Raises Malformed."""
        if len([said for said in (self.at, self.every, self.cron) if said]) > 1:
            raise Malformed("write one of --at, --every and --cron")
        result: JsonObject = {}
        if self.at:
            time = read_time(self.at, "at")
            result = {"executionType": "TIME", "hour": time.hour, "interval": None, "cron": None}
            result |= {"timeZone": time.zone} if time.zone else {}
        if self.every:
            result = {"executionType": "INTERVAL", "interval": self._interval}
            result |= {"hour": None, "cron": None}
        if self.cron:
            result = {"executionType": "TIME", "cron": self.cron, "hour": None, "interval": None}
        result |= {"timeZone": self.zone} if self.zone else {}
        if self.days:
            chosen = read_days(self.days, "days")
            result["daysOfWeek"] = [] if len(chosen) == len(Day) else [day.value for day in chosen]
        if self.window:
            result["startWindowLength"] = read_duration(self.window, "window")
        return result

    @property
    def _interval(self) -> JsonObject:
        first, _, last = self.between.partition("-")
        start = read_time(first, "between").hour if self.between else 0
        end = read_time(last, "between").hour if self.between else DAY_MS
        frequency = read_duration(self.every, "every")
        return {"startHour": start, "endHour": end, "frequency": frequency}


_SAME = ScheduleTimes()


def _kind(system: bool) -> Schedules[Any]:
    client = connect()
    return client.system_schedules if system else client.schedules


@app.command
def ls(*, system: System = False, output: Output = "table") -> None:
    """List all schedules with their last and next run."""
    show([row.shown for row in _kind(system).all()], (*_LISTED, *_TIMES), output)


@app.command(name="show")
def show_one(name: ScheduleWord, *, system: System = False) -> None:
    """Show all details of a schedule, by name or guid."""
    dump(_kind(system).find(name).shown)


@app.command
def add(name: NewName, *member: Members, times: ScheduleTimes = _SAME) -> None:
    """Add a schedule: a name, its times, then words like backupType=INCREMENTAL.

    Values are JSON or text.
    """
    client = connect()
    known = client.schedules
    body = {"name": name, **times.members}
    print(known.add(with_members(body, member, known.struct, client)).guid)


@app.command(name="set")
def change(
    name: ScheduleWord, *member: Members, system: System = False, times: ScheduleTimes = _SAME
) -> None:
    """Change times and members of a schedule; other members stay."""
    known = _kind(system)
    record = known.find(name)
    before = {**msgspec.to_builtins(record.what), **times.members}
    known.change(record.guid, with_members(before, member, known.struct, connect()))


@app.command
def rm(name: ScheduleWord, *, consent: Consent = ASK) -> None:
    """Remove a schedule with its history."""
    client = connect()
    guid = client.schedules.find(name).guid
    if agreed(client, consent, lambda: client.schedules.remove(guid)):
        client.schedules.remove(guid)


@app.command
def pause(name: ScheduleWord, *, system: System = False) -> None:
    """Pause a schedule: no due time fires until it is resumed."""
    known = _kind(system)
    known.pause(known.find(name).guid)


@app.command
def resume(
    name: ScheduleWord = "",
    *,
    all: Annotated[bool, Parameter(help="Resume all schedules.")] = False,  # noqa: A002
    system: System = False,
) -> None:
    """Resume a paused schedule, or all of them."""
    if bool(name) == all:
        raise Malformed("name a schedule, or write --all")
    known = _kind(system)
    if name:
        known.resume(known.find(name).guid)
        return
    answer = connect().schedules.resume_all()
    for resumed in answer.resumed:
        print(resumed.name)
    for refused in answer.refused:
        print(f"{refused.schedule.name} stays paused: {refused.message}", file=sys.stderr)


@app.command
def run(name: ScheduleWord, *, system: System = False) -> None:
    """Fire a schedule now, in addition to its due times."""
    known = _kind(system)
    print(known.run(known.find(name).guid).guid)


@app.command
def fires(
    name: ScheduleWord,
    *,
    past: Annotated[int, Parameter(help="Number of past fires.")] = 10,
    coming: Annotated[int, Parameter(help="Number of coming fires.")] = 10,
    system: System = False,
    output: Output = "table",
) -> None:
    """List the newest fires of a schedule, and its next due times."""
    known = _kind(system)
    answer = known.fires(known.find(name).guid, past, coming)
    if output == "json":
        dump(answer)
        return
    columns = (moment("due"), named("state"), text("workflows"), text("skippedCount"))
    ahead = [{"due": due.due, "state": {"name": "NEXT"}} for due in answer.next]
    rows = [*reversed(ahead), *msgspec.to_builtins(answer.past)]
    show(rows, (*columns, text("reason")), output)


@app.command
def forecast(
    *, days: Annotated[int, Parameter(help="Days to look ahead.")] = 7, output: Output = "table"
) -> None:
    """Show the fires of the next days, and mark fires that will not fit their start windows."""
    columns = (moment("due"), named("schedule"), named("type"), text("expectedDuration"))
    rows = connect().schedules.forecast(days)
    show(rows, (*columns, text("fitsWindow"), text("overlapsNext")), output)
