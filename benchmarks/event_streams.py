"""Streams of events: `python -m benchmarks.event_streams`, on SQLite and PostgreSQL.

100 readers in a separate process follow `GET /events` of a real server.  Transactions of the server
write events; the readers report the time from the beginning of the commit until each of them saw
each event, and the benchmark reports the memory that the readers cost the server.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from tests import databases

from haulback.contract.events import Event, EventKind
from haulback.server.main import Server, ServerSettings
from haulback.server.store import events

READERS, EVENTS, PASSWORD = 100, 300, "correct horse"
_EVERY = 0.02  # seconds between two events


@contextmanager
def server(database: str) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        settings = ServerSettings(data=Path(folder), port=0, password=PASSWORD, database=database)
        made = Server(settings)
        thread = threading.Thread(target=made.run)
        thread.start()
        try:
            yield made
        finally:
            made.stop()
            thread.join()


def memory() -> int:
    """Resident bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(database: str) -> tuple[list[float], int]:
    """Milliseconds from the start of each transaction to each reader, and bytes of the readers."""
    with server(database) as made:
        body = {"login": "admin", "password": PASSWORD}
        answer = httpx2.post(f"{made.url}/api/session/login", json=body)
        token = answer.headers["x-session-token"]
        before = memory()
        command = [sys.executable, "-m", "benchmarks.event_streams", "read", made.url, token]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as readers:
            assert readers.stdout
            assert readers.stdout.readline() == "ready\n"
            cost = memory() - before
            write(made)
            seen = json.loads(readers.stdout.readline())
        return seen, max(cost, memory() - before)


def write(made: Server) -> None:
    for _ in range(EVENTS):
        with made.app.store.write() as sql:
            event = Event(
                kind=EventKind.NODE_DOWN,
                time=made.app.clock.now_ms(),
                subject=str(uuid.uuid4()),
                subject_name="n1",
                text="a node is silent",
                data={"at": time.monotonic_ns()},
            )
            events.add(sql, event)
        time.sleep(_EVERY)


async def read(url: str, token: str) -> None:
    """Follow the stream with all readers, and print all latencies in ms."""
    host, _, port = url.removeprefix("http://").partition(":")
    ready = asyncio.Semaphore(0)
    delays: list[float] = []

    async def follow() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"GET /api/events HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n"
        writer.write(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
        count = 0
        while count < EVENTS:
            line = await reader.readline()
            if line.startswith(b"retry:"):
                ready.release()
            if line.startswith(b"data: "):
                at = json.loads(line[6:])["data"]["at"]
                delays.append((time.monotonic_ns() - at) / 1e6)
                count += 1
        writer.close()

    tasks = [asyncio.ensure_future(follow()) for _ in range(READERS)]
    for _ in tasks:
        await ready.acquire()
    await asyncio.sleep(1.0)
    print("ready", flush=True)
    await asyncio.gather(*tasks)
    print(json.dumps(delays), flush=True)


def main() -> None:
    if sys.argv[1:2] == ["read"]:
        asyncio.run(read(sys.argv[2], sys.argv[3]))
        return
    with databases.cluster(durable=True) as cluster:
        for name, database in (("SQLite", ""), ("PostgreSQL", cluster)):
            url = databases.new_database(database, uuid.uuid4().hex) if database else ""
            delays, cost = measure(url)
            cuts = statistics.quantiles(delays, n=100)
            print(
                f"{name}: {len(delays)} events seen by {READERS} readers: "
                f"median {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, most {max(delays):.1f} ms; "
                f"the readers cost {cost / 2**20:.1f} MiB"
            )


if __name__ == "__main__":
    main()
