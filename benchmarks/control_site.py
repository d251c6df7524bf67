"""A server on a PostgreSQL with many tasks, and its clients, for benchmarks/control.py."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

PASSWORD = "benchmark only"
HEADERS = {"content-type": "application/json"}


class Client:
    """A client with one connection that sends one call after another."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port)
        self._headers = dict(HEADERS)
        self.headers: Any = {}
        self.prefer = ""
        if token:
            self._headers["authorization"] = f"Bearer {token}"

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body)
        headers = self._headers | ({"prefer": self.prefer} if self.prefer else {})
        try:
            self._http.request(method, path, content, headers)
            answer = self._http.getresponse()
        except (OSError, http.client.HTTPException):  # the server closes idle connections
            self._http.close()
            self._http.request(method, path, content, headers)
            answer = self._http.getresponse()
        data = answer.read()
        self.headers = answer.headers
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
        return json.loads(data) if data else None

    def token(self) -> str:
        """Log in and return the session's token."""
        body = json.dumps({"login": "admin", "password": PASSWORD})
        self._http.request("POST", "/api/session/login", body, HEADERS)
        answer = self._http.getresponse()
        answer.read()
        return str(answer.headers["x-session-token"])


class Site:
    """A running server: tokens of a user and of a node, and a hypervisor to test."""

    def __init__(self, url: str, folder: Path, limit: int = 10_000) -> None:
        self.url = url
        environment = {**os.environ, "HAULBACK_ADMIN_PASSWORD": PASSWORD}
        command = [sys.executable, "-m", "haulback", "server", "--data", str(folder)]
        limits = [f"--limit={lane}={limit}" for lane in ("inventory", "upkeep")]
        self.process = subprocess.Popen(
            [*command, "--database", url, "--port", "0", *limits],
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self.process.stdout
        line = self.process.stdout.readline().decode()
        self.port = int(line.split()[-1].rpartition(":")[2])
        self.person = Client(self.port).token()
        self.people = Client(self.port, self.person)
        name = uuid.uuid4().hex
        node = self.people("POST", "/api/nodes", {"name": name})
        self.node_guid, self.node = node["guid"], node["token"]
        self.mover = Client(self.port, self.node)
        place = {"name": name, "path": "/m", "node": {"guid": self.node_guid}}
        self.hypervisor = self.people("POST", "/api/hypervisors", place)["guid"]

    @property
    def body(self) -> dict[str, Any]:
        """The request for one connectivity test."""
        return {"hypervisors": [{"guid": self.hypervisor}], "priority": 100}

    def memory_mib(self) -> float:
        """The present memory of the server's process, in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 2**20

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@contextmanager
def site(url: str, folder: Path) -> Iterator[Site]:
    """A server for the duration of the block."""
    made = Site(url, folder)
    try:
        yield made
    finally:
        made.close()


def fill(url: str, count: int, *, opened: bool = True) -> None:
    """Insert `count` queued tasks whose start window is open, or not yet open."""
    with psycopg.connect(url, autocommit=True) as sql:
        row = sql.execute("SELECT * FROM task WHERE type = 'INVENTORY_SYNC' LIMIT 1")
        names = [column.name for column in row.description or ()]
        later = int(time.time() * 1000) + (0 if opened else 86_400_000)
        changed = {
            "guid": "gen_random_uuid()::text",
            "workflow": "gen_random_uuid()::text",
            "state": "'QUEUED'",
            "lane": "'inventory'",
            "pinned_node": "''",
            "priority": "0",
            "rank": f"{later} + i",
            "created": f"{later - 86_400_000} + i",
            "modified": f"{later - 86_400_000} + i",
            "window_start": str(later),
            "window_end": f"{later} + 8640000000",
            "ready": "true" if opened else "false",
            "slots": "'[]'",
            "attempt": "0",
            "node": "NULL",
            "session": "NULL",
            "lease_until": "NULL",
            "started": "NULL",
            "finished": "NULL",
        }
        columns = ", ".join(changed.get(name, name) for name in names)
        sql.execute(
            f"INSERT INTO task ({', '.join(names)}) SELECT {columns} FROM "  # type: ignore[arg-type]
            "(SELECT * FROM task WHERE type = 'INVENTORY_SYNC' LIMIT 1) AS model, "
            f"generate_series(1, {count}) AS i"
        )
        sql.execute("VACUUM ANALYZE task")
        # The database finishes its work on the rows now, before the next measurement.
        sql.execute("CHECKPOINT")
