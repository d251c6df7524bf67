"""The log of a task: lines made from the task's record, around the lines of its node."""

from __future__ import annotations

from collections.abc import Sequence

from haulback import units
from haulback.contract.task_states import FINAL
from haulback.tasks.record import LogRow, Task, Waiting

_ROLES = {
    "protectedEntity": "machine",
    "hypervisor": "hypervisor",
    "backupDestination": "destination",
    "backup": "backup",
    "protectedEntitySnapshot": "snapshot",
    "mountedBackup": "mounted backup",
    "restoreJob": "restore job",
    "schedule": "schedule",
    "rule": "rule",
}
_GUIDS = ("backup", "mountedBackup", "restoreJob")  # records without a name
_FINAL = frozenset(state.value for state in FINAL)


def log_lines(task: Task, lines: Sequence[LogRow], waiting: Waiting | None) -> list[LogRow]:
    """The whole log of a task, oldest line first: never empty, in every state.

    `lines` are the stored lines; `waiting` is the reason why a queued task waits.  The times of
    all lines are the server's, epoch ms.
    """
    first = LogRow(0, task.created, 0, f"{task.type} was requested{_about(task)}")
    return [first, *_taken(task, lines), *_end(task, waiting)]


def _about(task: Task) -> str:
    """The objects of a task in words, and the requested type of backup."""
    parts = [f"{task.backup_type} backup"] if task.backup_type else []
    for role, word in _ROLES.items():
        ref = task.refs.get(role)
        if ref:
            parts.append(f"{word} {ref.guid if role in _GUIDS else ref.name or ref.guid}")
    return f": {', '.join(parts)}" if parts else ""


def _taken(task: Task, lines: Sequence[LogRow]) -> list[LogRow]:
    """The stored lines, with a line about the start of the last attempt before its first line."""
    whole = _with_gap(lines)
    if task.started is None or not task.attempt:
        return whole
    node = task.refs.get("node")
    name = node.name or node.guid if node else task.node or "a node"
    waited = units.duration(max(0, task.started - task.created) / 1000)
    text = f"{name} took the task, {waited} after the request"
    begin = LogRow(0, task.started, task.attempt, text)
    place = next((i for i, line in enumerate(whole) if line.time >= task.started), len(whole))
    return [*whole[:place], begin, *whole[place:]]


def _with_gap(lines: Sequence[LogRow]) -> list[LogRow]:
    """The stored lines, with a note where lines were left out."""
    result: list[LogRow] = []
    before = 0
    for line in lines:
        left = line.number - before - 1
        if left:
            result.append(LogRow(0, line.time, line.attempt, f"({left} lines were left out here)"))
        result.append(line)
        before = line.number
    return result


def _end(task: Task, waiting: Waiting | None) -> list[LogRow]:
    """The lines about the present state, and about a requested cancellation."""
    if task.state in _FINAL:
        return [LogRow(0, task.finished or task.modified, task.attempt, _ended(task))]
    if task.state == "PLANNED":
        text = f"the task waits for the end of task {task.follows}"
        return [LogRow(0, task.created, task.attempt, text)]
    if task.state == "QUEUED":
        why = waiting.reason if waiting else "a node to take it"
        before = f" ({task.status_info})" if task.status_info else ""
        text = f"the task is queued and waits for: {why}{before}"
        return [LogRow(0, task.modified, task.attempt, text)]
    if task.cancel_wanted:
        text = f"the cancellation was requested: {task.status_info or 'no reason given'}"
        return [LogRow(0, task.modified, task.attempt, text)]
    return []


def _ended(task: Task) -> str:
    """The final state with the duration, the transferred bytes, and the reason."""
    text = task.state
    if task.started is not None and task.finished is not None:
        text += f" after {units.duration(max(0, task.finished - task.started) / 1000)}"
    sample = task.results.get("dataTransferRate") or {}
    if moved := sample.get("transferredBytes"):
        text += f", {units.size(moved)} moved"
        if rate := sample.get("transferRate"):
            text += f" at {units.rate(rate)}"
    if records := task.results.get("processedObjectCount"):
        text += f", {units.counted(records, 'record')} read"
    return f"{text}: {task.status_info}" if task.status_info else text
