"""A server without its network: the app on both databases, with a clock that the test moves."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from haulback.contract.nodes import PROTOCOL, Enrolled, FinishedWork
from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.contract.task_states import State
from haulback.errors import HaulbackError
from haulback.inventory.records import Backup, Entity, Mount
from haulback.inventory.repository_revision import REVISION
from haulback.kinds.registry import KINDS
from haulback.server.caller import Account, Caller, Node, Process, person
from haulback.server.key_vault import KeyVault
from haulback.server.services import node_tasks
from haulback.server.services import tasks as task_service
from haulback.server.services.app import App
from haulback.server.store import managers, mount_tables, nodes, rows, tables, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Task
from tests import databases

START = 1_800_000_000_000
EXPORTED = {"type": "FULL", "snapshotTime": START, "size": 10, "read": 10, "stored": 5}


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now, self.drift = START, 0

    def now_ms(self) -> int:
        return self.now

    def drift_ms(self) -> int:
        return self.drift

    def adopt(self) -> None:
        self.now, self.drift = self.now + self.drift, 0


class House:
    """An app with a hypervisor of three machines, a destination, and nodes on demand."""

    def __init__(self, app: App, clock: Clock) -> None:
        self.app, self.clock = app, clock
        self.user: Caller = person(Account(str(uuid.uuid4()), "admin"))
        self.hypervisor = Hypervisor(guid=_guid(), name="hv", driver="image-folder", config={})
        self.destination = BackupDestination(
            guid=_guid(), name="bd", driver="folder", config={}, repository=_guid()
        )
        with app.store.write() as sql:
            rows.add(sql, tables.hypervisor, self.hypervisor)
            managers.surround(sql, self.hypervisor, START)
            sealed = app.vault.seal(self.destination.guid, b"k" * 32)
            rows.add(sql, tables.destination, self.destination, sealed_key=sealed)
            machines = [
                Entity(guid=_guid(), uuid=_guid(), name=name, hypervisor=self.hypervisor.guid)
                for name in ("db", "mail", "web")
            ]
            SqlLedger(sql, START).inventory.scanned(
                self.hypervisor.guid, machines, complete_since=None
            )
            self.entities = SqlCatalogue(sql).machines.on_hypervisor(self.hypervisor.guid)
        self.secrets: dict[str, Enrolled] = {}

    def node(self, name: str = "n1", done: list[FinishedWork] | None = None) -> Node:
        """A node with a new process; its start-up clean-up is done."""
        with self.app.store.write() as sql:
            if name not in self.secrets:
                token = nodes.invite(sql, self.clock.now)
                self.secrets[name] = nodes.enrol(sql, token, name, PROTOCOL, self.clock.now)
        opened = node_tasks.open_session(
            self.app, self.secrets[name], Process("1", [], REVISION), done or []
        )
        with self.app.store.read() as sql:
            result = nodes.node_of(sql, opened.token)
        assert result
        for task in node_tasks.offer(self.app, result):
            if task.type == "STAGING_CLEANUP":
                self.take(result, task)
                self.finish(result, task)
        return result

    def export(self, *entities: Entity, **more: object) -> list[Task]:
        body = {"protectedEntities": [{"guid": e.guid} for e in entities or self.entities[:1]]}
        return self.submit("export", {**body, **more})

    def submit(self, path: str, body: object, who: Caller | None = None) -> list[Task]:
        ways = {way.path: way for way in self.app.ways}
        encoded = msgspec.json.encode(body)
        return task_service.submit(self.app, ways[path], encoded, who or self.user).heads

    def offered(self, node: Node) -> list[str]:
        return [task.guid for task in node_tasks.offer(self.app, node)]

    def take(self, node: Node, task: Task | str) -> None:
        node_tasks.set_state(self.app, node, _of(task), State.RUNNING, None)

    def finish(self, node: Node, task: Task | str, **results: object) -> None:
        if results:
            node_tasks.report(self.app, node, _of(task), results=results)
        node_tasks.set_state(self.app, node, _of(task), State.FINISHED, None)

    def fail(self, node: Node, task: Task | str) -> None:
        node_tasks.set_state(self.app, node, _of(task), State.FAILED, "it broke")

    def row(self, task: Task | str) -> Task:
        with self.app.store.read() as sql:
            return tasks.get(sql, _of(task))

    def state(self, task: Task | str) -> str:
        return self.row(task).state

    def follower(self, task: Task) -> Task:
        plan = task_service.workflow(self.app, self.row(task))
        return next(one for one in plan if one.follows == task.guid)

    def exported(self, node: Node, **more: object) -> Task:
        """Finish an export; return its queued STORE."""
        [export] = self.export(**more)
        self.take(node, export)
        self.finish(node, export, **EXPORTED)
        return self.follower(export)

    def mounted(self, backup: Backup, node: str, unmount_at: int | None = None) -> str:
        """The guid of a mount of a backup on a node."""
        mount = Mount(
            guid=_guid(),
            backup=backup.guid,
            entity=backup.entity,
            entity_name=backup.entity_name,
            node=node,
            mode="FILE",
            state="MOUNTED",
            unmount_at=unmount_at,
        )
        with self.app.store.write() as sql:
            rows.add(sql, mount_tables.mounted_backup, mount)
        return mount.guid

    def refuses(self, kind: type[HaulbackError], call: object, *arguments: object) -> str:
        with pytest.raises(kind) as caught:
            call(*arguments)  # type: ignore[operator]
        return caught.value.message


def _of(task: Task | str) -> str:
    return task if isinstance(task, str) else task.guid


def _guid() -> str:
    return str(uuid.uuid4())


# The gate runs on SQLite, scripts/test on both.
DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/haulback.db"
    return databases.new_database(request.getfixturevalue("cluster"), uuid.uuid4().hex)


@pytest.fixture(params=DATABASES)
def house_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database; the migrations have separate tests, which use `url`."""
    if request.param == "sqlite":
        return databases.migrated_file(tmp_path / "haulback.db")
    return databases.migrated_database(request.getfixturevalue("cluster"), uuid.uuid4().hex)


@pytest.fixture
def house(house_url: str) -> Iterator[House]:
    clock = Clock()
    store = databases.quick_store(house_url)
    app = App(store, KINDS, KeyVault(bytes(32)), clock=clock)  # type: ignore[arg-type]
    yield House(app, clock)
    app.store.close()


@pytest.fixture
def cluster_url(cluster: str) -> str:
    """A fresh database on PostgreSQL."""
    return databases.new_database(cluster, uuid.uuid4().hex)
