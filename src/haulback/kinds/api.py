"""Declaration of the server half of a task kind, and the types that planners use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import msgspec

from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import Roles
from haulback.contract.task_states import State
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.support.reports import ReportMember
from haulback.tasks.record import HOUR_MS, Plan, Task

Struct = type[msgspec.Struct]
# Members that a node may set in a task that restores data.
TARGET = frozenset({"restoreHostId", "restoreStorageId", "taskFiles"})


class Context(msgspec.Struct):
    """Circumstances of a submission; `now` in epoch milliseconds.

    `windows` are start-window lengths in ms, by node ("" for tasks that any node may run) and kind.
    """

    now: int
    project: str | None = None
    windows: Mapping[str, Mapping[str, int]] = {}

    def of(self, project: str | None) -> Context:
        """Copy of these circumstances for another project."""
        return msgspec.structs.replace(self, project=project)


@dataclass(frozen=True)
class Submission:
    """A submission of a kind: `POST /tasks/{path}` with a request struct, and its planner.

    `roles`, `projects`, `examples`, `command` and `unasked` are members of the operation
    (`server/http/operation.py`).  `many` is true if the answer is a list of tasks.  `batch` is true
    if the answer names accepted and refused objects beside the tasks.
    """

    path: str
    request: Struct
    plan: Callable[[Any, Catalogue, Context], Plan]
    _: KW_ONLY
    summary: str
    roles: Roles
    projects: ProjectAccess = ProjectAccess.WHOLE
    examples: Sequence[object] = ()
    command: str = ""
    many: bool = True
    batch: bool = False
    unasked: str = ""


def _no_record(task: Task, state: State, ledger: Ledger) -> None:
    """A function for kinds that change no record at their end."""


def _no_start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """A function for kinds that change no record at their start."""


@dataclass(frozen=True)
class TaskKind:
    """The server half of a task kind; `work` holds the node half under the same type.

    `start` changes records in the transaction in which a node takes the task; `prepare` makes the
    order from the records after that change; `settle` changes records in the transaction that
    finishes the task, for every final state.  `members` are the members of the task that a node may
    set beside the results (`backupType`, `cbtId`); a node that sets another member gets a Conflict.
    `report` lists the members of the node's report. `removes` is true if the task deletes backups,
    snapshots or leftovers, which a held server must not do. `stages` is true if the followers need
    the node that ran this task.  `repeatable` is true if after the death of a node the task may run
    again. `lasting` are the results that stay true when a failed task is retried.
    """

    type: str
    lane: str
    order: Struct
    prepare: Callable[[Task, Catalogue], msgspec.Struct]
    start: Callable[[Task, Ledger, Catalogue], None] = _no_start
    settle: Callable[[Task, State, Ledger], None] = _no_record
    report: tuple[ReportMember, ...] = ()
    submissions: tuple[Submission, ...] = ()
    window: int = HOUR_MS
    members: frozenset[str] = frozenset()
    retries: bool = False
    lasting: frozenset[str] = frozenset()
    repeatable: bool = True
    stages: bool = False
    removes: bool = False


AnyRequest = Any  # a request struct of some kind, whose members are looked up by name
Kinds = dict[str, TaskKind]
