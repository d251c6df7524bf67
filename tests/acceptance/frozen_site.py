"""Two servers on one PostgreSQL with a frozen clock, and a node as a process.

The servers run in this process, so that a test can move their clock; everything else is real: their
threads, sockets and database, the node, the images and the repository.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from haulback.client.api import Api
from haulback.clock import SteadyClock
from haulback.server.main import Server, ServerSettings
from haulback.server.services import maintenance
from haulback.server.services.app import App
from haulback.server.store import tables
from tests.programs import FINAL, PASSWORD

# A node usually estimates the server's time by its own monotonic clock; here it reads the time from
# a file.
_NODE = """
import sys
from pathlib import Path
from haulback.cli.main import main
from haulback.node import server_client
file = Path(sys.argv.pop(1))
server_client.ServerClient.now_ms = lambda _: int(file.read_text())
main()
"""


class FrozenClock:
    """The time of all servers, in epoch ms; it changes only when a test moves it.

    `ticks` counts the rounds of maintenance of each server; a file gives the node the time.
    """

    def __init__(self, now: int, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.ticks = file, Counter[int]()
        self.set(now)
        monkeypatch.setattr(SteadyClock, "now_ms", lambda _: self.now)
        monkeypatch.setattr(SteadyClock, "drift_ms", lambda _: 0)
        tick = maintenance.tick

        def counted(app: App) -> None:
            tick(app)
            self.ticks[id(app)] += 1

        monkeypatch.setattr(maintenance, "tick", counted)

    def set(self, now: int) -> None:
        """Set the time of servers and node."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(str(now))
        fresh.rename(self.file)
        self.now = now


class FrozenSite:
    """Two servers, a node, a hypervisor of image folders and a destination."""

    def __init__(self, folder: Path, clock: FrozenClock, database: str) -> None:
        self.folder, self.clock = folder, clock
        self.machines, self.repository = folder / "machines", folder / "repository"
        for path in (self.machines, self.repository):
            path.mkdir(parents=True, exist_ok=True)
        self._settings = ServerSettings(
            data=folder / "server",
            port=0,
            password=PASSWORD,
            database=database,
            notify_networks=["127.0.0.0/8"],
            time_zone="Europe/Berlin",
            lease_ms=1000,  # maintenance every 200 ms
        )
        self.servers: list[tuple[Server, threading.Thread]] = []
        self.node: subprocess.Popen[bytes] | None = None
        self._port, self.api = 0, Api("http://127.0.0.1:1")

    def open(self) -> None:
        """Start everything, with an API token that outlives any login."""
        self.start_servers()
        self.api.log_in("admin", PASSWORD)
        made = self.api.post("/api-tokens", {"name": "week", "roles": ["administrator"]})
        self.api.token = made["token"]
        file = self.folder / "node.token"
        file.write_text(self.api.post("/nodes/enrolment")["token"])
        self._start_node("--name", "n1", "--token-file", str(file))
        self.wait_for(lambda: [node for node in self.api.get("/nodes") if "lastSeen" in node])
        self.destination = self._add("/backup-destinations", "bd", self.repository)
        self.hypervisor = self._add("/hypervisors", "hv", self.machines)

    def _start_node(self, *options: str) -> None:
        arguments = [
            "node",
            "--server",
            self.api.url,
            "--data",
            str(self.folder / "node"),
            *options,
        ]
        with open(self.folder / "log", "ab") as log:
            self.node = subprocess.Popen(
                [sys.executable, "-c", _NODE, str(self.clock.file), *arguments],
                stdout=log,
                stderr=log,
            )

    def start_servers(self) -> None:
        """Start two servers; the first has the address that the node knows."""
        for port in (self._port, 0):
            settings = ServerSettings(**{**self._members(), "port": port})
            server = Server(settings)
            thread = threading.Thread(target=server.run)
            thread.start()
            self.servers.append((server, thread))
        url = self.servers[0][0].url
        token = self.api.token if self._port else None
        self._port = int(url.rpartition(":")[2])
        self.api = Api(url, token)

    def _members(self) -> dict[str, Any]:
        names = ServerSettings.__struct_fields__
        return {name: getattr(self._settings, name) for name in names}

    def stop_servers(self) -> None:
        self.api.close()
        for server, thread in self.servers:
            server.stop()
            thread.join(30)
        self.servers.clear()

    def move_to(self, now: int) -> None:
        """Move the clock, as if the node had called until then, and wait for all due work."""
        self._hear_node(now)
        self.clock.set(now)
        self.rest()

    def sleep_until(self, now: int) -> None:
        """Stop the servers until a given time, at which both start again."""
        self._hear_node(now)
        self.stop_servers()
        self.clock.set(now)
        self.start_servers()
        self.rest()

    def _hear_node(self, now: int) -> None:
        with self.servers[0][0].app.store.write() as sql:
            sql.execute(sa.update(tables.node).values(seen=now))

    def sync(self) -> dict[str, str]:
        """Guids of the present machines by name, after an inventory."""
        body = {"hypervisors": [self.hypervisor["guid"]]}
        [task] = self.api.post("/tasks/inventory-sync", body)
        self._finished(task["guid"])
        return {m["name"]: m["guid"] for m in self.api.get("/virtual-machines") if m["present"]}

    def rest(self) -> None:
        """Wait for maintenance of all servers, then for the tasks and messages that it made.

        Ends of tasks cause maintenance, such as the end of a fire, which causes messages.
        """
        for _ in range(2):
            self._maintained()
            self.wait_for(self._is_at_rest)

    def _maintained(self) -> None:
        """Wait for a round of maintenance of each server that began after this call."""
        apps = [id(server.app) for server, _ in self.servers]
        before = {app: self.clock.ticks[app] for app in apps}
        self.wait_for(lambda: all(self.clock.ticks[app] > before[app] + 1 for app in apps))

    def _is_at_rest(self) -> bool:
        if self.api.get("/tasks", {"states": ["QUEUED", "RUNNING"]}):
            return False
        states = {row["state"]["name"] for row in self.api.get("/deliveries", {"size": 500})}
        return not states & {"WAITING", "SENDING"}

    def _add(self, collection: str, name: str, path: Path) -> dict[str, Any]:
        made: dict[str, Any] = self.api.post(collection, {"name": name, "path": str(path)})
        self._finished(made["task"]["guid"])
        return made

    def _finished(self, guid: str) -> None:
        def final() -> Any:
            task = self.api.get(f"/tasks/{guid}")
            return task if task["state"]["name"] in FINAL else None

        assert self.wait_for(final)["state"]["name"] == "FINISHED"

    def wait_for(self, subject: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Repeat a call until its result is true."""
        pause = threading.Event()
        for _ in range(int(seconds / 0.05)):
            if result := subject():
                return result
            pause.wait(0.05)
        raise AssertionError((self.folder / "log").read_text()[-3000:])

    def close(self) -> None:
        if self.node:
            self.node.terminate()
            self.node.wait(30)
        self.stop_servers()
