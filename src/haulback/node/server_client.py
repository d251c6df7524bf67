"""Client of the node protocol: calls of a node to its server."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import msgspec

import haulback
from haulback.client.api import Api, HttpCall
from haulback.contract.catalogue import CataloguePage, FoundBackup
from haulback.contract.damage import DamageReport
from haulback.errors import Fenced, NotFound, Unsupported
from haulback.node.state_dir import StateDir
from haulback.repository.config import WRITER_REVISION
from haulback.wire import JsonObject

PROTOCOL = 1  # version of this channel, which the server checks

_POLL = 20.0  # seconds


class Offer(msgspec.Struct):
    """The members of a queued task that the node needs to take the task."""

    guid: str
    type: dict[str, str]


class FileRequest(msgspec.Struct):
    """A file request of a waiting client."""

    guid: str
    body: JsonObject


class ServerClient:
    """Calls of one node process.  Raises the server's errors; Unavailable without an answer."""

    def __init__(self, api: Api, home: StateDir) -> None:
        self._api, self._home, self.url = api, home, api.url
        self.lease = 30.0
        self._offset_ms = 0

    def open(self) -> None:
        """Open a session, which fences all earlier processes of this node."""
        identity = self._home.identity()
        body = {
            "guid": identity.guid,
            "secret": identity.secret,
            "version": haulback.__version__,
            "revision": WRITER_REVISION,
            "restoreRoots": [str(root) for root in self._home.roots],
            "done": self._home.journal.entries(),
        }
        # The session is also in the header, because the server reads a long body only from an
        # authenticated node.
        said = base64.b64encode(f"{identity.guid}:{identity.secret}".encode()).decode()
        head = {"authorization": f"Basic {said}"}
        answer = self._api.ask(HttpCall("POST", "/nodes/session", body, headers=head))
        opened = msgspec.json.decode(answer.content)
        self._api.token = opened["token"]
        self.lease = opened["leaseMs"] / 1000
        self._offset_ms = opened["now"] - time.monotonic_ns() // 1_000_000

    def now_ms(self) -> int:
        """The server's time in epoch ms, estimated from the session's start."""
        return self._offset_ms + time.monotonic_ns() // 1_000_000

    def offers(self) -> list[Offer]:
        """List the tasks that this node may start; a long poll of _POLL seconds."""
        found = self._api.get("/tasks/queued", wait=_POLL)
        return msgspec.convert(found, list[Offer])

    def take(self, guid: str) -> None:
        self._api.put(f"/tasks/{guid}/state", {"state": "RUNNING"})

    def order(self, guid: str, kind: type[msgspec.Struct]) -> tuple[int, object]:
        """Return the attempt number and the order of a task."""
        found = self._api.get(f"/nodes/self/orders/{guid}")
        return int(found["attempt"]), msgspec.convert(found["order"], kind)

    def refuse(self, guid: str, why: str) -> None:
        """Fail a task that cannot begin."""
        body = {"state": "FAILED", "statusInfo": why[:2000]}
        self._api.put(f"/tasks/{guid}/state", body, patience=self._brief)

    def set_state(self, attempt: str, state: str, info: str | None = None) -> None:
        body = {"state": state} | ({"statusInfo": info} if info else {})
        self._put(attempt, "state", body)

    def is_cancelled(self, attempt: str) -> bool:
        """Whether the task was cancelled.  Raises Fenced if the attempt is over."""
        path, query = _of(attempt, "state/v2")
        name = self._api.get(path, query, patience=self._brief)["state"]["name"]
        if name not in ("RUNNING", "CANCELLED"):
            raise Fenced(f"the task is {name}; this attempt has ended")
        return bool(name == "CANCELLED")

    def progress(self, attempt: str, percent: float) -> None:
        self._put(attempt, "progress", {"value": percent})

    def records(self, attempt: str, counts: JsonObject) -> None:
        """Report the progress of work that counts records."""
        self._put(attempt, "os-progress", counts)

    def rate(self, attempt: str, per_second: float, done: int) -> None:
        sample = {"transferRate": per_second, "transferredBytes": done, "timestamp": self.now_ms()}
        self._put(attempt, "transfer-rate", sample)

    def log(self, attempt: str, lines: list[str]) -> None:
        path, query = _of(attempt, "log")
        self._api.post(path, lines, query, patience=self._brief)

    def backup_type(self, attempt: str, kind: str) -> None:
        self._put(attempt, "backup-type", kind)

    def results(self, attempt: str, results: JsonObject) -> None:
        self._put(attempt, "transfer-info", results)

    def _put(self, attempt: str, what: str, body: object) -> None:
        path, query = _of(attempt, what)
        self._api.put(path, body, query, patience=self._brief)

    @property
    def _brief(self) -> float:
        """Timeout of calls about one task in seconds, because a hanging call must not cost other
        leases.
        """
        return max(2.0, self.lease / 3)

    def key(self, destination: str) -> bytes:
        return base64.b64decode(self._api.get(f"/nodes/self/keys/{destination}")["key"])

    def secrets(self, destination: str, task: str = "") -> dict[str, str]:
        """Secret settings of a destination by name; `task` uses the secrets."""
        query = {"task": task} if task else {}
        answer = self._api.get(f"/nodes/self/keys/{destination}", query)
        found: dict[str, str] = answer.get("secrets", {})
        return found

    def pins(self, destination: str) -> list[str]:
        found: list[str] = self._api.get(f"/nodes/self/pins/{destination}")
        return found

    def expected(self, task: str, after: str) -> list[str]:
        """List the next guids of backups that a task must find; empty after the last."""
        query = {"after": after} if after else {}
        try:
            answer: list[str] = self._api.get(f"/nodes/self/expected/{task}", query)
        except NotFound as error:
            if error.details.get("guid") == task:
                raise
            raise Unsupported(
                "the server is too old for this node: it does not list the expected "
                "backups (GET /nodes/self/expected); update Haulback on the server to "
                f"{haulback.__version__}, then try again.  Nothing was deleted"
            ) from None
        return answer

    def catalogue(self, task: str, after: str) -> CataloguePage:
        """Return a page of the catalogue of a task's destination.

        Raises Unsupported for a server that has no catalogue pages.
        """
        query = {"after": after} if after else {}
        try:
            page = self._api.get(f"/nodes/self/catalogue/{task}", query)
        except NotFound as error:
            if error.details.get("guid") == task:
                raise
            raise Unsupported(
                "the server is too old for this node: update Haulback on it"
            ) from None
        return msgspec.convert(page, CataloguePage)

    def found(self, task: str, backups: list[FoundBackup]) -> int:
        """Send backups of a task's destination; returns the number of new ones."""
        body = {"backups": msgspec.to_builtins(backups)}
        return int(self._api.post(f"/nodes/self/catalogue/{task}", body)["added"])

    def shares(self) -> list[str]:
        """List the guids of the mounts that this node has to serve."""
        found: list[str] = self._api.get("/nodes/self/shares")
        return found

    def share(self, guid: str, kind: type[msgspec.Struct]) -> Any:
        """Return the order of a mount.  Raises NotFound when the mount has ended."""
        return msgspec.convert(self._api.get(f"/nodes/self/shares/{guid}")["order"], kind)

    def met_damage(self, guid: str, reports: list[DamageReport]) -> None:
        """Report the damage that the readers of a mount have found."""
        body = {"reports": msgspec.to_builtins(reports)}
        self._api.post(f"/nodes/self/shares/{guid}/damage", body)

    def questions(self) -> list[FileRequest]:
        """List the waiting file requests; a long poll of _POLL seconds."""
        found = self._api.get("/nodes/self/questions", wait=_POLL)
        return msgspec.convert(found or [], list[FileRequest])

    def answer(self, guid: str, part: int, body: bytes, *, last: bool, failed: bool) -> bool:
        """Send a part of an answer; returns False when the server's buffer is full."""
        query = {"part": part, "last": last, "failed": failed}
        found = self._api.send(f"/nodes/self/answers/{guid}", body, query)
        return bool(found["taken"])

    def database_copy(self, attempt: str, slot: bytes) -> Iterator[bytes]:
        """Yield the answer to a request for the copy of the server's database."""
        guid, _, number = attempt.rpartition("-")
        body = {"slot": base64.b64encode(slot).decode()}
        path = f"/nodes/self/database-copy/{guid}"
        return self._api.stream(path, body, query={"attempt": number})

    def needed(self, names: list[str]) -> list[str]:
        found: list[str] = self._api.post("/nodes/self/needed", names)
        return found

    def alive(self, total: int, used: int) -> None:
        """Report that the node is alive, with total and used bytes of the staging area."""
        self._api.put("/nodes/self/staging", {"totalSpace": total, "usedSpace": used})

    def abandoned(self, names: list[str]) -> list[str]:
        found: list[str] = self._api.post("/nodes/self/abandoned", names)
        return found

    def close(self) -> None:
        self._api.close()


def _of(attempt: str, what: str) -> tuple[str, dict[str, str]]:
    """Path of a call about an attempt, and the query parameter with the attempt number."""
    guid, _, number = attempt.rpartition("-")
    return f"/tasks/{guid}/{what}", {"attempt": number}
