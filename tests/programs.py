"""Server and node as processes that a test may kill at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from haulback.client.api import Api
from haulback.errors import HaulbackError
from tests import databases

PASSWORD = "correct horse"
FINAL = ("FINISHED", "FAILED", "CANCELLED")


class Program:
    """A process with its log."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self._arguments, self._log = arguments, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start the process and return its first line of output."""
        environment = {**os.environ, "HAULBACK_ADMIN_PASSWORD": PASSWORD}
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "haulback", *self._arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        assert self.process.stdout
        return "" if self._arguments[0] == "node" else self.process.stdout.readline().decode()

    def end(self, number: int = signal.SIGKILL) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stdout
        self.process.stdout.close()
        self.process = None
        return code

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self.process
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end, and return the exit code."""
        assert self.process
        code = self.process.wait(30)
        assert self.process.stdout
        self.process.stdout.close()
        self.process = None
        return code


class Site:
    """A server and a node on one folder, as two processes; `url` names a database other than
    SQLite.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lease: float = 1.0,
        database: str = "",
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.folder = folder
        self.machines, self.repository = folder / "machines", folder / "repository"
        self.roots, self.log = folder / "restores", folder / "log"
        self.database = database
        for path in (self.machines, self.repository, self.roots):
            path.mkdir(parents=True)
        if not database:
            (folder / "server").mkdir(mode=0o700)
            databases.migrated_file(folder / "server" / "haulback.db")
        self._options = ["--data", str(folder / "server"), "--lease", str(lease)]
        self._options += ["--database", database] if database else []
        self.trust = str(tls[0]) if tls else None
        if tls:
            self._options += ["--tls-cert", str(tls[0]), "--tls-key", str(tls[1])]
        self.port = 0
        self.api = Api("http://127.0.0.1:1")
        self.server = Program(self.log, "server", *self._options)
        self.node = Program(self.log, "node")

    def open(self) -> None:
        """Start both, with a hypervisor and a destination."""
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.start_server()
        self.enrol("n1")
        self.node.start()
        self.wait_for(lambda: [n for n in self.api.get("/nodes") if "lastSeen" in n])
        self.destination = self.add("/backup-destinations", "bd", self.repository)
        self.hypervisor = self.add("/hypervisors", "hv", self.machines)

    def move_to(self, data: Path, database: str = "") -> None:
        """Use another data folder and database at the next start of the server."""
        self._options[1], self.database = str(data), database
        if "--database" in self._options:
            self._options[self._options.index("--database") + 1] = database

    def start_server(self) -> None:
        self.server = Program(self.log, "server", *self._options, "--port", str(self.port))
        line = self.server.start()
        assert line.startswith("Haulback listens"), self.log.read_text()
        url = line.split()[-1]
        self.port = int(url.rpartition(":")[2])
        self.api.close()
        self.api = Api(url, trust=self.trust)
        self.api.log_in("admin", PASSWORD)

    def enrol(self, name: str) -> None:
        file = self.folder / f"{name}.token"
        file.write_text(self.api.post("/nodes/enrolment")["token"])
        self.home = self.folder / name
        self.node = Program(
            self.log,
            *("node", "--server", self.api.url, "--data", str(self.home), "--name", name),
            *("--token-file", str(file), "--restore-root", str(self.roots)),
            *(("--trust", self.trust) if self.trust else ()),
        )

    def add(self, collection: str, name: str, path: Path) -> dict[str, Any]:
        made: dict[str, Any] = self.api.post(collection, {"name": name, "path": str(path)})
        self.finished(made["task"]["guid"])
        return made

    def sync(self) -> dict[str, str]:
        """Guids of the machines by name, after an inventory of the hypervisor."""
        body = {"hypervisors": [self.hypervisor["guid"]]}
        [task] = self.api.post("/tasks/inventory-sync", body)
        self.finished(task["guid"])
        return {m["name"]: m["guid"] for m in self.api.get("/virtual-machines") if m["present"]}

    def export(self, machine: str, kind: str = "FULL", **more: Any) -> dict[str, Any]:
        body = {"protectedEntities": [machine], "backupType": kind, **more}
        [task] = self.api.post("/tasks/export", body)
        return dict(task)

    def backed_up(self, machine: str, kind: str = "FULL") -> dict[str, Any]:
        """Back up a machine successfully."""
        export = self.export(machine, kind)
        self.all_final()
        found: dict[str, Any] = self.api.get(f"/backups/{export['backup']['guid']}")
        assert found["status"]["name"] == "SUCCESS", (found, self.log.read_text())
        return found

    def finished(self, guid: str) -> dict[str, Any]:
        """The final details of a successful task."""
        found: dict[str, Any] = self.wait_for(lambda: self._final(guid))
        assert found["state"]["name"] == "FINISHED", (found, self.log.read_text())
        log = self.api.get(f"/tasks/{guid}/log")
        assert "was requested" in log[0]["text"]
        assert log[-1]["text"].startswith("FINISHED after")
        return found

    def final(self, guid: str) -> dict[str, Any]:
        found: dict[str, Any] = self.wait_for(lambda: self._final(guid))
        return found

    def all_final(self) -> None:
        query = {"states": ["QUEUED", "RUNNING"]}
        self.wait_for(lambda: not self.api.get("/tasks", query))

    def wait_for(self, subject: Any, seconds: float = 60.0) -> Any:
        """Repeat a call until its result is true; an unreachable server is tried again."""
        end = time.monotonic() + seconds
        while True:
            try:
                if result := subject():
                    return result
            except HaulbackError as error:
                result = error.message
            if time.monotonic() > end:
                raise AssertionError(
                    f"waited {seconds} s: {result}\n{self.log.read_text()[-5000:]}"
                )
            time.sleep(0.05)

    def _final(self, guid: str) -> Any:
        found = self.api.get(f"/tasks/{guid}")
        return found if found["state"]["name"] in FINAL else None

    def close(self) -> None:
        self.api.close()
        for program in (self.node, self.server):
            program.end(signal.SIGTERM)
