"""Options that all task submissions share, and the output of new tasks."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, TypedDict

from cyclopts import Parameter

from haulback.cli.output import console
from haulback.cli.times import FORMS, epoch_ms
from haulback.cli.watch import follow
from haulback.client.client import Client
from haulback.client.submissions import SubmissionResult
from haulback.contract.tasks import TaskListRecord
from haulback.errors import Cancelled, TaskFailed
from haulback.wire import Ref

WatchOption = Annotated[bool, Parameter(help="Follow the task to its end.")]


class SubmitTimes(TypedDict, total=False):
    """Members that all task submissions share."""

    priority: int | None
    windowStart: int | None
    windowEnd: int | None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """Start window, priority, project and idempotency key of a submission."""

    priority: Annotated[
        int | None, Parameter(help="0 to 100; tasks with a higher number start sooner.")
    ] = None
    window_start: Annotated[str | None, Parameter(help=f"Earliest start: {FORMS}.")] = None
    window_end: Annotated[str | None, Parameter(help=f"Latest start: {FORMS}.")] = None
    project: Annotated[str, Parameter(help="For whom.")] = ""
    key: Annotated[
        str,
        Parameter(
            help=("Idempotency key: a repeated request with the same key returns the same tasks.")
        ),
    ] = ""
    watch: Annotated[bool, Parameter(negative="", help="Follow the tasks to their end.")] = False

    @property
    def times(self) -> SubmitTimes:
        """The options as members of a request."""
        return SubmitTimes(
            priority=self.priority,
            windowStart=epoch_ms(self.window_start, "--window-start"),
            windowEnd=epoch_ms(self.window_end, "--window-end"),
        )

    @property
    def options(self) -> SubmissionResult:
        """The options as the client's struct."""
        return SubmissionResult(key=self.key, project=self.project)


USUAL = SubmitOptions()


def report(client: Client, tasks: Iterable[TaskListRecord], how: SubmitOptions) -> None:
    """Print the guids of new tasks, and follow the tasks if --watch is given."""
    heads = [task.guid for task in tasks]
    for guid in heads:
        print(guid)
    if how.watch:
        watch(client, heads)


def watch(client: Client, heads: Iterable[str]) -> None:
    """Follow all tasks to their end, and print the remarks about restored machines.

    Raises TaskFailed or Cancelled, with the reason of each task that did not finish.
    """
    ended: list[TaskFailed | Cancelled] = []
    for guid in heads:
        try:
            plan = follow(client, guid, console())
        except (TaskFailed, Cancelled) as error:
            ended.append(error)
            continue
        for job in {task.restoreJob.guid for task in plan if task.restoreJob}:
            if said := client.restores.get(job).statusInfo:
                print(said)

    if ended:
        worst = next((error for error in ended if isinstance(error, TaskFailed)), ended[0])
        raise type(worst)("; ".join(error.message for error in ended), **worst.details)


@contextmanager
def kept(noun: str, name: str, again: str) -> Iterator[None]:
    """Follow the first task of a new record; an error says that the record stays, and what to do.

    `again` is the verb of the command that repeats the task.  Raises TaskFailed and Cancelled.
    """
    typed = shlex.quote(name)
    try:
        yield
    except (TaskFailed, Cancelled) as error:
        raise type(error)(
            f"{error.message}; the {noun} {name} was added: repair the cause and run "
            f"`haulback {noun} {again} {typed}`, or remove it by `haulback {noun} rm "
            f"{typed}`",
            **error.details,
        ) from None


def refs(guids: Iterable[str]) -> list[Ref]:
    """References to these guids."""
    return [Ref(guid) for guid in guids]


def ref(guid: str) -> Ref | None:
    """A reference, or None for an empty guid."""
    return Ref(guid) if guid else None
