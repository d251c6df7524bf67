"""The task operations of users."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import starmap

from haulback.contract import example_values as example
from haulback.contract.losses import Losses
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import (
    OPERATORS,
    PEOPLE_AND_NODES,
    RESTORERS,
    WORKERS,
    WORKERS_AND_NODES,
)
from haulback.contract.task_states import FINAL, State
from haulback.contract.tasks import (
    DataTransferRateDetails,
    LogLine,
    NewState,
    NewStates,
    TaskBatchResponse,
    TaskDetails,
    TaskListRecord,
    TaskStatus,
    TimestampDTO,
    Unsuccessful,
)
from haulback.errors import Malformed
from haulback.kinds.api import Submission
from haulback.server.http import query_params, task_views
from haulback.server.http.operation import PROJECT, ApiRequest, Operation, Param, Reply, Router
from haulback.server.http.schemas import Schema, Schemas
from haulback.server.queries import Filter
from haulback.server.services import bulk_removal, node_tasks, runs, task_losses, tasks
from haulback.tasks.record import Plan, Task, Waiting
from haulback.texts import is_printable
from haulback.wire import Ref, dump, read

_FINISHED = sorted(FINAL, key=lambda state: state.value)
_STREAMED = 500  # rows in one piece of a streamed list
_KEY_LENGTH = 200  # maximum length of an idempotency key, in characters
_EXTENDED = Param("extended", "With followers, workflow, files and history.", {"type": "boolean"})
router = Router()
View = Callable[[Task, Waiting | None], object]


@router(
    "GET",
    "/tasks",
    "List of tasks.",
    answer=TaskListRecord,
    many=True,
    query=query_params.TASKS,
    roles=PEOPLE_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    command="task ls",
)
def list_tasks(call: ApiRequest) -> Reply:
    """A page of tasks, or all of them, streamed; the total in X-Total-Count."""
    return _list(call, task_views.list_record)


@router(
    "GET",
    "/tasks/detailed",
    "Tasks with all members.",
    answer=TaskDetails,
    many=True,
    query=query_params.TASKS,
    roles=PEOPLE_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    command="task ls --detailed",
)
def list_detailed(call: ApiRequest) -> Reply:
    """A page of tasks with every member."""
    return _list(call, task_views.details)


def _list(call: ApiRequest, view: View) -> Reply:
    wanted = query_params.task_filter(call)
    if wanted.size is None and not wanted.cursor:
        return _streamed(call, wanted, view)
    found, total = tasks.page(call.app, wanted)
    headers = _headers(wanted, [task for task, _ in found], total)
    return Reply([view(*seen) for seen in found], headers=headers)


def _headers(wanted: Filter, found: list[Task], total: int) -> dict[str, str]:
    cursor = tasks.next_cursor(wanted, found)
    headers = {"X-Total-Count": str(total)} if total >= 0 else {}
    return headers | ({"X-Next-Cursor": cursor} if cursor else {})


def _streamed(call: ApiRequest, wanted: Filter, view: View) -> Reply:
    """The whole list as one array of any length; a page number has no effect."""
    if wanted.page:
        return Reply([], headers={"X-Total-Count": str(tasks.count(call.app, wanted))})
    total = tasks.count(call.app, wanted)
    source = tasks.whole(call.app, wanted)
    if total <= _STREAMED:
        return Reply([view(*seen) for seen in source], headers={"X-Total-Count": str(total)})
    return Reply(stream=_pieces(starmap(view, source)), headers={"X-Total-Count": str(total)})


def _pieces(rows: Iterable[object]) -> Iterator[bytes]:
    """The JSON of a long array, encoded some rows at a time."""
    start, piece = b"[", bytearray()
    for number, row in enumerate(rows, 1):
        piece += start + dump(row)
        start = b","
        if number % _STREAMED == 0:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece) + (b"[]" if start == b"[" else b"]")


@router(
    "GET",
    "/tasks/modification-timestamps",
    "Time of the last change of any task.",
    answer=TimestampDTO,
    roles=PEOPLE_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    command="task modified",
)
def last_change(call: ApiRequest) -> TimestampDTO:
    """The time of the last change of a task; GET /tasks?modified-since= accepts this time."""
    value = tasks.last_change(call.app, call.who.scope, _reader(call))
    return TimestampDTO(value, value)


@router(
    "GET",
    "/tasks/{guid}",
    "A task.",
    answer=TaskDetails,
    query=(_EXTENDED,),
    roles=PEOPLE_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    command="task show TASK",
)
def one_task(call: ApiRequest) -> TaskDetails:
    """A task; `extended=true` adds the plan and the report of the node."""
    _check_reader(call)
    task, why = tasks.look(call.app, call.guid, call.who.scope)
    if query_params.flag(call, "extended"):
        if not call.who.scope.is_whole:
            # The report of such a task names backups of all projects.
            task.results.pop("damage", None)
        return task_views.extended(task, tasks.workflow(call.app, task), why)
    return task_views.details(task, why)


@router(
    "GET",
    "/tasks/{guid}/state",
    "The state of a task.",
    answer=TaskStatus,
    roles=PEOPLE_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    command="task state TASK",
)
def state(call: ApiRequest) -> TaskStatus:
    """The state of a task; the node that runs the task reads a requested cancellation here."""
    return task_views.status(_seen(call))


@router(
    "GET",
    "/tasks/{guid}/state/v2",
    "State, guid and progress of a task.",
    answer=TaskStatus,
    roles=PEOPLE_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    command="task state TASK --full",
)
def state_v2(call: ApiRequest) -> TaskStatus:
    """The state of a task with guid and progress."""
    return task_views.status_v2(_seen(call))


def _reader(call: ApiRequest) -> str | None:
    """The node that sent the request, None for other callers."""
    return call.who.node.guid if call.who.node else None


def _check_reader(call: ApiRequest) -> None:
    """Raises NotFound for a node that neither runs, ran nor may take the task."""
    if node := _reader(call):
        tasks.check_reader(call.app, call.guid, node)


def _seen(call: ApiRequest) -> Task:
    if call.who.node:
        return node_tasks.state_for(call.app, call.who.node, call.guid)
    return tasks.look(call.app, call.guid, call.who.scope)[0]


@router(
    "GET",
    "/tasks/{guid}/transfer-rate/last",
    "The last sample of the transfer rate.",
    answer=DataTransferRateDetails,
    roles=PEOPLE_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    command="task rate TASK",
)
def last_rate(call: ApiRequest) -> DataTransferRateDetails:
    """The last sample of the transfer rate, also of tasks that are hidden from lists."""
    _check_reader(call)
    task = tasks.task(call.app, call.guid, call.who.scope)
    sample = task.results.get("dataTransferRate")
    return task_views.rate(sample, task) if sample else DataTransferRateDetails()


@router(
    "GET",
    "/tasks/{guid}/log",
    "The log of a task.",
    answer=LogLine,
    many=True,
    roles=PEOPLE_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    command="task log TASK",
)
def read_log(call: ApiRequest) -> list[LogLine]:
    """The log of a task, which is never empty: its request, the lines of its node, and its end."""
    _check_reader(call)
    return [task_views.log_line(line) for line in tasks.log(call.app, call.guid, call.who.scope)]


def _or_state(schemas: Schemas, known: Schema) -> Schema:
    """The schema of a new state: a string, {name}, or {state, statusInfo}, as clients send."""
    return {"anyOf": [schemas.of(State, incoming=True), known]}


@router(
    "PUT",
    "/tasks/{guid}/state",
    "Change the state of a task.",
    request=NewState,
    request_schema=_or_state,
    status=204,
    roles=WORKERS_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    examples=[
        "CANCELLED",
        {"name": "CANCELLED"},
        {"state": {"name": "CANCELLED"}, "statusInfo": "Canceled by user"},
    ],
    command="task cancel TASK",
    unasked="the caller names the cancelled task, and can submit that task again",
)
def set_state(call: ApiRequest) -> None:
    """Change the state of a task: users cancel, the task's node sets the other states."""
    wanted = read_state(call.parsed())
    app, info = call.app, wanted.statusInfo
    if call.who.node:
        node_tasks.set_state(app, call.who.node, call.guid, wanted.state, info)
    else:
        tasks.set_state(app, call.who, call.guid, wanted.state, info)


