"""Ends of tasks that tell whether their destination answers."""

from __future__ import annotations

from haulback.contract.node_tasks import AWAY
from haulback.contract.task_states import State
from haulback.errors import Unavailable
from haulback.tasks.record import Task
from haulback.tasks.scheduling import COPYING
from haulback.wire import Named

TEST = "CONNECTIVITY_TEST"
AGAIN = "again"  # parameter of a test that the server itself made, and repeats if it fails
# Kinds that fail as unavailable because of their destination, never of a hypervisor.
AT_DESTINATION = frozenset(
    ("STORE", "VERIFY", "REPAIR", "BACKUP_CLEANUP", "BACKUP_DESTINATION_INIT", TEST)
)
_READERS = frozenset(("RESTORE", "IMPORT", "PROVE"))


def away(task: Task, state: State) -> Named | None:
    """The destination that a failed task could not reach, else None."""
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
    """The guid of the destination that a failed copy could not read from, else None."""
    if state is not State.FAILED or task.results.get("failure") != Unavailable.code:
        return None
    source = source_of(task)
    return source if source and task.results.get(AWAY) == source else None


def answers(task: Task, state: State) -> Named | None:
    """The destination that a finished task has certainly used, else None."""
    is_used = task.type in AT_DESTINATION or task.type in _READERS
    return task.refs.get("backupDestination") if is_used and state is State.FINISHED else None
