"""`haulback status`: open alarms, late and failing machines, running tasks and next fires, on one
screen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter

from haulback import units
from haulback.cli.connection import connect
from haulback.cli.output import Output, dump, moment, named, print_cells, show, text
from haulback.client.client import Client
from haulback.contract.protection import MachineProtection, ProtectionState
from haulback.wire import JsonObject

States = Annotated[list[str], Parameter(help="List the machines of this state; may be repeated.")]
_ROWS = 8  # rows in each part of the screen
_ALARMS = 3  # alarms on the screen, the newest ones
_LISTED = 50  # alarms that `alarm ls` lists without --size
_TROUBLE = (ProtectionState.LATE, ProtectionState.FAILING, ProtectionState.NEVER)
_COLUMNS = (text("guid"), text("name"), named("state"), moment("since"), named("policy"),
            moment("lastBackup"), moment("dueAt"))  # fmt: skip


def status(
    *,
    state: States = [],  # noqa: B006 - read only
    output: Output = "table",
) -> None:
    """Show the protection of all machines, open alarms, late and failing machines, running tasks
    and next fires.
    """
    client = connect()
    if state:
        states = [word.upper() for word in state]
        show(client.protection.machines(states, size=10_000).rows, _COLUMNS, output)
        return
    if output == "json":
        dump(_facts(client))
        return
    _print(client)


def _facts(client: Client) -> JsonObject:
    return {
        "protection": client.protection.counts(),
        "alarms": _alarm_facts(client),
        **{state.value.lower(): _machines(client, state) for state in _TROUBLE},
        "running": client.tasks.page(states=["RUNNING"], size=_ROWS).rows,
        "next": _next(client),
    }


def _alarm_facts(client: Client) -> JsonObject:
    page = client.alarms.page(size=_ROWS)
    return {"total": page.total, "newest": page.rows}


def _machines(client: Client, state: ProtectionState) -> list[MachineProtection]:
    return client.protection.machines([state.value], size=_ROWS).rows


def _next(client: Client) -> list[JsonObject]:
    """The schedules that run next, in the order of their times."""
    coming = [row.shown for row in client.records.schedules.all()]
    coming = [row for row in coming if row.get("active") and row.get("nextRun")]
    return sorted(coming, key=lambda row: (row["nextRun"], row["name"]))[:_ROWS]


def _print(client: Client) -> None:
    counts = client.protection.counts()
    told = ("protected", "late", "failing", "never", "unassigned")
    parts = [f"{getattr(counts, name)} {_WORDS.get(name, name)}" for name in told]
    rows = [("machines", f"{counts.total}: {', '.join(parts)}"), *_alarms(client)]
    for state in _TROUBLE:
        rows.extend(_troubles(client, state))
    if not (counts.late or counts.failing or counts.never):
        rows.append(("late, failing", "none"))
    for task in client.tasks.page(states=["RUNNING"], size=_ROWS).rows:
        subject = f" {task.protectedEntity.name}" if task.protectedEntity else ""
        rows.append(("running", f"{task.type.name}{subject} {task.progress:.0f} %"))
    for schedule in _next(client):
        rows.append(("next", f"{_until(schedule['nextRun'])}: {schedule['name']}"))
    print_cells(("what", "how"), rows)


def _alarms(client: Client) -> Iterator[tuple[str, str]]:
    """Rows about the number of open alarms, about the newest ones, and about the rest."""
    page = client.alarms.page(size=_ALARMS)
    yield "alarms", f"{page.total} open" if page.total else "none"
    for alarm in page.rows:
        subject, age = alarm.subject.name or alarm.subject.guid, _age(alarm.since)
        sentence = " ".join(alarm.text.split())
        yield "alarm", f"{alarm.kind.name} {subject}, raised {age} ago: {sentence}"
    if page.total > len(page.rows):
        size = f" --size {page.total}" if page.total > _LISTED else ""
        yield "alarm", f"and {page.total - len(page.rows)} more: haulback alarm ls{size}"


_WORDS = {"never": "never backed up"}


def _troubles(client: Client, state: ProtectionState) -> Iterator[tuple[str, str]]:
    """Rows about the machines of a state, and a row for those beyond the limit."""
    page = client.protection.machines([state.value], size=_ROWS)
    word = state.value.lower()
    for machine in page.rows:
        policy = f", policy {machine.policy.name}" if machine.policy else ""
        yield word, f"{machine.name}: {_last(machine)}{policy}"
    if page.total > len(page.rows):
        rest = page.total - len(page.rows)
        yield word, f"and {rest} more: haulback status --state {word}"


def _last(machine: MachineProtection) -> str:
    if machine.lastBackup is None:
        return "no good backup yet"
    return f"last good backup {_age(machine.lastBackup)} ago"


def _age(moment_ms: int) -> str:
    return units.duration(max(0.0, time.time() - moment_ms / 1000))


def _until(moment_ms: int) -> str:
    return f"in {units.duration(max(0.0, moment_ms / 1000 - time.time()))}"
