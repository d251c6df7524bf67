"""A database with a history of any number of tasks."""

from __future__ import annotations

import random
from collections.abc import Iterator

import sqlalchemy as sa

from haulback.ids import new_guid
from haulback.server.store import tasks
from haulback.server.store.engine import Store
from haulback.tasks.record import Task
from haulback.wire import Named

_PIECE = 10_000
_DAY_MS = 86_400_000
_KINDS = ("EXPORT", "STORE", "RESTORE", "SNAPSHOT", "BACKUP_CLEANUP", "INVENTORY_SYNC")
_STATES = ("FINISHED",) * 17 + ("FAILED",) * 2 + ("CANCELLED",)


class Site:
    """Names and guids of the objects of a history's tasks."""

    def __init__(self, machines: int = 300) -> None:
        self.machines = [Named(new_guid(), f"machine-{i:04}.example") for i in range(machines)]
        self.destinations = [Named(new_guid(), f"vault {i}") for i in range(3)]
        self.hosts = [Named(new_guid(), f"host-{i:02}") for i in range(8)]
        self.nodes = [new_guid() for _ in range(4)]
        self.projects = [f"tenant-{i}" for i in range(10)]


def fill(store: Store, site: Site, count: int, now: int) -> None:
    """Add `count` finished tasks, the last of them just before `now`, epoch ms."""
    chance = random.Random(count)
    made = _tasks(site, count, now, chance)
    for _ in range(0, count, _PIECE):
        with store.write() as sql:
            tasks.insert(sql, [task for task, _ in zip(made, range(_PIECE), strict=False)])
    if not store.is_sqlite:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as sql:
            sql.execute(sa.text("VACUUM ANALYZE task"))


def _tasks(site: Site, count: int, now: int, chance: random.Random) -> Iterator[Task]:
    for number in range(count):
        created = now - 13 * _DAY_MS + number * 12 * _DAY_MS // count
        started = created + chance.randrange(60_000)
        machine = chance.choice(site.machines)
        yield Task(
            type=chance.choice(_KINDS),
            lane="export",
            state=chance.choice(_STATES),
            priority=chance.choice((20, 50, 50, 50, 80)),
            created=created,
            modified=started + 5000,
            started=started,
            finished=started + chance.randrange(3_600_000),
            window_start=created,
            window_end=created + 3_600_000 + chance.randrange(3_600_000),
            progress=chance.choice((100.0, 100.0, chance.random() * 100)),
            backup_type=chance.choice(("FULL", "INCREMENTAL", None)),
            refs={
                "protectedEntity": machine,
                "backup": Named(new_guid(), machine.name),
                "backupDestination": chance.choice(site.destinations),
                "hypervisor": chance.choice(site.hosts),
                "originEntity": Named(site.nodes[0], "admin"),
            },
            params={"backup": new_guid(), "consistency": "CRASH", "cursor": "x" * 60},
            results={"size": 1 << 34, "read": 1 << 30, "stored": 1 << 29, "note": "y" * 400},
            workflow=new_guid(),
            run=new_guid(),
            project=chance.choice(site.projects),
            node=chance.choice(site.nodes),
            attempt=1,
        )