@router(
    "PUT",
    "/tasks/state",
    "Change the states of several tasks.",
    request=NewStates,
    status=204,
    roles=WORKERS_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    examples=[{"state": {"name": "CANCELLED"}, "tasks": [example.REF]}],
    command="task cancel TASK TASK",
    unasked="the caller names the cancelled tasks, and can submit them again",
)
def set_states(call: ApiRequest) -> None:
    """Change the states of many tasks, one by one; a 409 names the refused tasks."""
    wanted: NewStates = call.read(NewStates)
    guids = [ref.guid for ref in wanted.tasks]
    if call.who.node:
        node_tasks.set_states(call.app, call.who.node, guids, wanted.state, wanted.statusInfo)
    else:
        tasks.set_states(call.app, call.who, guids, wanted.state, wanted.statusInfo)


@router(
    "DELETE",
    "/tasks/{guid}",
    "Remove a task, or cancel a running task.",
    status=204,
    roles=WORKERS,
    projects=ProjectAccess.OBJECTS,
    command="task rm TASK",
    destroys=lambda call: task_losses.of_task(call.app, call.guid, call.who.scope),
)
def remove(call: ApiRequest) -> Reply:
    """Remove a task, or cancel a running one; a second request cancels by force (X-Left-Behind)."""
    left = tasks.remove(call.app, call.who, call.guid)
    return Reply(headers={"X-Left-Behind": left} if left else {})


