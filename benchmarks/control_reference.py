"""The reference server: the same framework and the same statements on the raw driver, without
anything else.

`python -m benchmarks.control_reference DATABASE-URL PORT HYPERVISOR NODE SESSION`
"""

from __future__ import annotations

import hashlib
import sys
import time
import uuid
from typing import Any

import msgspec
import uvicorn
from litestar import Litestar, Request, Response, get, post, put
from litestar.params import FromPath
from psycopg_pool import AsyncConnectionPool

from haulback.server.store import queue, tasks

url, port, hypervisor, node, session = sys.argv[1:]
pool = AsyncConnectionPool(url, min_size=8, max_size=16, open=False)
NAMES = tasks._ALL
_REFS = tasks._NAMES.index("refs")
PLACES = ", ".join(f"%({name})s" for name in NAMES)
VISIBLE = "NOT archived AND state <> 'PLANNED'"
Call = Request[Any, Any, Any]


async def who(sql: Any, request: Call) -> None:
    token = request.headers["authorization"].removeprefix("Bearer ")
    text = tasks_by = "SELECT guid FROM node WHERE token = %s"
    if token.startswith("hbu_"):
        text = "SELECT account.guid FROM login JOIN account ON account.guid = login.account "
        text += "WHERE login.token = %s"
    assert tasks_by
    row = await (await sql.execute(text, [hashlib.sha256(token.encode()).hexdigest()])).fetchone()
    assert row


def shown(row: Any) -> dict[str, Any]:
    return {
        "guid": row[0],
        "type": row[1],
        "state": row[3],
        "refs": msgspec.Raw(row[_REFS].encode()),
    }


def answer(value: Any, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


@get("/api/tasks")
async def listed(request: Call) -> Response[bytes]:
    async with pool.connection() as sql:
        await who(sql, request)
        text = f"SELECT {tasks.LIST} FROM task WHERE {VISIBLE} ORDER BY created DESC, guid DESC "
        rows = await (await sql.execute(text + "LIMIT 50")).fetchall()
        await (await sql.execute(f"SELECT count(*) FROM task WHERE {VISIBLE}")).fetchone()
    return answer([shown(row) for row in rows])


@post("/api/tasks/connectivity-test")
async def create(request: Call) -> Response[bytes]:
    wanted, now = msgspec.json.decode(await request.body()), int(time.time() * 1000)
    async with pool.connection() as sql, sql.transaction():
        await who(sql, request)
        await sql.execute("SELECT * FROM hypervisor WHERE guid = %s", [hypervisor])
        await sql.execute("SELECT body FROM record WHERE kind = 'node-config'")
        guid, refs = str(uuid.uuid4()), f'{{"hypervisor":{{"guid":"{hypervisor}","name":"x"}}}}'
        row = dict.fromkeys(NAMES) | {"guid": guid, "type": "CONNECTIVITY_TEST", "workflow": guid}
        row |= {"lane": "inventory", "state": "QUEUED", "priority": wanted["priority"], "run": ""}
        row |= {"rank": now - 60_000_000, "window_start": now, "window_end": now + 3_600_000}
        row |= dict.fromkeys(("window_length", "retry_count", "tries", "attempt", "progress"), 0)
        row |= {"created": now, "modified": now, "refs": refs, "params": "{}", "results": "{}"}
        row |= {"pinned_node": node, "slots": "[]", "ready": True, "names": "x", "subject": ""}
        row |= {"cancel_wanted": False, "archived": False, "hypervisor": hypervisor}
        await sql.execute(f"INSERT INTO task ({', '.join(NAMES)}) VALUES ({PLACES})", row)
        await sql.execute(
            "INSERT INTO audit (time, caller, login, operation) VALUES (%s, 'x', 'x', 'x')", [now]
        )
    return answer([{"guid": guid}], 201)


@get("/api/tasks/queued")
async def queued(request: Call) -> Response[bytes]:
    most = int(request.query_params.get("size", 100))
    values = {"lane": "inventory", "now": int(time.time() * 1000), "most": most + queue._SPARE}
    async with pool.connection() as sql:
        await who(sql, request)
        await sql.execute(queue._LANES._postgresql, {"node": node})
        rows: list[Any] = []
        for pinned in ("", node):
            result = await sql.execute(queue.READY._postgresql, {**values, "pinned": pinned})
            rows += await result.fetchall()
    return answer([shown(row) for row in sorted(rows, key=lambda row: row[5])[:most]])


@put("/api/tasks/{guid:str}/state", status_code=204)
async def move(request: Call, guid: FromPath[str]) -> None:
    state, now = msgspec.json.decode(await request.body()), int(time.time() * 1000)
    slot = {"key": f"node:{node}:inventory", "most": 10_000}
    async with pool.connection() as sql, sql.transaction():
        await who(sql, request)
        await (await sql.execute(tasks._ONE_LOCKED._postgresql, {"guid": guid})).fetchone()
        if state == "RUNNING":
            await sql.execute(queue._FILL._postgresql, {**slot, "count": 1})
            text = "UPDATE task SET state = %s, ready = false, started = %s, attempt = 1, node = %s"
            text += ", session = %s, lease_until = %s, modified = %s WHERE guid = %s"
            await sql.execute(text, [state, now, node, session, now + 30_000, now, guid])
            return
        await (await sql.execute(tasks._FOLLOWERS._postgresql, {"guid": guid})).fetchall()
        text = "UPDATE task SET state = %s, finished = %s, progress = 100, lease_until = NULL"
        await sql.execute(f"{text}, modified = %s WHERE guid = %s", [state, now, now, guid])
        await sql.execute(queue._EMPTY._postgresql, {**slot, "count": 1})
        await sql.execute(queue._DROP._postgresql, slot)


@put("/api/tasks/{guid:str}/progress", status_code=204)
async def progress(request: Call, guid: FromPath[str]) -> None:
    percent, now = msgspec.json.decode(await request.body())["value"], int(time.time() * 1000)
    text = "UPDATE task SET modified = %s, lease_until = %s, progress = GREATEST(progress, %s) "
    text += "WHERE guid = %s AND state = 'RUNNING'"
    async with pool.connection() as sql:
        await who(sql, request)
        await sql.execute(text, [now, now + 30_000, percent, guid])


async def begin(_: Litestar) -> None:
    await pool.open()


app = Litestar([listed, create, queued, move, progress], on_startup=[begin], openapi_config=None)
if __name__ == "__main__":
    uvicorn.run(app, port=int(port), log_level="warning", access_log=False)
