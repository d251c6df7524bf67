"""Task states and the state changes that users may make."""

from __future__ import annotations

from haulback.contract.backups import BackupType as BackupType  # scripts import the name from here
from haulback.contract.task_states import State
from haulback.errors import Conflict, Forbidden

_BY_USER = {State.QUEUED: {State.CANCELLED, State.QUEUED}, State.RUNNING: {State.CANCELLED}}


def check_move(now: State, to: State, subject: str = "the task") -> None:
    """Check a state change that a user requests; `subject` names the task in messages.

    Raises Conflict if the state forbids the change, Forbidden if only the task's node may make the
    change.
    """
    if to in _BY_USER.get(now, set()):
        return
    if to in (State.RUNNING, State.FINISHED, State.FAILED):
        raise Forbidden(f"only the node that runs the task may set the state {to.value}")
    if now.final:
        raise Conflict(
            f"{subject} is {now.value}, which is a final state; name a task that waits or runs",
            state=now.value,
        )
    raise Conflict(f"{subject} cannot go from {now.value} to {to.value}", state=now.value)
