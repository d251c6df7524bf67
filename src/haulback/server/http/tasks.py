"""The task operations that people use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, RawBody

from haulback.ids import guid_of
from haulback.kinds.seam import Kinds, Submission
from haulback.server import movers, people
from haulback.server.http import queries, views
from haulback.server.http.answers import answer, nothing
from haulback.server.http.callers import ANYBODY, Call, app_of, caller, person
from haulback.server.http.threads import threaded
from haulback.server.store import reports, tasks
from haulback.server.store.access import Node
from haulback.tasks.record import Task
from haulback.tasks.states import FINAL, State
from haulback.wire import Named, Ref, parse, read

_FINISHED = sorted(FINAL, key=lambda state: state.value)


class NewState(msgspec.Struct):
    """The object form of a new state."""

    state: State
    statusInfo: str | None = None  # noqa: N815 - the contract's spelling


@get("/tasks", opt=ANYBODY)
@threaded
def list_tasks(request: Call) -> Response[bytes]:
    """A page of tasks, or all of them; the total in X-Total-Count."""
    return _list(request, views.list_record)


@get("/tasks/detailed", opt=ANYBODY)
@threaded
def list_detailed(request: Call) -> Response[bytes]:
    """The same with every member."""
    return _list(request, views.details)


def _list(request: Call, view: Callable[[Task], dict[str, Any]]) -> Response[bytes]:
    found, total = people.page(app_of(request), queries.task_filter(request))
    return answer([view(task) for task in found], headers={"X-Total-Count": str(total)})


@get("/tasks/modification-timestamps", opt=ANYBODY)
@threaded
def last_change(request: Call) -> Response[bytes]:
    """When any task last changed."""
    with app_of(request).store.read() as sql:
        value = reports.last_change(sql)
    return answer({"value": value, "timestamp": value})


@get("/tasks/{guid:str}", opt=ANYBODY)
@threaded
def one_task(request: Call, guid: FromPath[str]) -> Response[bytes]:
    """One task; `extended=true` adds the plan and what the node reported."""
    app = app_of(request)
    task, why = people.look(app, guid_of(guid, "guid"))
    if queries.flag(request, "extended"):
        return answer(views.extended(task, people.workflow(app, task), why))
    return answer(views.details(task, why))


@get("/tasks/{guid:str}/state", opt=ANYBODY)
@threaded
def state(request: Call, guid: FromPath[str]) -> Response[bytes]:
    """The state; a node that runs the task learns here that it is to be cancelled."""
    return answer(views.status(_seen(request, guid)))


@get("/tasks/{guid:str}/state/v2", opt=ANYBODY)
@threaded
def state_v2(request: Call, guid: FromPath[str]) -> Response[bytes]:
    """The same with guid and progress."""
    return answer(views.status_v2(_seen(request, guid)))


def _seen(request: Call, guid: str) -> Task:
    app, task_guid, who = app_of(request), guid_of(guid, "guid"), caller(request)
    if isinstance(who, Node):
        return movers.state_for(app, who, task_guid)
    return people.look(app, task_guid)[0]


@get("/tasks/{guid:str}/transfer-rate/last", opt=ANYBODY)
@threaded
def last_rate(request: Call, guid: FromPath[str]) -> Response[bytes]:
    """The last sample of how fast it went, also for tasks that left the lists."""
    with app_of(request).store.read() as sql:
        task = tasks.get(sql, guid_of(guid, "guid"))
    return answer(task.results.get("dataTransferRate", {}))


@get("/tasks/{guid:str}/log", opt=ANYBODY)
@threaded
def read_log(request: Call, guid: FromPath[str]) -> Response[bytes]:
    """What the node said while it worked."""
    lines = people.log(app_of(request), guid_of(guid, "guid"))
    return answer([views.log_line(line) for line in lines])


@put("/tasks/{guid:str}/state", opt=ANYBODY)
@threaded
def set_state(request: Call, body: RawBody, guid: FromPath[str]) -> Response[bytes]:
    """People cancel; the node that takes or runs the task moves it on."""
    app, task_guid, wanted = app_of(request), guid_of(guid, "guid"), read_state(parse(body))
    who = caller(request)
    if isinstance(who, Node):
        movers.set_state(app, who, task_guid, wanted.state, wanted.statusInfo)
    else:
        people.set_state(app, task_guid, wanted.state, wanted.statusInfo)
    return nothing(204)


@delete("/tasks/{guid:str}", status_code=204)
@threaded
def remove(request: Call, guid: FromPath[str]) -> None:
    """Remove a task; cancel it if it runs."""
    people.remove(app_of(request), guid_of(guid, "guid"))


def read_state(value: Any) -> NewState:
    """A new state in any of the three forms clients send."""
    if isinstance(value, dict) and "state" in value:
        found: NewState = read(value, NewState, "")
        return found
    return NewState(read(value, State, "state"))


def _some(path: str, states: list[State]) -> HTTPRouteHandler:
    @post(path, name=path)
    @threaded
    def handler(request: Call, body: RawBody) -> Response[bytes]:
        refs: list[Ref] = read(parse(body), list[Ref], "")
        people.remove_some(app_of(request), [ref.guid for ref in refs], states)
        return nothing(201)

    return handler


def _all(path: str, states: list[State]) -> HTTPRouteHandler:
    @delete(path, status_code=204, name=path)
    @threaded
    def handler(request: Call) -> None:
        people.remove_all(app_of(request), states, queries.project(request))

    return handler


def _submission(way: Submission) -> HTTPRouteHandler:
    @post(f"/tasks/{way.path}", name=f"submit-{way.path}")
    @threaded
    def handler(request: Call, body: RawBody) -> Response[bytes]:
        project = queries.project(request)
        account = person(request)
        who = Named(account.guid, account.login)
        heads = people.submit(app_of(request), way, body, who, project)
        shown = [views.details(task) for task in heads]
        return answer(shown if way.many else shown[0], 201)

    return handler


def routes(kinds: Kinds) -> list[Any]:
    """All of them; one for each way to submit work."""
    ways = [way for kind in kinds.values() for way in kind.submissions]
    queued = [*_FINISHED, State.QUEUED]
    return [
        list_tasks,
        list_detailed,
        last_change,
        one_task,
        state,
        state_v2,
        last_rate,
        read_log,
        set_state,
        remove,
        _all("/tasks/all-finished", _FINISHED),
        _all("/tasks/all-finished-and-queued", queued),
        _all("/tasks/all-running", [State.RUNNING]),
        _some("/tasks/cancel-running", [State.RUNNING]),
        _some("/tasks/delete-finished", _FINISHED),
        _some("/tasks/delete-finished-and-queued", queued),
        *map(_submission, ways),
    ]
