"""The task operations that only the node running a task may use."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from litestar import Response, get, post, put
from litestar.params import FromPath, RawBody

from haulback.errors import Forbidden, Malformed
from haulback.ids import guid_of
from haulback.server import movers
from haulback.server.http import queries, views
from haulback.server.http.answers import answer, nothing
from haulback.server.http.callers import ANYBODY, NODES, Call, app_of, caller, node
from haulback.server.http.threads import threaded
from haulback.server.store import access, reports, tasks
from haulback.server.store.access import Node
from haulback.tasks.record import Task
from haulback.tasks.states import BackupType
from haulback.wire import Ref, parse, read
from haulback.wire import request as decode

_LONGEST_WAIT, _LOOK_AGAIN = 60.0, 2.0  # seconds; other servers' work is found by looking


class Value(msgspec.Struct):
    """DoubleDTO."""

    value: float


class Rate(msgspec.Struct):
    """DataTransferRateRequest: bytes per second, bytes, epoch ms."""

    transferRate: float  # noqa: N815 - the contract's spelling
    transferredBytes: int | None = None  # noqa: N815
    timestamp: int | None = None


class Checkpoint(msgspec.Struct):
    """UpdateCbtTaskRequest."""

    task: Ref
    cbtId: str  # noqa: N815


@get("/tasks/queued", opt=ANYBODY)
async def queued(request: Call) -> Response[bytes]:
    """What a node may start now; waits for it when asked to (`Prefer: wait=30`)."""
    app, asking = app_of(request), await asyncio.to_thread(_asking, request)
    end = asyncio.get_running_loop().time() + _wanted_wait(request)
    while True:
        event = app.bell.listen()
        try:
            found = await asyncio.to_thread(_offer, request, asking)
            left = end - asyncio.get_running_loop().time()
            if found or left <= 0 or app.bell.is_over:
                return answer([views.details(task) for task in found])
            await asyncio.wait_for(event.wait(), min(left, _LOOK_AGAIN))
        except TimeoutError:
            continue
        finally:
            app.bell.leave(event)


def _asking(request: Call) -> Node | None:
    """The node whose offer is asked for; None for everything queued.  Raises Forbidden."""
    named = queries.one(request, "node")
    guid = guid_of(named, "node") if named else None
    who = caller(request)
    if isinstance(who, Node):
        if guid not in (None, who.guid):
            raise Forbidden("a node asks for itself only")
        return who
    if guid is None:
        return None
    with app_of(request).store.read() as sql:
        for known in access.nodes(sql):
            if known.guid == guid:
                return known
    raise Malformed(f"node: there is no node {guid}", field="node")


def _offer(request: Call, asking: Node | None) -> list[Task]:
    app = app_of(request)
    if asking:
        return movers.offer(app, asking)
    with app.store.read() as sql:
        return reports.page(sql, reports.Filter(states=["QUEUED"]))[0]


def _wanted_wait(request: Call) -> float:
    found = re.search(r"\bwait=([0-9]{1,4})\b", request.headers.get("prefer", ""))
    return min(float(found[1]), _LONGEST_WAIT) if found else 0.0


@put("/tasks/{guid:str}/progress", opt=NODES)
@threaded
def progress(request: Call, body: RawBody, guid: FromPath[str]) -> Response[bytes]:
    """Percent done."""
    value = parse(body)
    percent = read(value, Value, "").value if isinstance(value, dict) else read(value, float, "")
    if not 0 <= percent <= 100:
        raise Malformed("value: progress is between 0 and 100", field="value")
    _report(request, guid, progress=percent)
    return nothing(204)


@put("/tasks/{guid:str}/backup-type", opt=NODES)
@threaded
def backup_type(request: Call, body: RawBody, guid: FromPath[str]) -> Response[bytes]:
    """An increment that had to become a full backup."""
    kind: BackupType = read(parse(body), BackupType, "backupType")
    return answer(views.details(_report(request, guid, backup_type=kind.value)))


@put("/tasks/{guid:str}/transfer-info", opt=NODES)
@threaded
def transfer_info(request: Call, body: RawBody, guid: FromPath[str]) -> Response[bytes]:
    """What came of the work; it counts once the task is FINISHED."""
    info: Any = parse(body)
    if not isinstance(info, dict):
        raise Malformed("the body: transfer info is an object")
    return answer(views.details(_add_results(request, guid, info)))


@put("/tasks/{guid:str}/transfer-rate", opt=NODES)
@threaded
def transfer_rate(request: Call, body: RawBody, guid: FromPath[str]) -> Response[bytes]:
    """A sample of how fast it goes; its bytes are all so far."""
    _sample(request, guid, decode(body, Rate))
    return nothing(204)


@put("/tasks/{guid:str}/transfer-rate/incremental", opt=NODES)
@threaded
def more_transferred(request: Call, body: RawBody, guid: FromPath[str]) -> Response[bytes]:
    """A sample of how fast it goes; its bytes come on top of those before."""
    rate = decode(body, Rate)
    with app_of(request).store.read() as sql:
        known = tasks.get(sql, guid_of(guid, "guid")).results.get("dataTransferRate", {})
    before = int(known.get("transferredBytes", 0))
    rate.transferredBytes = before + (rate.transferredBytes or 0)
    _sample(request, guid, rate)
    return nothing(204)


def _sample(request: Call, guid: str, rate: Rate) -> None:
    now = app_of(request).clock.now_ms()
    sample = {"transferRate": rate.transferRate, "timestamp": rate.timestamp or now}
    if rate.transferredBytes is not None:
        sample["transferredBytes"] = rate.transferredBytes
    _add_results(request, guid, {"dataTransferRate": sample})


@put("/tasks/cbt-id", opt=NODES)
@threaded
def cbt_id(request: Call, body: RawBody) -> Response[bytes]:
    """The checkpoint that the next increment may build on once the backup is stored."""
    wanted = decode(body, Checkpoint)
    found = {"cbtId": wanted.cbtId, "checkpoint": wanted.cbtId}
    _add_results(request, wanted.task.guid, found)
    return nothing(204)


@post("/tasks/{guid:str}/log", opt=NODES)
@threaded
def write_log(request: Call, body: RawBody, guid: FromPath[str]) -> Response[bytes]:
    """Lines for the task's log."""
    lines: list[str] = read(parse(body), list[str], "")
    movers.add_log(app_of(request), node(request), guid_of(guid, "guid"), lines)
    return nothing(201)


def _report(request: Call, guid: str, **values: Any) -> Task:
    return movers.report(app_of(request), node(request), guid_of(guid, "guid"), **values)


def _add_results(request: Call, guid: str, more: dict[str, Any]) -> Task:
    return movers.add_results(app_of(request), node(request), guid_of(guid, "guid"), more)


ROUTES: list[Any] = [
    queued,
    progress,
    backup_type,
    transfer_info,
    transfer_rate,
    more_transferred,
    cbt_id,
    write_log,
]
