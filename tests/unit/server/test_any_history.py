"""Whatever people, nodes and the clock do in whatever order, the queue's rules hold."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from haulback.errors import HaulbackError
from haulback.inventory.records import NOT_DECIDED, Backup
from haulback.kinds.table import KINDS
from haulback.server import movers, people, upkeep
from haulback.server.app import App
from haulback.server.store import tables, tasks
from haulback.server.store.catalogue import records
from haulback.server.store.engine import open_store
from haulback.server.vault import Vault
from haulback.tasks.record import Task
from haulback.tasks.states import State
from tests.unit.server.conftest import EXPORTED, Clock, House

FINAL = ("FINISHED", "FAILED", "CANCELLED")
PICK = st.integers(0, 30)
ENDS = [State.FINISHED, State.FAILED, State.CANCELLED]


class History(RuleBasedStateMachine):
    """Two nodes, three machines; old sessions go on talking."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        clock = Clock()
        store = open_store(f"sqlite:///{self.folder}/a.db")
        app = App(store, KINDS, Vault(bytes(32)), clock=clock)  # type: ignore[arg-type]
        self.house = House(app, clock)
        self.nodes = [self.house.node("n0"), self.house.node("n1")]
        self.ended: dict[str, str] = {}

    def teardown(self) -> None:
        self.house.app.store.close()
        shutil.rmtree(self.folder)

    @rule(machine=st.integers(0, 2), retries=st.integers(0, 2), priority=st.integers(0, 100))
    def export(self, machine: int, retries: int, priority: int) -> None:
        entity = self.house.entities[machine]
        self.house.export(entity, retryCount=retries, priority=priority)

    @rule(node=PICK, task=PICK)
    def take(self, node: int, task: int) -> None:
        who = self.nodes[node % len(self.nodes)]
        if offers := movers.offer(self.house.app, who):
            self.attempt(self.house.take, who, offers[task % len(offers)])

    @rule(
        node=PICK, task=PICK, state=st.sampled_from([State.FINISHED, State.FAILED, State.CANCELLED])
    )
    def end(self, node: int, task: int, state: State) -> None:
        who = self.nodes[node % len(self.nodes)]
        running = self.rows("RUNNING")
        if running:
            one = running[task % len(running)]
            results = EXPORTED if one.type == "EXPORT" else {"stored": 1}
            self.attempt(movers.report, self.house.app, who, one.guid, results=results)
            self.attempt(movers.set_state, self.house.app, who, one.guid, state, "it broke")

    @rule(task=PICK)
    def cancel(self, task: int) -> None:
        if rows := self.rows("QUEUED", "RUNNING"):
            guid = rows[task % len(rows)].guid
            self.attempt(
                people.set_state, self.house.app, self.house.user, guid, State.CANCELLED, None
            )

    @rule(task=PICK)
    def remove(self, task: int) -> None:
        if rows := self.rows("QUEUED", "RUNNING", *FINAL):
            self.attempt(
                people.remove, self.house.app, self.house.user, rows[task % len(rows)].guid
            )

    @rule(seconds=st.sampled_from([1, 20, 31, 1000, 20_000]))
    def time_passes(self, seconds: int) -> None:
        self.house.clock.now += seconds * 1000
        upkeep.tick(self.house.app)

    @rule(which=st.integers(0, 1))
    def a_node_starts_again(self, which: int) -> None:
        self.nodes.append(self.house.node(f"n{which}"))

    def attempt(self, call: object, *arguments: object, **named: object) -> None:
        """Refusals are fine; what they leave is checked below."""
        try:
            call(*arguments, **named)  # type: ignore[operator]
        except HaulbackError:
            return

    def rows(self, *states: str) -> list[Task]:
        with self.house.app.store.read() as sql:
            query = tables.task.select().order_by(tables.task.c.created, tables.task.c.guid)
            found = [tasks.task_of(row) for row in sql.execute(query)]
        return [task for task in found if not states or task.state in states]

    @invariant()
    def a_final_state_stays(self) -> None:
        for task in self.rows():
            before = self.ended.get(task.guid)
            assert before in (None, task.state)
            if task.state in FINAL:
                self.ended[task.guid] = task.state

    @invariant()
    def limits_are_what_runs_and_are_kept(self) -> None:
        held: Counter[str] = Counter()
        for task in self.rows():
            assert not task.slots or task.state in ("RUNNING", "QUEUED")
            held.update(task.slots)
        with self.house.app.store.read() as sql:
            rows = {r.key: (r.used, r.most) for r in sql.execute(tables.slot.select())}
        assert {key: used for key, (used, _) in rows.items()} == dict(held)
        assert all(used <= most for used, most in rows.values())

    @invariant()
    def nothing_waits_for_what_has_ended(self) -> None:
        by_guid = {task.guid: task for task in self.rows()}
        for task in by_guid.values():
            if task.state == "PLANNED":
                assert by_guid[str(task.follows)].state not in FINAL

    @invariant()
    def one_plan_of_a_machine_is_under_way(self) -> None:
        busy = Counter(
            task.ref("protectedEntity")
            for task in self.rows()
            if (task.type == "EXPORT" and task.state == "RUNNING")
            or (task.type == "STORE" and task.state in ("QUEUED", "RUNNING"))
        )
        assert all(count == 1 for count in busy.values()), busy

    @invariant()
    def a_backup_is_decided_when_its_tasks_are(self) -> None:
        with self.house.app.store.read() as sql:
            backups = records(sql, tables.backup.select(), Backup)
        live = {task.ref("backup") for task in self.rows("QUEUED", "RUNNING", "PLANNED")}
        for backup in backups:
            assert (backup.status in NOT_DECIDED) == (backup.guid in live), backup

    @invariant()
    def what_runs_has_a_lease_and_what_waits_has_none(self) -> None:
        for task in self.rows():
            assert (task.lease_until is not None) == (task.state == "RUNNING")
            assert not task.ready or task.state == "QUEUED"


History.TestCase.settings = settings(max_examples=25, stateful_step_count=40)
TestHistory = History.TestCase
