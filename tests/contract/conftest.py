"""Fixtures of the contract tests: a real server on a real socket in a thread, and plain HTTP
clients.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from haulback.cli.main import app as commands
from haulback.contract.machines import VirtualDisk
from haulback.ids import new_guid
from haulback.inventory.records import Entity
from haulback.server.main import Server, ServerSettings
from haulback.server.store.ledger import SqlLedger
from tests import databases

PASSWORD = "correct horse"
EXPORTED = {
    "type": "FULL",
    "snapshotTime": 1_800_000_000_000,
    "size": 10,
    "read": 10,
    "stored": 5,
    "files": [{"name": "root", "size": 10, "format": "raw"}],
}
PORTAL = "https://portal.example"
Answer = httpx2.Response
Command = Callable[..., str]


class Served:
    """A server with one node, a hypervisor with two machines, and a destination."""

    def __init__(self, folder: Path, database: str = "") -> None:
        settings = ServerSettings(
            data=folder, port=0, password=PASSWORD, database=database, origins=[PORTAL]
        )
        self.server = Server(settings)
        self.app = self.server.app
        self.http = httpx2.Client(base_url=self.server.url, timeout=30)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        answer = self.login()
        self.person = answer.headers["x-session-token"]
        self.http.cookies.clear()
        self.mover = ""

    def login(self, password: str = PASSWORD) -> Answer:
        body = {"login": "admin", "password": password}
        return self.http.post("/api/session/login", json=body)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Call the API as a user, or without a token if `token` is None; `body` may be raw
        bytes.
        """
        token = self.person if token == "" else token
        headers = {**({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        sent: dict[str, Any] = {"json": body} if body is not None else {}
        if isinstance(body, bytes):
            sent = {"content": body}
        return self.http.request(method, path, headers=headers, **sent)

    def furnish(self) -> None:
        token = self.call("POST", "/api/nodes/enrolment").json()["token"]
        body = {"token": token, "name": "n1"}
        self.identity = self.call("POST", "/api/nodes/enrol", body, token=None).json()
        self.mover = self.new_session()
        self.hypervisor = self.call("POST", "/api/hypervisors", {"name": "hv", "path": "/m"}).json()
        place = {"name": "bd", "path": "/d"}
        self.destination = self.call("POST", "/api/backup-destinations", place).json()
        with self.app.store.write() as sql:
            guid = self.hypervisor["guid"]
            machines = [
                Entity(guid=new_guid(), uuid=new_guid(), name=name, hypervisor=guid)
                for name in ("db", "web")
            ]
            self.seen(sql).inventory.scanned(guid, machines, complete_since=None)
        self.machines = [m.guid for m in machines]
        init = self.destination["task"]["guid"]
        self.run(init, {"repository": new_guid()})

    def seen(self, sql: sa.Connection) -> SqlLedger:
        """The ledger of the present inventory."""
        return SqlLedger(sql, self.app.clock.now_ms())

    def new_machine(self, *disks: VirtualDisk, hypervisor: str = "") -> int:
        """The number of a machine that no other test uses."""
        entity = Entity(
            guid=new_guid(),
            uuid=new_guid(),
            name=new_guid(),
            hypervisor=hypervisor or self.hypervisor["guid"],
            disks=list(disks),
        )
        with self.app.store.write() as sql:
            self.seen(sql).inventory.scanned(entity.hypervisor, [entity], complete_since=None)
        self.machines.append(entity.guid)
        return len(self.machines) - 1

    def new_machine_of(self, project: str) -> int:
        """The number of a machine that belongs to a project."""
        number = self.new_machine()
        path = f"/api/virtual-machines/{self.machines[number]}/settings"
        assert self.call("PUT", path, {"project": project}).status_code == 204
        return number

    def new_session(self) -> str:
        body = {**self.identity, "version": "1"}
        answer = self.call("POST", "/api/nodes/session", body, token=None)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def export(self, **more: Any) -> dict[str, Any]:
        body = {"protectedEntities": [self.machines[0]], **self.there, **more}
        answer = self.call("POST", "/api/tasks/export", body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json()[0])

    @property
    def there(self) -> dict[str, Any]:
        """The destination of backups; other tests may have added more destinations."""
        return {"backupDestination": {"guid": self.destination["guid"]}}

    def taken(self) -> str:
        """The guid of an export that runs on the node."""
        guid = str(self.export()["guid"])
        assert self.as_node("PUT", f"/api/tasks/{guid}/state", "RUNNING").status_code == 204
        return guid

    def restoring(self) -> str:
        """The guid of a restore that runs on the node."""
        body = {"backup": self.stored(), "node": self.identity["guid"], "restorePath": "/srv/r"}
        guid = str(self.call("POST", "/api/tasks/restore", body).json()["guid"])
        assert self.state(guid, "RUNNING").status_code == 204
        return guid

    def run(self, guid: str, results: dict[str, Any] | None = None) -> None:
        """Take a task as the node, and finish it."""
        taken = self.state(guid, "RUNNING")
        assert taken.status_code == 204, taken.text
        self.finish(guid, results)

    def finish(self, guid: str, results: dict[str, Any] | None = None) -> None:
        """Finish a task that was taken before."""
        if results is not None:
            answer = self.as_node("PUT", f"/api/tasks/{guid}/transfer-info", results)
            assert answer.status_code == 204, answer.text
        answer = self.state(guid, "FINISHED")
        assert answer.status_code == 204, answer.text

    def state(self, guid: str, state: Any) -> Answer:
        return self.as_node("PUT", f"/api/tasks/{guid}/state", state)

    def task(self, guid: str, query: str = "") -> dict[str, Any]:
        answer = self.call("GET", f"/api/tasks/{guid}{query}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def stored(self, machine: int = 0, **more: Any) -> str:
        """The guid of a backup that was exported and stored."""
        body = {"protectedEntities": [self.machines[machine]], **self.there, **more}
        [task] = self.call("POST", "/api/tasks/export", body).json()
        self.run(task["guid"], EXPORTED)
        [store] = self.task(task["guid"], "?extended=true")["followers"]
        self.run(store["guid"], {"stored": 5})
        return str(task["backup"]["guid"])

    def cleaned(self, damage: dict[str, Any]) -> dict[str, Any]:
        """A clean-up of the destination that found this damage and deleted nothing."""
        body = {"backupDestinations": [self.destination["guid"]]}
        [task] = self.call("POST", "/api/tasks/remove-old-backups", body).json()
        self.order(task["guid"])
        report = {"destination": self.destination["guid"], **damage}
        path = f"/api/tasks/{task['guid']}/transfer-info"
        assert self.as_node("PUT", path, {"damage": report}).status_code == 204
        body = {"state": "FAILED", "statusInfo": "backups are missing.  Nothing was deleted"}
        answer = self.as_node("PUT", f"/api/tasks/{task['guid']}/state", body)
        assert answer.status_code == 204, answer.text
        return self.task(task["guid"])

    def snapped(self, entity: str = "", **more: Any) -> dict[str, Any]:
        """A snapshot that the node reports, as the API shows it."""
        entity = entity or self.machines[self.new_machine(VirtualDisk("root", 10, "qcow2"))]
        body = {"protectedEntities": [entity], **more}
        answer = self.call("POST", "/api/tasks/snapshot", body)
        assert answer.status_code == 201, answer.text
        guid = answer.json()[0]["guid"]
        name = f"haulback-{guid}-1"
        now = self.app.clock.now_ms()
        self.run(guid, {"uuid": name, "snapshotTime": now, "consistency": "CRASH"})
        rows = self.call("GET", f"/api/snapshots?protected-entity={entity}").json()
        return dict(next(row for row in rows if row["uuid"] == name))

    def mounted(self, **more: Any) -> dict[str, Any]:
        """A mounted backup that the node reports, as the API shows it."""
        others = more.pop("volumes", [])
        body = {"mode": "AUTO", "backup": more.pop("backup", None) or self.stored(), **more}
        answer = self.call("POST", "/api/tasks/restore-and-mount", body)
        assert answer.status_code == 201, answer.text
        head = answer.json()["guid"]
        self.run(head, {"disks": 1})
        [task] = self.task(head, "?extended=true")["followers"]
        volumes = [{"name": "root1", "type": "ext4", "size": 5, "path": "/mnt/a/root1"}, *others]
        result: dict[str, Any] = {"disks": {"root": 10}, "volumes": volumes}
        self.run(task["guid"], result | ({"portal": "n1:3260"} if body["mode"] == "ISCSI" else {}))
        mount = answer.json()["mountedBackup"]["guid"]
        return dict(self.call("GET", f"/api/mounted-backups/{mount}").json())

    def kvm(self) -> str:
        """A hypervisor on the node that can run machines."""
        nodes = self.call("GET", "/api/nodes").json()
        mine = next(one["guid"] for one in nodes if one["name"] == "n1")
        body = {"name": new_guid(), "url": "qemu:///system", "node": mine}
        return str(self.call("POST", "/api/hypervisors", body).json()["guid"])

    def living_off(self, hypervisor: str, **more: Any) -> dict[str, Any]:
        """A mounted backup with a machine that runs from it, as the node reports it."""
        body = {"mode": "INSTANT_RESTORE", "backup": self.stored(), "hypervisor": hypervisor}
        answer = self.call("POST", "/api/tasks/instant-restore", {**body, **more})
        assert answer.status_code == 201, answer.text
        guid = answer.json()["guid"]
        machine = {"uuid": new_guid(), "name": new_guid(), "disks": []}
        for results in ({"disks": 1}, {"disks": {"root": 10}, "volumes": []}, machine):
            self.run(guid, results)
            after = self.task(guid, "?extended=true").get("followers") or [{"guid": ""}]
            guid = after[0]["guid"]
        mount = answer.json()["mountedBackup"]["guid"]
        return dict(self.call("GET", f"/api/mounted-backups/{mount}").json())

    def file_system(self, mount: str) -> str:
        rows = self.call("GET", f"/api/mounted-file-systems/detailed?mounted-backup={mount}").json()
        return str(rows[0]["guid"])

    def answers(
        self, *pieces: bytes, failed: bool = False, tar: bytes | None = None
    ) -> threading.Thread:
        """Answer the next file request as the node, with the pieces in `failed` or `tar`.

        With `tar`, a request for a tar is answered by that tar.
        """

        def work() -> None:
            with httpx2.Client(base_url=self.server.url, timeout=30) as http:
                sent = {"authorization": f"Bearer {self.mover}"}
                dicts: list[dict[str, Any]] = []
                while not dicts:
                    poll = http.get(
                        "/api/nodes/self/questions", headers={**sent, "prefer": "wait=5"}
                    )
                    dicts = poll.json() or []
                self.asked = dicts[0]["body"]
                said = (tar,) if tar is not None and self.asked.get("archive") else pieces
                for number, piece in enumerate(said):
                    last = number == len(said) - 1
                    query = {"part": number, "last": last, "failed": failed and last}
                    path = f"/api/nodes/self/answers/{dicts[0]['guid']}"
                    http.post(path, content=piece, params=query, headers=sent)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def order(self, guid: str) -> dict[str, Any]:
        """Take a task as the node, and return its order."""
        taken = self.state(guid, "RUNNING")
        assert taken.status_code == 204, taken.text
        return dict(self.as_node("GET", f"/api/nodes/self/orders/{guid}").json()["order"])

    def rest(self) -> None:
        """Check that no task runs, waits or is listed."""
        for path in ("all-finished-and-queued", "all-running"):
            assert self.call("DELETE", f"/api/tasks/{path}").status_code == 204
        for task in self.call("GET", "/api/tasks?state=RUNNING").json():
            self.call("DELETE", f"/api/tasks/{task['guid']}")
        self.call("DELETE", "/api/tasks/all-finished-and-queued")
        self.app.event_hub.advance()  # a new rule must not select the events of these removals

    def as_node(self, method: str, path: str, body: Any = None) -> Answer:
        return self.call(method, path, body, token=self.mover)

    def close(self) -> None:
        self.http.close()
        self.server.stop()
        self.thread.join()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    os.environ.pop("HAULBACK_ADMIN_PASSWORD", None)
    database = ""
    if request.param == "postgresql":
        database = databases.new_database(request.getfixturevalue("cluster"), uuid.uuid4().hex)
    made = Served(tmp_path_factory.mktemp("served"), database)
    try:
        made.furnish()
        yield made
    finally:
        made.close()


@pytest.fixture
def said(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """The output of a command at the server, by default of an administrator."""
    from tests.contract.scene import watch

    monkeypatch.setenv("HAULBACK_SERVER", served.server.url)
    asked = watch(monkeypatch)

    def call(*words: str, token: str = "") -> str:
        monkeypatch.setenv("HAULBACK_TOKEN", token or served.person)
        commands(list(words), exit_on_error=False, result_action="return_value")
        return capsys.readouterr().out

    yield call
    asked.close()
