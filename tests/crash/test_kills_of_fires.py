"""Servers are killed around fires: each due time fires once, and each machine gets exactly one
plan.

Each case is a night: servers start at a due time, are killed at a seeded statement or commit, and
another server continues.  On PostgreSQL two servers share the database.
"""

from __future__ import annotations

import os
import random
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.inventory.records import Entity, Record
from haulback.kinds.registry import KINDS
from haulback.server.key_vault import KeyVault
from haulback.server.services import maintenance
from haulback.server.services.app import App
from haulback.server.store import configuration, machines, managers, rows, schedule_tables, tables
from haulback.server.store.engine import open_store
from haulback.server.store.ledger import SqlLedger
from tests import databases, shares

DAY, HOUR = 86_400_000, 3_600_000
FIRST = 1_800_000_000_000 // DAY * DAY
MACHINES = 120  # more machines than one transaction plans
RULES = 2
POINTS = 520  # statements and commits of a firing server, counted
KEY = bytes(32)


class Clock:
    """A frozen clock."""

    def __init__(self, now: int) -> None:
        self._now = now

    def now_ms(self) -> int:
        return self._now

    def drift_ms(self) -> int:
        return 0

    def adopt(self) -> None:
        """Do nothing, because this clock never drifts."""


def app_at(url: str, now: int) -> App:
    return App(open_store(url), KINDS, KeyVault(KEY), clock=Clock(now))  # type: ignore[arg-type]


def server(url: str, now: int, kill_at: int = 0) -> int:
    """Start a server process for two ticks at a time; it kills itself at the point `kill_at`."""
    if child := os.fork():
        return child
    try:
        app = app_at(url, now)
        if kill_at:
            kill_at_point(app.store.engine, kill_at)
        maintenance.start(app)
        maintenance.tick(app)
        maintenance.tick(app)
        app.store.close()
        os._exit(0)
    finally:
        os._exit(1)


def kill_at_point(engine: sa.Engine, kill_at: int) -> None:
    seen = 0

    def step(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(engine, "before_cursor_execute", step)
    sa.event.listen(engine, "commit", step)


def ended(child: int) -> int:
    """The exit code of a server, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def guid() -> str:
    return str(uuid.uuid4())


def furnish(url: str) -> str:
    """A policy of many machines with rules that one schedule fires; the schedule's guid."""
    app = app_at(url, FIRST)
    hypervisor = Hypervisor(guid=guid(), name="hv", driver="image-folder", config={})
    to = BackupDestination(guid=guid(), name="bd", driver="folder", config={}, repository=guid())
    policy = Record(guid=guid(), kind="vm-backup", name="gold", modified=FIRST)
    target = {"roleType": "PRIMARY", "backupDestination": {"guid": to.guid}}
    rules = [
        Record(
            guid=guid(),
            kind="rule",
            name=f"rule {number}",
            parent=policy.guid,
            body={"ruleBackupDestinations": [target]},
        )
        for number in range(RULES)
    ]
    body = {"hour": 22 * HOUR, "rules": [{"guid": rule.guid} for rule in rules]}
    schedule = Record(guid=guid(), kind="schedule", name="nightly", body=body, modified=FIRST)
    with app.store.write() as sql:
        rows.add(sql, tables.hypervisor, hypervisor)
        managers.surround(sql, hypervisor, FIRST)
        rows.add(sql, tables.destination, to, sealed_key=app.vault.seal(to.guid, KEY))
        entities = [
            Entity(guid=guid(), uuid=guid(), name=f"vm-{n:03}", hypervisor=hypervisor.guid)
            for n in range(MACHINES)
        ]
        SqlLedger(sql, FIRST).inventory.scanned(hypervisor.guid, entities, complete_since=None)
        for entity in entities:
            machines.set_settings(sql, entity.guid, {"backupPolicy": policy.guid})
        for record in (policy, *rules, schedule):
            configuration.add(sql, record)
    app.store.close()
    return schedule.guid


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/haulback.db"
        return
    with databases.cluster() as cluster:
        yield databases.new_database(cluster, "fires")


def test_a_fire_survives_the_death_of_its_servers(url: str):
    cases, schedule = shares.cases("fires"), furnish(url)
    for night, seed in enumerate(cases.seeds):
        chance, due = random.Random(seed), FIRST + night * DAY + 22 * HOUR
        points = [chance.randint(1, POINTS) for _ in range(1 if url.startswith("sqlite") else 2)]
        codes = [ended(child) for child in [server(url, due, point) for point in points]]
        assert set(codes) <= {0, -signal.SIGKILL}, (seed, codes)
        assert ended(server(url, due)) == 0
        check(url, schedule, due, f"seed {seed}, killed at {points}")


def check(url: str, schedule: str, due: int, told: str) -> None:
    """The fire of the due time, with one plan for each rule and machine; then all tasks end."""
    app = app_at(url, due)
    fire, task = schedule_tables.fire.c, tables.task
    with app.store.write() as sql:
        query = sa.select(fire.state, fire.planned, fire.skipped)
        states = sql.execute(query.where(fire.schedule == schedule, fire.due_at == due)).all()
        assert [tuple(row) for row in states] == [("RUNNING", MACHINES * RULES, 0)], told
        live = task.c.state.in_(("QUEUED", "PLANNED"))
        refs = sql.scalars(sa.select(task.c.refs).where(task.c.type == "EXPORT", live)).all()
        plans = Counter(
            (ref["rule"]["guid"], ref["protectedEntity"]["guid"])
            for ref in map(msgspec.json.decode, refs)
            if "rule" in ref  # the copy of the own database has none
        )
        assert len(plans) == MACHINES * RULES, told
        assert set(plans.values()) == {1}, told
        sql.execute(sa.update(task).where(live).values(state="FINISHED", ready=False))
    app.store.close()
