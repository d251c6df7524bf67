"""Benchmark of the cost of unauthenticated clients for others: `python -m benchmarks.strangers
--help`.

A server in a separate process answers the lists of a user and the reports of a node, first without
load, then while unauthenticated clients guess passwords, send one 60 MiB body and stall request
heads at every public operation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.apart import LEASE, Apart, apart
from haulback.contract.roles import PUBLIC
from haulback.ids import new_guid
from haulback.server.http.reference import TABLE
from haulback.units import MIB

_PUBLIC = sorted(key for key, roles in TABLE.items() if roles == PUBLIC)


class Storm(NamedTuple):
    """The numbers of unauthenticated clients; `halves` stalled request heads at each public
    operation.
    """

    guessers: int = 40
    halves: int = 600
    body: int = 60 * MIB
    seconds: float = 20.0


class Watched:
    """A server with a user who lists tasks and a node that runs a task."""

    def __init__(self, server: Apart) -> None:
        self.server, self.http = server, server.http
        invited = self.http.post("/nodes/enrolment").json()["token"]
        identity = self.http.post("/nodes/enrol", json={"token": invited, "name": "n"}).json()
        opened = self.http.post("/nodes/session", json={**identity, "version": "1"}).json()
        self.node = {"authorization": f"Bearer {opened['token']}"}
        place = {"name": new_guid(), "path": "/d"}
        made = self.http.post("/backup-destinations", json=place).json()
        self.task = made["task"]["guid"]
        path = f"/tasks/{self.task}/state"
        self.http.put(path, json="RUNNING", headers=self.node).raise_for_status()

    def calls(self, is_over: Callable[[], bool]) -> list[float]:
        """The durations of list calls that are made one after another."""
        result: list[float] = []
        report = 0.0
        while len(result) < 100 or not is_over():
            begun = time.monotonic()
            self.http.get("/tasks?size=50").raise_for_status()
            result.append(time.monotonic() - begun)
            if begun - report > LEASE / 5:
                report = begun
                path = f"/tasks/{self.task}/progress"
                self.http.put(path, json={"value": 1}, headers=self.node).raise_for_status()
        return result

    def keeps_the_lease(self) -> bool:
        found = self.http.get(f"/tasks/{self.task}").json()
        return bool(found["state"]["name"] == "RUNNING")


async def attack(url: str, storm: Storm) -> dict[str, Any]:
    """Run the whole load at once; return the results of the unauthenticated clients."""
    host, _, port = url.removeprefix("http://").partition(":")
    here = (host, int(port))
    end = time.monotonic() + storm.seconds
    seen: dict[str, Any] = {"statuses": {}}
    jobs = [_guess(here, end, seen["statuses"]) for _ in range(storm.guessers)]
    jobs += [_body(here, key, storm.body) for key in _PUBLIC]
    halves = [_half(here, key) for key in _PUBLIC for _ in range(storm.halves)]
    longest, *_ = await asyncio.gather(_slowest(halves), *jobs)
    return seen | {"half-open for, s": longest}


async def _slowest(halves: list[Any]) -> float:
    return max(await asyncio.gather(*halves), default=0.0)


async def _guess(here: tuple[str, int], end: float, statuses: dict[str, int]) -> None:
    while time.monotonic() < end:
        body = json.dumps({"login": str(uuid.uuid4()), "password": "guess"}).encode()
        top = b"POST /api/session/login HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        said = await _said(here, top + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        status = said.split(b" ", 2)[1].decode() if said else "closed"
        statuses[status] = statuses.get(status, 0) + 1


async def _said(here: tuple[str, int], sent: bytes) -> bytes:
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(*here)
        try:
            writer.write(sent)
            return await reader.read()
        finally:
            writer.close()
    return b""


async def _body(here: tuple[str, int], key: str, size: int) -> None:
    method, _, path = key.partition(" ")
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(*here)
        try:
            writer.write(f"{method} /api{path} HTTP/1.1\r\nHost: h\r\n".encode())
            writer.write(b"Content-Length: %d\r\n\r\n" % size)
            piece = b"[]," * 20_000
            for _ in range(size // len(piece)):
                writer.write(piece)
                await writer.drain()
            await reader.read(1000)
        finally:
            writer.close()


async def _half(here: tuple[str, int], key: str) -> float:
    """Seconds until the server closes a connection whose request head never ends."""
    method, _, path = key.partition(" ")
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(*here)
        begun = time.monotonic()
        try:
            writer.write(f"{method} /api{path} HTTP/1.1\r\nHost: h\r\nX-Slow:".encode())
            while await reader.read(4096):
                pass
        finally:
            writer.close()
        return time.monotonic() - begun
    return 0.0


def measure(storm: Storm, quiet: float) -> dict[str, Any]:
    """Measure without load first, then under load."""
    with (
        tempfile.TemporaryDirectory(prefix="haulback-strangers-") as folder,
        apart(folder) as server,
    ):
        watched = Watched(server)
        end = time.monotonic() + quiet
        before = watched.calls(lambda: time.monotonic() > end)
        command = [sys.executable, "-m", "benchmarks.strangers", "--attack", server.url]
        command += [json.dumps(storm)]
        begun = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as strangers:
            during = watched.calls(lambda: strangers.poll() is not None)
            seen, _ = strangers.communicate()
        return {
            "storm": storm._asdict(),
            "quiet p99, ms": _p99(before),
            "storm p99, ms": _p99(during),
            "quiet calls": len(before),
            "storm calls": len(during),
            "server, MiB": round(server.peak_mib()),
            "lease kept": watched.keeps_the_lease(),
            "took, s": round(time.monotonic() - begun, 1),
            **json.loads(seen),
        }


def _p99(found: list[float]) -> float:
    return round(statistics.quantiles(found, n=100)[98] * 1000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attack", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path, help="write what was measured here")
    given = parser.parse_args()
    if given.attack:
        storm = Storm(*json.loads(given.attack[1]))
        print(json.dumps(asyncio.run(attack(given.attack[0], storm))))
        return
    facts: dict[str, Any] = {"machine": platform.platform(), "cores": os.cpu_count()}
    facts |= measure(Storm(seconds=given.seconds), 10.0)
    print(json.dumps(facts, indent=1))
    if given.json:
        given.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