@router(
    "POST",
    "/tasks/{guid}",
    "Run a recovery plan.",
    answer=TaskListRecord,
    many=True,
    status=201,
    roles=RESTORERS,
    projects=ProjectAccess.USE,
    command="plan run PLAN",
    destroys=lambda call: _losses_of_run(call),
)
def recover(call: ApiRequest) -> list[TaskListRecord]:
    """Run the recovery plan of this guid: a restore for each machine of its active rules."""
    plan = tasks.recover(call.app, call.guid, call.who, _key(call))
    waits = tasks.waits(call.app, plan.heads)
    return [task_views.list_record(task, waits.get(task.guid)) for task in plan.heads]


def _losses_of_run(call: ApiRequest) -> Losses:
    if tasks.is_repeated_run(call.app, call.guid, call.who, _key(call)):
        return Losses(total=0)
    return task_losses.of_recovery(call.app, call.guid, call.who)


@router(
    "POST",
    "/runs/{guid}/retry",
    "Repeat the tasks that failed in a run of a policy.",
    answer=TaskListRecord,
    many=True,
    status=201,
    roles=OPERATORS,
    projects=ProjectAccess.OBJECTS,
    command="policy retry POLICY",
)
def retry_run(call: ApiRequest) -> list[TaskListRecord]:
    """Queue the failed tasks of a run again; 409 if the run has no failed tasks to repeat.

    The event RUN_ENDED of the policy names the run.
    """
    return [task_views.list_record(task) for task in runs.retry(call.app, call.who, call.guid)]


def read_state(value: object) -> NewState:
    """A new state in any of the three forms that clients send."""
    if isinstance(value, dict) and "state" in value:
        found: NewState = read(value, NewState, "")
        return found
    return NewState(read(value, State, "state"))


