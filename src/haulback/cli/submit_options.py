"""Options that all task submissions share, and the output of new tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, TypedDict

from cyclopts import Parameter

from haulback.cli.output import console
from haulback.cli.watch import follow
from haulback.client.client import Client
from haulback.client.submissions import SubmissionResult
from haulback.contract.tasks import TaskListRecord
from haulback.wire import Ref


class SubmitTimes(TypedDict, total=False):
    """Members of every request for work."""

    priority: int | None
    windowStart: int | None
    windowEnd: int | None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """Start window, priority, project and idempotency key of a submission."""

    priority: Annotated[int | None, Parameter(help="0 to 100; the higher, the sooner.")] = None
    window_start: Annotated[int | None, Parameter(help="Start no earlier, epoch ms.")] = None
    window_end: Annotated[int | None, Parameter(help="Start no later, epoch ms.")] = None
    project: Annotated[str, Parameter(help="For whom.")] = ""
    key: Annotated[str, Parameter(help="The same key and request: the same tasks again.")] = ""
    watch: Annotated[bool, Parameter(negative="", help="Follow the tasks to their end.")] = False

    @property
    def timed(self) -> SubmitTimes:
        """As members of a request."""
        return SubmitTimes(
            priority=self.priority, windowStart=self.window_start, windowEnd=self.window_end
        )

    @property
    def asked(self) -> SubmissionResult:
        """As the client takes it."""
        return SubmissionResult(key=self.key, project=self.project)


USUAL = SubmitOptions()


def report(client: Client, tasks: Iterable[TaskListRecord], how: SubmitOptions) -> None:
    """Print the guids of new tasks; follow them if that is wanted."""
    heads = [task.guid for task in tasks]
    for guid in heads:
        print(guid)
    if how.watch:
        watch(client, heads)


def watch(client: Client, heads: Iterable[str]) -> None:
    """Follow tasks to their end.  Raises TaskFailed or Cancelled."""
    for guid in heads:
        follow(client, guid, console())


def refs(guids: Iterable[str]) -> list[Ref]:
    """References to these."""
    return [Ref(guid) for guid in guids]


def ref(guid: str) -> Ref | None:
    """A reference, if there is something to refer to."""
    return Ref(guid) if guid else None
