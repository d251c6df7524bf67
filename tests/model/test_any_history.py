"""The rules of the queue hold for any order of actions by users, nodes and the clock.

The rules have the numbers of docs/design/server.md.  Both databases run; tests/shares.py sets the
number of histories, of which PostgreSQL, being slower, runs a quarter.
"""

from __future__ import annotations

import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from haulback.contract.task_states import State
from haulback.errors import HaulbackError
from haulback.inventory.records import NOT_DECIDED, Backup
from haulback.kinds.registry import KINDS
from haulback.server.caller import Node
from haulback.server.key_vault import KeyVault
from haulback.server.services import bulk_removal, maintenance, node_tasks
from haulback.server.services import tasks as task_service
from haulback.server.services.app import App
from haulback.server.store import tables, task_lifecycle, tasks
from haulback.server.store.engine import Store, open_store
from haulback.server.store.queue_position import NOTHING_ELSE, QueueState
from haulback.server.store.rows import records
from haulback.tasks.record import Task
from tests import databases, shares
from tests.unit.server.conftest import EXPORTED, Clock, House

FINAL = ("FINISHED", "FAILED", "CANCELLED")
PICK = st.integers(0, 30)
ENDS = [State.FINISHED, State.FAILED, State.CANCELLED]
RESULTS: dict[str, dict[str, Any]] = {"EXPORT": EXPORTED, "STORE": {"stored": 1}}