def _some(path: str, states: list[State], summary: str, command: str) -> None:
    def handle(call: ApiRequest) -> None:
        refs: list[Ref] = call.read(list[Ref])
        bulk_removal.remove_some(call.app, call.who, [ref.guid for ref in refs], states)

    def losses(call: ApiRequest) -> Losses:
        guids = [ref.guid for ref in call.read(list[Ref])]
        return task_losses.of_tasks(call.app, guids, states, call.who.scope)

    router(
        "POST",
        path,
        summary,
        roles=WORKERS,
        projects=ProjectAccess.OBJECTS,
        request=list[Ref],
        status=201,
        examples=[[example.REF]],
        command=command,
        destroys=losses,
        rehearsed=False,  # no task is refused
    )(handle)


def _all(path: str, states: list[State], summary: str, command: str) -> None:
    def handle(call: ApiRequest) -> None:
        bulk_removal.remove_all(call.app, call.who, states)

    router(
        "DELETE",
        path,
        summary,
        roles=WORKERS,
        projects=ProjectAccess.OBJECTS,
        status=204,
        query=(PROJECT,),
        command=command,
        destroys=lambda call: task_losses.of_all_tasks(call.app, states, call.who.scope),
        rehearsed=False,  # no task is refused, and there may be many tasks
    )(handle)


_OLD = [*_FINISHED, State.QUEUED]
_all("/tasks/all-finished", _FINISHED, "Remove all finished tasks.", "task clear")
_all(
    "/tasks/all-finished-and-queued",
    _OLD,
    "Remove all finished and queued tasks.",
    "task clear --queued",
)
_all("/tasks/all-running", [State.RUNNING], "Cancel all running tasks.", "task clear --running")
_some(
    "/tasks/cancel-running",
    [State.RUNNING],
    "Cancel selected running tasks.",
    "task clear --running TASK",
)
_some("/tasks/delete-finished", _FINISHED, "Remove selected finished tasks.", "task clear TASK")
_some(
    "/tasks/delete-finished-and-queued",
    _OLD,
    "Remove selected finished and queued tasks.",
    "task clear --queued TASK",
)


def submissions(ways: Iterable[Submission]) -> list[Operation]:
    """The operations that submit tasks, one for each submission of a kind."""
    return [_submission(way) for way in ways]


def _submission(way: Submission) -> Operation:
    def handle(call: ApiRequest) -> object:
        plan = tasks.submit(call.app, way, call.body, call.who, _key(call))
        if way.batch:
            return _batch(call, plan)
        shown = _shown(call, plan.heads)
        return shown if way.many else shown[0]

    def losses(call: ApiRequest) -> Losses:
        if tasks.is_repeated(call.app, way, call.body, call.who, _key(call)):
            return Losses(total=0)
        return task_losses.of_submission(call.app, way, call.body, call.who)

    return Operation(
        "POST",
        f"/tasks/{way.path}",
        way.summary,
        handle,
        roles=way.roles,
        projects=way.projects,
        request=way.request,
        answer=TaskBatchResponse if way.batch else TaskDetails,
        many=way.many and not way.batch,
        status=201,
        query=(PROJECT,),
        examples=way.examples,
        command=way.command,
        destroys=losses if way.path in task_losses.PREVIEWS else None,
        unasked=way.unasked,
    )


def _shown(call: ApiRequest, found: list[Task]) -> list[TaskDetails]:
    waits = tasks.waits(call.app, found)
    return [task_views.details(task, waits.get(task.guid)) for task in found]


def _batch(call: ApiRequest, plan: Plan) -> TaskBatchResponse:
    return TaskBatchResponse(
        successful=plan.accepted,
        unsuccessful=[
            Unsuccessful(refusal.guid, refusal.name, refusal.message) for refusal in plan.refused
        ],
        tasks=_shown(call, plan.heads),
    )


def _key(call: ApiRequest) -> str | None:
    """The Idempotency-Key of a request, if it has one.  Raises Malformed."""
    key = call.headers.get("idempotency-key")
    if key is not None and not is_printable(key, _KEY_LENGTH):
        raise Malformed(f"Idempotency-Key: send 1 to {_KEY_LENGTH} printable characters")
    return key
