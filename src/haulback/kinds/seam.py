"""What a kind of task declares, and what its code may ask of the server and of the node."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from haulback.disk import Disk
from haulback.drivers.hypervisor import Hypervisor as HypervisorDriver
from haulback.inventory import records
from haulback.repository.repository import Repository
from haulback.tasks.record import HOUR_MS, Plan, Task
from haulback.tasks.states import State


class Ask(msgspec.Struct):
    """The circumstances of a submission: server time in epoch ms, the workflow's future guid."""

    now: int
    project: str | None = None


class Job(Protocol):
    """What `run` sees on the node."""

    task: Task
    order: Any
    folder: Path
    disk: Disk
    pool: ThreadPoolExecutor

    def hypervisor(self, config: records.Hypervisor) -> HypervisorDriver: ...

    def repository(self, config: records.Destination) -> Repository: ...

    def destination_check(self, config: records.Destination) -> None:
        """Raise Unavailable or Malformed when the destination cannot be written."""

    def init_repository(self, config: records.Destination) -> str:
        """Make the repository, or open the one that is there; its guid."""

    def meter(self, count: int) -> None:
        """So many more bytes are done.  Raises Cancelled or Fenced when the work must stop."""

    def expect(self, total: int) -> None:
        """How many bytes are to be done."""

    def confirm(self) -> None:
        """Ask the server whether this attempt still counts.  Raises Cancelled or Fenced."""

    def log(self, text: str) -> None: ...

    def target(self, path: str) -> Path:
        """A restore path, checked to lie below the node's roots.  Raises Forbidden."""

    def staging(self, name: str) -> Path:
        """The staging folder of an earlier attempt.  Raises NotFound."""

    def alive(self) -> set[str]:
        """Names of the attempts the server knows to be running, for clean-up."""


Results = dict[str, Any]
Struct = type[msgspec.Struct]


@dataclass(frozen=True)
class Submission:
    """A way to ask for work: a path below /tasks, a request struct and a planner."""

    path: str
    request: type[msgspec.Struct]
    plan: Callable[[Any, records.Catalogue, Ask], Plan]
    many: bool = True


def _nothing(task: Task, state: State, ledger: records.Ledger) -> None:
    """A kind that changes no record."""


def _no_tidying(job: Job) -> None:
    """A kind that leaves nothing behind."""


@dataclass(frozen=True)
class Kind:
    """A kind of task: one file declares one.

    `prepare` (server) makes the order from what is true when the task is taken; `run` (node) does
    the work and returns results; `settle` (server) moves records in the transaction that finishes
    the task, whatever its final state; `tidy` (node) runs once FINISHED is acknowledged.
    """

    type: str
    lane: str
    order: Struct
    prepare: Callable[[Task, records.Catalogue], msgspec.Struct]
    run: Callable[[Job], Results]
    settle: Callable[[Task, State, records.Ledger], None] = _nothing
    tidy: Callable[[Job], None] = _no_tidying
    submissions: tuple[Submission, ...] = ()
    window: int = HOUR_MS
    locks_entity: bool = False
    retries: bool = False
    repeatable: bool = True
    stages: bool = field(default=False)
