"""Follow tasks to their end, with progress, rate and remaining time."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from haulback import units
from haulback.client.client import Client
from haulback.client.tasks import check
from haulback.contract.tasks import TaskDetails

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


def follow(client: Client, guid: str, say: Console) -> list[TaskDetails]:
    """Show a task and its followers until all have ended; return their last details.

    Raises TaskFailed or Cancelled for the first task that did not finish, and KeyboardInterrupt
    with a text that says how to go on.
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
    try:
        with Progress(*columns, console=say) as progress:
            for plan in client.tasks.follow(guid):
                for task in plan:
                    _draw(progress, bars, task)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_goes_on(guid)) from None
    check(plan)
    return plan


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
    state, sample = task.state.name, task.dataTransferRate
    if task.guid not in bars:
        bars[task.guid] = progress.add_task(
            _label(task, {bar.description for bar in progress.tasks}), total=100, rate=""
        )
    moved = (sample.transferredBytes if sample else None) or 0
    rate = (sample.transferRate if sample else None) or 0.0
    shown = f"{units.size(moved)} at {units.rate(rate)}" if moved else ""
    if state not in ("RUNNING", "FINISHED"):
        shown = state.lower()
    progress.update(bars[task.guid], completed=task.progress, rate=shown)