class History(RuleBasedStateMachine):
    """Two nodes and three machines; old sessions keep sending requests."""

    store: ClassVar[Store]

    def __init__(self) -> None:
        super().__init__()
        with self.store.write() as sql:
            for table in reversed(tables.metadata.sorted_tables):
                sql.execute(table.delete())
        clock = Clock()
        app = App(self.store, KINDS, KeyVault(bytes(32)), clock=clock)  # type: ignore[arg-type]
        self.house = House(app, clock)
        self.nodes: list[Node] = [self.house.node("n0"), self.house.node("n1")]
        self.ended: dict[str, str] = {}
        self.progress: dict[tuple[str, int], float] = {}
        self.finished: Counter[str] = Counter()

    # actions of users

    @rule(machine=st.integers(0, 2), retries=st.integers(0, 2), priority=st.integers(0, 100))
    def export(self, machine: int, retries: int, priority: int) -> None:
        entity = self.house.entities[machine]
        self.attempt(self.house.export, entity, retryCount=retries, priority=priority)

    @rule(machine=st.integers(0, 2))
    def restore(self, machine: int) -> None:
        entity = self.house.entities[machine]
        with self.store.read() as sql:
            found = records(sql, tables.backup.select(), Backup)
        for backup in found:
            if backup.entity == entity.guid and backup.status == "SUCCESS":
                body = {"backup": backup.guid, "hypervisor": self.house.hypervisor.guid}
                self.attempt(self.house.submit, "restore-and-import", body)
                return

    @rule(machine=st.integers(0, 2))
    def delete(self, machine: int) -> None:
        self.attempt(self.house.submit, "delete", {"value": self.house.entities[machine].guid})

    @rule()
    def clean_up(self) -> None:
        body = {"backupDestinations": [self.house.destination.guid]}
        self.attempt(self.house.submit, "remove-old-backups", body)

    @rule(task=PICK)
    def cancel(self, task: int) -> None:
        if one := self.pick(task, "QUEUED", "RUNNING"):
            state = State.CANCELLED
            self.attempt(task_service.set_state, self.app, self.house.user, one.guid, state, None)

    @rule(task=PICK)
    def remove(self, task: int) -> None:
        if one := self.pick(task, "QUEUED", "RUNNING", *FINAL):
            self.attempt(task_service.remove, self.app, self.house.user, one.guid)

    @rule()
    def remove_all_finished(self) -> None:
        bulk_removal.remove_all(self.app, self.house.user, ENDS)

    # actions of nodes

    @rule(node=PICK, task=PICK)
    def take(self, node: int, task: int) -> None:
        who = self.nodes[node % len(self.nodes)]
        offers = node_tasks.offer(self.app, who)
        self.i7_who_is_offered_goes_in_order(who, offers)
        if offers:
            one = offers[task % len(offers)]
            if self.attempt(self.house.take, who, one):
                row = self.house.row(one)
                assert row.window_start <= (row.started or 0) < row.window_end, "I5"

    @rule(node=PICK, task=PICK, state=st.sampled_from(ENDS), tells=st.booleans())
    def end(self, node: int, task: int, state: State, tells: bool) -> None:
        who = self.nodes[node % len(self.nodes)]
        if one := self.pick(task, "RUNNING"):
            if tells:
                results = RESULTS.get(one.type, {})
                self.attempt(node_tasks.add_results, self.app, who, one.guid, results)
            done = self.attempt(node_tasks.set_state, self.app, who, one.guid, state, "it broke")
            self.finished[one.guid] += done and state is State.FINISHED
            assert self.finished[one.guid] <= 1, "I1: two attempts published"

    @rule(node=PICK, task=PICK)
    def what_a_store_builds_on_is_gone(self, node: int, task: int) -> None:
        who = self.nodes[node % len(self.nodes)]
        one = self.pick(task, "RUNNING")
        if one and one.type == "STORE":
            gone = {"failure": "base_gone"}
            self.attempt(node_tasks.add_results, self.app, who, one.guid, gone)
            self.attempt(node_tasks.set_state, self.app, who, one.guid, State.FAILED, "gone")

    @rule(node=PICK, task=PICK)
    def give_back(self, node: int, task: int) -> None:
        who = self.nodes[node % len(self.nodes)]
        if one := self.pick(task, "RUNNING"):
            self.attempt(node_tasks.set_state, self.app, who, one.guid, State.QUEUED, None)

    @rule(node=PICK, state=st.sampled_from([State.RUNNING, *ENDS]))
    def move_many(self, node: int, state: State) -> None:
        who = self.nodes[node % len(self.nodes)]
        wanted = ("QUEUED",) if state is State.RUNNING else ("RUNNING",)
        guids = [task.guid for task in self.rows(*wanted)]
        self.attempt(node_tasks.set_states, self.app, who, guids, state, None)

    @rule(node=PICK, task=PICK, percent=st.integers(0, 100))
    def report(self, node: int, task: int, percent: int) -> None:
        who = self.nodes[node % len(self.nodes)]
        if one := self.pick(task, "RUNNING"):
            self.attempt(node_tasks.report, self.app, who, one.guid, progress=float(percent))

    @rule(which=st.integers(0, 1))
    def a_node_starts_again(self, which: int) -> None:
        self.nodes.append(self.house.node(f"n{which}"))

    @rule(seconds=st.sampled_from([1, 20, 31, 601, 1000, 20_000]))
    def time_passes(self, seconds: int) -> None:
        self.house.clock.now += seconds * 1000
        maintenance.tick(self.app)

    # invariants

    @invariant()
    def the_rules_hold(self) -> None:
        result = {task.guid: task for task in self.rows()}
        self.i3_a_final_state_stays(result)
        self.i4_progress_of_an_attempt_never_goes_back(result)
        self.i6_limits_are_what_runs_and_are_kept(result)
        self.i8_an_export_that_finished_has_one_store(result)
        self.i9_a_backup_is_decided_when_its_tasks_are(result)
        self.one_plan_of_a_machine_is_under_way(result)
        for task in result.values():
            assert (task.lease_until is not None) == (task.state == "RUNNING")
            assert not task.ready or task.state == "QUEUED"
            if task.state == "PLANNED":
                assert result[str(task.follows)].state not in FINAL, "waits for what has ended"

    def i3_a_final_state_stays(self, found: dict[str, Task]) -> None:
        for task in found.values():
            assert self.ended.get(task.guid) in (None, task.state), "I3"
            if task.state in FINAL:
                self.ended[task.guid] = task.state

    def i4_progress_of_an_attempt_never_goes_back(self, found: dict[str, Task]) -> None:
        for task in found.values():
            key = (task.guid, task.attempt)
            assert self.progress.get(key, 0.0) <= task.progress, "I4"
            self.progress[key] = task.progress

    def i6_limits_are_what_runs_and_are_kept(self, found: dict[str, Task]) -> None:
        held: Counter[str] = Counter()
        for task in found.values():
            assert not task.slots or task.state in ("RUNNING", "QUEUED")
            held.update(task.slots)
        with self.store.read() as sql:
            rows = {r.key: (r.used, r.most) for r in sql.execute(tables.slot.select())}
        assert {key: used for key, (used, _) in rows.items()} == dict(held), "I6"
        assert all(used <= most for used, most in rows.values()), "I6"

    def i7_who_is_offered_goes_in_order(self, who: Node, offers: list[Task]) -> None:
        assert [t.rank for t in offers] == sorted(t.rank for t in offers), "I7"
        last = {task.lane: task.rank for task in offers}
        chosen = {task.guid for task in offers}
        taken = {task.entity_slot for task in offers}
        with self.store.read() as sql:
            for task in self.rows("QUEUED"):
                rank = last.get(task.lane)
                free = task.ready and task.pinned_node in ("", who.guid)
                if rank is None or task.guid in chosen or not free or task.entity_slot in taken:
                    continue
                if task.rank < rank:
                    stands = QueueState(sql, self.house.clock.now).stand([task])[task.guid]
                    assert stands.reason != NOTHING_ELSE, "I7: passed over"

    def i8_an_export_that_finished_has_one_store(self, found: dict[str, Task]) -> None:
        stores = Counter(t.follows for t in found.values() if t.type == "STORE")
        repeated = {t.workflow for t in found.values() if t.params.get("repeated")}
        for task in found.values():
            if task.type == "EXPORT" and task.state == "FINISHED":
                copies = [t for t in found.values() if t.follows == task.guid]
                assert stores[task.guid] >= 1 or task.workflow in repeated, "I8"
                live = [t for t in copies if t.state not in ("FAILED",)]
                assert len(live) <= 1, "I8"

    def i9_a_backup_is_decided_when_its_tasks_are(self, rows: dict[str, Task]) -> None:
        with self.store.read() as sql:
            backups = records(sql, tables.backup.select(), Backup)
        live = {
            task.ref("backup")
            for task in rows.values()
            if task.state not in FINAL and task.type in ("EXPORT", "STORE")
        }
        stored = {
            task.ref("backup")
            for task in rows.values()
            if task.type == "STORE" and task.state == "FINISHED" and "stored" in task.results
        }
        for backup in backups:
            if backup.status in NOT_DECIDED:
                assert backup.guid in live, "I9"
            if backup.status == "SUCCESS":
                assert backup.guid in stored, "I9"
                assert not backup.gone, "I9"

    def one_plan_of_a_machine_is_under_way(self, found: dict[str, Task]) -> None:
        busy = Counter(
            task.ref("protectedEntity")
            for task in found.values()
            if (task.type in ("EXPORT", "DELETE") and task.state == "RUNNING")
            or (task.type == "STORE" and task.state in ("QUEUED", "RUNNING") and task.slots)
        )
        assert all(count == 1 for count in busy.values()), busy

    def teardown(self) -> None:
        """I2, I12, I13: without further actions every task ends, and no limit stays occupied."""
        for task in self.rows("RUNNING"):
            self.attempt(
                task_service.set_state, self.app, self.house.user, task.guid, ENDS[2], None
            )
        for _ in range(20):
            self.house.clock.now += max(task_lifecycle.CANCEL_MS, 6 * 3_600_000)
            maintenance.tick(self.app)
        left = [task for task in self.rows() if task.state not in FINAL]
        assert not left, f"I2: {left}"
        with self.store.read() as sql:
            assert sql.execute(tables.slot.select()).all() == [], "I12"

    @property
    def app(self) -> App:
        return self.house.app

    def attempt(self, call: Any, *arguments: Any, **named: Any) -> bool:
        """Run a call that may be refused; the invariants check its effects."""
        try:
            call(*arguments, **named)
        except HaulbackError:
            return False
        return True

    def pick(self, number: int, *states: str) -> Task | None:
        rows = self.rows(*states)
        return rows[number % len(rows)] if rows else None

    def rows(self, *states: str) -> list[Task]:
        with self.store.read() as sql:
            query = tables.task.select().order_by(tables.task.c.created, tables.task.c.guid)
            if states:
                query = query.where(tables.task.c.state.in_(states))
            return [tasks.task_of(row) for row in sql.execute(query.with_only_columns(*COLUMNS))]


COLUMNS = tasks.COLUMNS


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A database for all histories, emptied before each; in memory if possible."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        url = f"sqlite:///{folder}/a.db"
        if request.param == "postgresql":
            cluster = request.getfixturevalue("cluster")
            url = databases.new_database(cluster, uuid.uuid4().hex)
        result = open_store(url)
        yield result
        result.close()


def test_any_history_keeps_the_rules(store: Store):
    History.store = store
    cases = shares.cases("queue")
    few = settings(
        max_examples=cases.count if store.is_sqlite or cases.whole else cases.count // 4,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(History, settings=few)  # type: ignore[no-untyped-call]
