"""Benchmark of procrastinate on the same PostgreSQL: `control_peer.py URL QUEUED`; figures as JSON.

The script runs in an environment with procrastinate and does not import Haulback.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import procrastinate

url, queued = sys.argv[1], int(sys.argv[2])
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
started: dict[int, float] = {}


@app.task(queue="asked")
async def nothing(number: int) -> None:
    started[number] = time.perf_counter()


async def cycles(count: int) -> float:
    """Seconds per job that is deferred and run, one after another."""
    begun = time.perf_counter()
    for number in range(count):
        await nothing.configure(priority=100).defer_async(number=number)
        worker: dict[str, Any] = {"queues": ["asked"], "wait": False, "listen_notify": False}
        await app.run_worker_async(**worker, install_signal_handlers=False)
    return (time.perf_counter() - begun) / count


async def drain(count: int) -> float:
    """Jobs per second of one worker with `count` waiting jobs."""
    await nothing.batch_defer_async(*({"number": i} for i in range(count)))
    begun = time.perf_counter()
    await app.run_worker_async(
        queues=["asked"], wait=False, concurrency=10, install_signal_handlers=False
    )
    return count / (time.perf_counter() - begun)


async def latency(count: int, every: float) -> list[float]:
    """Seconds from deferring to starting a job, with a listening worker."""
    worker = asyncio.create_task(
        app.run_worker_async(queues=["asked"], concurrency=10, install_signal_handlers=False)
    )
    await asyncio.sleep(1)
    started.clear()
    asked = {}
    for number in range(count):
        asked[number] = time.perf_counter()
        await nothing.defer_async(number=number)
        await asyncio.sleep(every)
    await asyncio.sleep(1)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    return sorted(started[number] - asked[number] for number in started)


async def main() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await app.connector.execute_query_async(
            # The triggers are off, because they would notify a listener of each row.
            "DO $$ BEGIN SET LOCAL session_replication_role = replica; "
            "INSERT INTO procrastinate_jobs (queue_name, task_name, priority, args) "
            f"SELECT 'other', 'nothing', 0, '{{}}' FROM generate_series(1, {queued}); END $$"
        )
        await app.connector.execute_query_async("ANALYZE procrastinate_jobs")
        print("filled", file=sys.stderr)
        await cycles(5)
        result: dict[str, float] = {"cycle": await cycles(30)}
        print(result, file=sys.stderr)
        result["drain"] = await drain(300)
        print(result, file=sys.stderr)
        waits = await latency(60, 0.3)
        result |= {"p50": waits[len(waits) // 2], "p99": waits[int(len(waits) * 0.99)]}
        print(json.dumps(result))


asyncio.run(main())
