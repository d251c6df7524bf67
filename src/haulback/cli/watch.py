"""Following tasks to their end, with progress, rate and what is left."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from haulback import units
from haulback.client.api import Api
from haulback.errors import Cancelled, HaulbackError, NotFound

FINAL = ("FINISHED", "FAILED", "CANCELLED")
_LOOK_EVERY = 0.25  # seconds


class TaskFailed(HaulbackError):
    """A task that was followed did not finish."""

    code, exit_code = "task_failed", 8


def follow(api: Api, guid: str, say: Console) -> list[dict[str, Any]]:
    """Show a task and those that follow it until all are over; their last details.

    Raises TaskFailed or Cancelled for the first that did not finish.
    """
    columns = (
        TextColumn("  {task.description:24}"),
        BarColumn(24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=say) as progress:
        while True:
            plan = _plan(api, guid)
            for task in plan:
                _draw(progress, bars, task)
            if _is_over(plan):
                break
            time.sleep(_LOOK_EVERY)
    _check(plan)
    return plan


def _plan(api: Api, guid: str) -> list[dict[str, Any]]:
    """The visible tasks of a plan, in order."""
    head = api.get(f"/tasks/{guid}", {"extended": "true"})
    found = [head]
    for step in head["workflowExecution"]["tasks"]:
        if step["guid"] != guid and step["state"]["name"] != "PLANNED":
            try:
                found.append(api.get(f"/tasks/{step['guid']}"))
            except NotFound:
                continue  # cancelled with what it was to follow
    return found


def _is_over(plan: list[dict[str, Any]]) -> bool:
    if any(task["state"]["name"] not in FINAL for task in plan):
        return False
    steps = plan[0]["workflowExecution"]["tasks"]
    return all(step["state"]["name"] != "PLANNED" for step in steps)


def _draw(progress: Progress, bars: dict[str, TaskID], task: dict[str, Any]) -> None:
    state = task["state"]["name"]
    if task["guid"] not in bars:
        bars[task["guid"]] = progress.add_task(task["type"]["name"], total=100, rate="")
    sample = task.get("dataTransferRate", {})
    moved, rate = sample.get("transferredBytes", 0), sample.get("transferRate", 0)
    shown = f"{units.size(moved)} at {units.rate(rate)}" if moved else ""
    if state not in ("RUNNING", "FINISHED"):
        shown = state.lower()
    progress.update(bars[task["guid"]], completed=task["progress"], rate=shown)


def _check(plan: list[dict[str, Any]]) -> None:
    """The last state of a retried task counts, not those of the attempts before."""
    last = {task["type"]["name"]: task for task in plan}
    for task in last.values():
        state, what = task["state"]["name"], task["type"]["name"]
        why = task.get("statusInfo", "no reason given")
        if state == "FAILED":
            raise TaskFailed(f"{what} {task['guid']} failed: {why}")
        if state == "CANCELLED":
            raise Cancelled(f"{what} {task['guid']} was cancelled: {why}")
