"""Ends of tasks that show whether their destination answers."""

from __future__ import annotations

import msgspec

from haulback.contract.node_tasks import AWAY, READ, SourceLocation
from haulback.contract.task_states import State
from haulback.errors import Malformed, Unavailable
from haulback.tasks.record import Task
from haulback.tasks.scheduling import COPYING
from haulback.wire import Named

TEST = "CONNECTIVITY_TEST"
AGAIN = "again"  # parameter of a test that the server planned, and repeats if it fails
# Kinds that fail as unavailable because of their destination, never because of a hypervisor.
AT_DESTINATION = frozenset(
    ("STORE", "VERIFY", "REPAIR", "BACKUP_CLEANUP", "BACKUP_DESTINATION_INIT", TEST)
)
_READERS = frozenset(("RESTORE", "IMPORT", "PROVE"))


def away(task: Task, state: State) -> Named | None:
    """The destination that a failed task could not reach, or None."""
    place = task.refs.get("backupDestination")
    if place is None or state is not State.FAILED:
        return None
    if task.results.get("failure") != Unavailable.code:
        return None
    is_its_own = task.type in AT_DESTINATION or task.results.get(AWAY) == place.guid
    return place if is_its_own else None


def source_of(task: Task) -> str | None:
    """The guid of the destination that a copy reads from, None for other tasks."""
    source = task.params.get("source") if task.lane == COPYING else None
    return source if isinstance(source, str) else None


def away_source(task: Task, state: State) -> str | None:
    """The guid of the destination that a failed copy could not read from, or None."""
    if state is not State.FAILED or task.results.get("failure") != Unavailable.code:
        return None
    source = source_of(task)
    return source if source and task.results.get(AWAY) == source else None


def answers(task: Task, state: State) -> Named | None:
    """The destination that a finished task has certainly used, or None."""
    if state is not State.FINISHED:
        return None
    if task.type in _READERS:
        return read_from(task).destination
    return task.refs.get("backupDestination") if task.type in AT_DESTINATION else None


def read_from(task: Task) -> SourceLocation:
    """The location that a task has read.  Raises Malformed for an invalid report of its node.

    A node of an earlier version does not report the location; then the planned location counts.
    """
    if READ not in task.results:
        return SourceLocation(task.ref("backup"), task.refs.get("backupDestination"))
    try:
        return msgspec.convert(task.results[READ], SourceLocation)
    except msgspec.ValidationError as error:
        raise Malformed(f"{READ}: {error}", field=READ) from None
