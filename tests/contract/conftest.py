"""A real server on a real socket, in a thread; people and nodes are simple HTTP clients."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from haulback.ids import new_guid
from haulback.inventory.records import Entity
from haulback.server.serve import Server, Settings
from haulback.server.store.catalogue import SqlLedger

PASSWORD = "correct horse"
Answer = httpx2.Response


class Served:
    """A server with one node, a hypervisor with two machines, and a destination."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(Settings(data=folder, port=0, password=PASSWORD))
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

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = "") -> Answer:
        """As a person; as nobody with None; `body` may be raw bytes."""
        token = self.person if token == "" else token
        headers = {"authorization": f"Bearer {token}"} if token else {}
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
            SqlLedger(sql, 0).inventory(guid, machines, complete_since=None)
        self.machines = [m.guid for m in machines]

    def new_session(self) -> str:
        body = {**self.identity, "version": "1"}
        answer = self.call("POST", "/api/nodes/session", body, token=None)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def export(self, **more: Any) -> dict[str, Any]:
        body = {"protectedEntities": [self.machines[0]], **more}
        answer = self.call("POST", "/api/tasks/export", body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json()[0])

    def taken(self) -> str:
        """The guid of an export that the node runs."""
        guid = str(self.export()["guid"])
        assert self.as_node("PUT", f"/api/tasks/{guid}/state", "RUNNING").status_code == 204
        return guid

    def as_node(self, method: str, path: str, body: Any = None) -> Answer:
        return self.call(method, path, body, token=self.mover)

    def close(self) -> None:
        self.http.close()
        self.server.stop()
        self.thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    os.environ.pop("HAULBACK_ADMIN_PASSWORD", None)
    made = Served(tmp_path_factory.mktemp("served"))
    try:
        made.furnish()
        yield made
    finally:
        made.close()
