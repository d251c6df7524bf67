"""Task context: the services of the node for one attempt, which the work of a kind may use."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from haulback.node.own_server import OwnServer
from haulback.node.server_client import ServerClient
from haulback.node.state_dir import StateDir
from haulback.node.task_machines import Locks, TaskMachines
from haulback.node.task_mounts import TaskMounts
from haulback.node.task_progress import TaskProgress
from haulback.node.task_repositories import TaskRepositories
from haulback.node.task_server import AttemptServer
from haulback.node.task_staging import TaskStaging
from haulback.work.context import Results


class NodeServices:
    """Objects of the node that all attempts share: the server's client, the state, the locks."""

    def __init__(self, link: ServerClient, home: StateDir) -> None:
        self.link, self.home, self.locks = link, home, Locks()


class RunningTask:
    """The TaskContext (`work.context`) of attempt number `number` of the task `guid`."""

    def __init__(self, guid: str, number: int, order: Any, node: NodeServices) -> None:
        link, home = node.link, node.home
        self.guid, self.number, self.attempt = guid, number, f"{guid}-{number}"
        self.order = order
        self.disk = home.disk
        self.progress = TaskProgress(self.attempt, link)
        self.machines = TaskMachines(node.locks, self._own_server, self.log)
        self.repositories = TaskRepositories(self.attempt, self.progress, link, home)
        self.staging = TaskStaging(guid, number, home)
        self.mounts = TaskMounts(home.shares, self.progress, link)
        self.server = AttemptServer(guid, number, self.progress, link)
        self.pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix=f"work-{guid[:8]}")
        self._link = link

    def _own_server(self) -> OwnServer:
        return OwnServer(self._database_copy, self.staging.folder)

    def _database_copy(self) -> Iterator[bytes]:
        """The answer of the server that sends its database for this attempt's destination."""
        secret = self.repositories.kept_secret(self.order.destination)
        keys = self.repositories.open(self.order.destination).keys
        return self._link.database_copy(self.attempt, keys.enclose(secret))

    def log(self, text: str) -> None:
        self.progress.log(text)

    def damage(self, kind: str, error: Exception | None = None) -> Results:
        """Record damage of the repositories used, and return the report for the results."""
        base = getattr(self.order, "base", None)
        backups = [getattr(self.order, "backup", None), getattr(base, "backup", None)]
        known = [backup for backup in backups if isinstance(backup, str)]
        return self.repositories.damage(f"{kind} {self.guid}", known, error)

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)
        self.machines.close()
        self.repositories.close()
