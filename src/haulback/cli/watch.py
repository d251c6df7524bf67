"""Follow tasks to their end, with progress, rate and remaining time."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from haulback import units
from haulback.client.client import Client
from haulback.client.tasks import check
from haulback.contract.task_states import State
from haulback.contract.tasks import TaskDetails

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_PATIENCE = 3.0  # seconds of waiting before the reason is shown


def follow(client: Client, guid: str, say: Console) -> list[TaskDetails]:
    """Show a task and its followers until all have ended; return their last details.

    A task that waits for seconds is shown with the reason. Raises TaskFailed or Cancelled for the
    first task that did not finish, and KeyboardInterrupt with a text that says how to continue.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description:32}"),
        BarColumn(24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bars: dict[str, TaskID] = {}
    plan: list[TaskDetails] = []
    waits = _Waits()
    try:
        with Progress(*columns, console=say) as progress:
            for plan in client.tasks.follow(guid):
                for task in plan:
                    _draw(progress, bars, task)
                    if sentence := waits.told(task):
                        progress.console.print(sentence)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_goes_on(guid)) from None
    check(plan)
    return plan


class _Waits:
    """The reasons of waiting tasks, each printed once."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._told: dict[str, str] = {}

    def told(self, task: TaskDetails) -> str:
        """The sentence about a task that has waited for `_PATIENCE` seconds, "" if none is due."""
        if task.state.name != State.QUEUED.value or not task.queueReason:
            self._since.pop(task.guid, None)
            return ""
        begun = self._since.setdefault(task.guid, time.monotonic())
        if time.monotonic() - begun < _PATIENCE or self._told.get(task.guid) == task.queueReason:
            return ""
        self._told[task.guid] = task.queueReason
        return f"{_label(task, ())} waits for: {task.queueReason}"


def _goes_on(guid: str) -> str:
    return (
        f"; the task continues: `haulback task show {guid}` shows it, "
        f"`haulback task cancel {guid}` ends it"
    )


def _label(task: TaskDetails, taken: Collection[str]) -> str:
    """The name of a progress bar: type and object of its task, and a number if the name is in
    use.
    """
    about = task.protectedEntity or task.backupDestination or task.hypervisor
    label = f"{task.type.name} {about.name}" if about and about.name else task.type.name
    number = 1
    while (shown := label if number == 1 else f"{label} ({number})") in taken:
        number += 1
    return shown


def _draw(progress: Progress, bars: dict[str, TaskID], task: TaskDetails) -> None:
    state = task.state.name
    if task.guid not in bars:
        bars[task.guid] = progress.add_task(
            _label(task, {bar.description for bar in progress.tasks}), total=100, rate=""
        )
    shown = _moved(task)
    if state not in ("RUNNING", "FINISHED"):
        shown = state.lower()
    progress.update(bars[task.guid], completed=task.progress, rate=shown)


def _moved(task: TaskDetails) -> str:
    """The records or the bytes that a task has done, "" before the first."""
    if task.processedObjectCount:
        return units.counted(task.processedObjectCount, "record")
    sample = task.dataTransferRate
    if sample is None or not sample.transferredBytes:
        return ""
    return f"{units.size(sample.transferredBytes)} at {units.rate(sample.transferRate or 0.0)}"
