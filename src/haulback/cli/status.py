"""`haulback status`: late and failing machines, running tasks and next fires, on one screen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from haulback import units
from haulback.cli.connection import connect
from haulback.cli.output import Output, console, dump, moment, named, show, text
from haulback.client.client import Client
from haulback.contract.protection import MachineProtection, ProtectionState
from haulback.wire import JsonObject

States = Annotated[list[str], Parameter(help="List the machines of this state; may be repeated.")]
_ROWS = 8  # rows in each part of the screen
_TROUBLE = (ProtectionState.LATE, ProtectionState.FAILING, ProtectionState.NEVER)
_COLUMNS = (text("guid"), text("name"), named("state"), moment("since"), named("policy"),
            moment("lastBackup"), moment("dueAt"))  # fmt: skip


def status(
    *,
    state: States = [],  # noqa: B006 - read only
    output: Output = "table",
) -> None:
    """Show the protection of all machines, late and failing machines, running tasks and next
    fires.
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
        **{state.value.lower(): _machines(client, state) for state in _TROUBLE},
        "running": client.tasks.page(states=["RUNNING"], size=_ROWS).rows,
        "next": _next(client),
    }


def _machines(client: Client, state: ProtectionState) -> list[MachineProtection]:
    return client.protection.machines([state.value], size=_ROWS).rows


def _next(client: Client) -> list[JsonObject]:
    """The schedules that run next, in the order of their times."""
    coming = [row.shown for row in client.records.schedules.all()]
    coming = [row for row in coming if row.get("active") and row.get("nextRun")]
    return sorted(coming, key=lambda row: (row["nextRun"], row["name"]))[:_ROWS]


def _print(client: Client) -> None:
    table = Table("what", "how", box=None, pad_edge=False)
    counts = client.protection.counts()
    told = ("protected", "late", "failing", "never", "unassigned")
    parts = [f"{getattr(counts, name)} {_WORDS.get(name, name)}" for name in told]
    table.add_row("machines", f"{counts.total}: {', '.join(parts)}")
    for state in _TROUBLE:
        for name, how in _troubles(client, state):
            table.add_row(name, how)
    for task in client.tasks.page(states=["RUNNING"], size=_ROWS).rows:
        subject = task.protectedEntity.name if task.protectedEntity else ""
        table.add_row("running", f"{task.type.name} {subject} {task.progress:.0f} %")
    for schedule in _next(client):
        table.add_row("next", f"{_until(schedule['nextRun'])}: {schedule['name']}")
    if not (counts.late or counts.failing or counts.never):
        table.add_row("late, failing", "none")
    console().print(table)


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
    age = max(0.0, time.time() - machine.lastBackup / 1000)
    return f"last good backup {units.duration(age)} ago"


def _until(moment_ms: int) -> str:
    return f"in {units.duration(max(0.0, moment_ms / 1000 - time.time()))}"
