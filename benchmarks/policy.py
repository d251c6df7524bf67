"""Benchmarks of policies and schedules: `python -m benchmarks.policy --help`.

ROWS names the measurements; each has a function that returns figures, for one database or without
any.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import sqlalchemy as sa

from benchmarks import retention
from benchmarks.measured import resident
from haulback.ids import new_guid
from haulback.inventory.records import Record
from haulback.kinds.registry import KINDS
from haulback.policy.fires import due_now
from haulback.policy.timetable import Daily, Timetable
from haulback.server.key_vault import KeyVault
from haulback.server.services import fires, maintenance
from haulback.server.services.app import App
from haulback.server.store import configuration, fire_members, schedule_tables, tables
from haulback.server.store.engine import open_store
from haulback.units import DAY_MS, MIB
from haulback.wire import JsonObject

_START = 1_800_000_000_000
_ZONES, _SCHEDULES = 50, 500
_HOUR = 3_600_000


class Clock:
    """A clock that a measurement moves."""

    def __init__(self) -> None:
        self.now = _START

    def now_ms(self) -> int:
        return self.now

    def drift_ms(self) -> int:
        return 0

    def adopt(self) -> None:
        """Do nothing, because this clock never drifts."""


def retained(database: str, scale: int) -> JsonObject:
    """A clean-up judges a million backups of 10,000 machines; one of 100 rules is previewed."""
    row = retention.measure(database, 10_000 // scale, 100)
    return {**row["cleanUp"], "previewSeconds": row["preview"]["seconds"]}


class Row(NamedTuple):
    """A measurement: what is measured, with its targets by the name of the figure."""

    title: str
    measure: Callable[[str, int], JsonObject]
    targets: dict[str, float]
    databases: Sequence[str] = ("sqlite", "postgresql")


def year(_: str, scale: int) -> JsonObject:
    """A year of schedules in many zones, planned day by day with a frozen clock."""
    zones = sorted(name for name in available_timezones() if "/" in name)
    chosen = [ZoneInfo(zones[place * len(zones) // _ZONES]) for place in range(_ZONES)]
    count = max(1, _SCHEDULES // scale)
    tables_ = [
        Timetable(Daily(timedelta(minutes=number * 7 % 1440)), chosen[number % _ZONES])
        for number in range(count)
    ]
    begin = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
    after, before = [begin] * count, resident()
    begun, fired = time.monotonic(), 0
    for day in range(1, 366):
        now = begin + day * DAY_MS
        for place, table in enumerate(tables_):
            choice = due_now(table, after[place], now, 2 * DAY_MS)
            fired += len(choice.missed) + (choice.runs is not None)
            after[place] = choice.newest.at if choice.newest else after[place]
    seconds = time.monotonic() - begun
    grown = (resident() - before) / MIB
    return {"seconds": round(seconds, 2), "fires": fired, "grownMiB": round(grown, 1)}


def choosing(database: str, scale: int) -> JsonObject:
    """Select the machines of a fire, in the pieces of the scheduler."""
    with filled(database, 10_000 // scale, 0) as (app, _):
        policy, count, after = _policy(app), 0, ""
        begun = time.monotonic()
        with app.store.read() as sql:
            while found := fire_members.piece(sql, "backupPolicy", policy, after, fires.PIECE):
                count, after = count + len(found), found[-1].guid
        seconds = time.monotonic() - begun
    return {"entities": count, "microsecondsEach": round(seconds * 1e6 / count, 1)}


def idle_tick(database: str, scale: int) -> JsonObject:
    """A tick of maintenance with nothing due, in a database with a long history."""
    with filled(database, 10_000 // scale, 100) as (app, clock):
        _policy(app)
        _schedules(app, 1_000 // scale)
        maintenance.start(app)
        maintenance.tick(app)
        times = []
        for _ in range(200):
            clock.now += 1
            begun = time.perf_counter()
            maintenance.tick(app)
            times.append(time.perf_counter() - begun)
    times.sort()
    return {"milliseconds": round(times[100] * 1000, 2), "p99": round(times[198] * 1000, 2)}


def large_fire(database: str, scale: int) -> JsonObject:
    """A fire over all machines, until each has its tasks, while another client works."""
    with filled(database, 10_000 // scale, 0) as (app, clock):
        policy = _policy(app)
        [schedule] = _schedules(app, 1, policy)
        clock.now = _START // DAY_MS * DAY_MS + 22 * _HOUR
        others = retention.Others(app)
        others.start()
        begun, ticks = time.monotonic(), []
        while not _is_planned(app, schedule):
            since = time.monotonic()
            fires.run_due(app)
            ticks.append(time.monotonic() - since)
        seconds, p99 = time.monotonic() - begun, others.stop()
        with app.store.read() as sql:
            query = sa.select(sa.func.count()).select_from(tables.task)
            tasks = sql.scalar(query.where(tables.task.c.type == "EXPORT"))
    return {
        "seconds": round(seconds, 1),
        "exports": tasks,
        "othersP99": round(p99, 3),
        "longestTick": round(max(ticks), 1),
    }


def _is_planned(app: App, schedule: str) -> bool:
    fire = schedule_tables.fire.c
    with app.store.read() as sql:
        state = sql.scalar(sa.select(fire.state).where(fire.schedule == schedule))
    return state == "RUNNING"


def _policy(app: App) -> str:
    """A policy that all machines have, with a rule."""
    policy = Record(guid=new_guid(), kind="vm-backup", name="gold")
    rule = Record(guid=new_guid(), kind="rule", name="nightly", parent=policy.guid)
    with app.store.write() as sql:
        for record in (policy, rule):
            configuration.add(sql, record)
        sql.execute(sa.update(tables.entity).values(backup_policy=policy.guid, seen=_START * 2))
    if not app.store.is_sqlite:
        with app.store.engine.connect() as plain:
            alone = plain.execution_options(isolation_level="AUTOCOMMIT")
            alone.execute(sa.text("VACUUM ANALYZE"))
    return policy.guid


def _schedules(app: App, count: int, policy: str = "") -> list[str]:
    """Nightly schedules for the rule of a policy."""
    rule = sa.select(tables.record.c.guid).where(tables.record.c.parent == policy)
    with app.store.write() as sql:
        rules = [{"guid": guid} for guid in sql.scalars(rule.where(tables.record.c.kind == "rule"))]
        made = [
            Record(
                guid=new_guid(),
                kind="schedule",
                name=f"schedule {number}",
                body={"hour": 22 * _HOUR, "rules": rules},
                modified=_START,
            )
            for number in range(count)
        ]
        for record in made:
            configuration.add(sql, record)
    return [record.guid for record in made]


@contextmanager
def filled(database: str, machines: int, each: int) -> Iterator[tuple[App, Clock]]:
    """An app on a fresh database with machines, and a number of backups of each."""
    with (
        tempfile.TemporaryDirectory(prefix="haulback-policy-") as folder,
        retention.database(database, Path(folder)) as url,
    ):
        clock = Clock()
        app = App(open_store(url), KINDS, KeyVault(bytes(32)), clock=clock)  # type: ignore[arg-type]
        retention.fill(app, machines, each)
        yield app, clock
        app.store.close()


ROWS = (
    Row("a year of 500 rules in 50 zones", year, {"seconds": 10}, ("none",)),
    Row("machines of a fire", choosing, {"microsecondsEach": 20}),
    Row("a tick with nothing due", idle_tick, {"milliseconds": 5}),
    Row("a fire over 10,000 machines", large_fire, {"seconds": 10, "othersP99": 0.2}),
    Row(
        "retention over 1 M backups, and a preview of 10,000",
        retained,
        {"seconds": 30, "othersP99": 0.2, "previewSeconds": 0.3},
    ),
)


def main() -> None:
    """Measure the rows whose title contains a word, and print each as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="measure only rows whose title has such a word")
    parser.add_argument("--scale", type=int, default=1, help="divide all sizes by this number")
    parser.add_argument("--database", choices=("sqlite", "postgresql"))
    asked = parser.parse_args()
    for row in ROWS:
        if asked.words and not any(word in row.title for word in asked.words):
            continue
        for database in row.databases:
            if asked.database in (None, database) or database == "none":
                figures = row.measure(database, asked.scale)
                reached = all(figures[name] <= most for name, most in row.targets.items())
                answer = {"row": row.title, "database": database, **figures, "reached": reached}
                print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
