"""Benchmark of retention over a million backups: `python -m benchmarks.retention --help`.

A clean-up judges all backups of a destination and removes 2 % of them, while another thread writes
and reads; then one rule with 10,000 backups is previewed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from tests import databases

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.contract.retention_preview import RetentionPreviewRequest
from haulback.errors import Unavailable
from haulback.ids import new_guid
from haulback.inventory.records import Backup, Entity, Record
from haulback.kinds import backup_cleanup
from haulback.kinds.api import Context
from haulback.kinds.registry import KINDS
from haulback.server.caller import Account, person
from haulback.server.http.retention_preview import shown
from haulback.server.key_vault import KeyVault
from haulback.server.services import retention_preview, retention_run
from haulback.server.services.app import App
from haulback.server.store import configuration, managers, rows, tables, tasks
from haulback.server.store.engine import open_store
from haulback.server.store.raw_sql import Insert
from haulback.units import DAY_MS
from haulback.wire import JsonObject

_RULES = 100
_SECONDS, _OTHERS, _PREVIEW = 30.0, 0.2, 0.3  # upper limits in seconds
_START = 1_800_000_000_000
_FILES = [{"name": f"disk{number}", "size": 1 << 34, "format": "qcow2"} for number in range(2)]
_DEFINITION = {"cpus": 4, "memory": 1 << 33, "xml": "x" * 600}


class History(NamedTuple):
    """The destination and the first rule of a filled database."""

    destination: BackupDestination
    rule: str


def fill(app: App, machines: int, each: int) -> History:
    """Store `each` backups of each machine; the retention of the rules keeps 98 % of them."""
    host = Hypervisor(guid=new_guid(), name="hv", driver="image-folder", config={})
    to = BackupDestination(
        guid=new_guid(), name="bd", driver="folder", config={}, repository=new_guid()
    )
    keep = {"retentionKeepLastNFull": each * 98 // 100, "keepMonthly": 1}
    target = {"roleType": "PRIMARY", "backupRetentionSettings": keep}
    body = {"ruleBackupDestinations": [{**target, "backupDestination": {"guid": to.guid}}]}
    rules = [
        Record(guid=new_guid(), kind="rule", name=f"r{number}", body=body)
        for number in range(_RULES)
    ]
    entities = [
        Entity(guid=new_guid(), uuid=new_guid(), name=f"m{number}", hypervisor=host.guid)
        for number in range(machines)
    ]
    with app.store.write() as sql:
        rows.add(sql, tables.hypervisor, host)
        managers.surround(sql, host, _START)
        rows.add(sql, tables.destination, to, sealed_key="")
        for rule in rules:
            configuration.add(sql, rule)
        sql.execute(sa.insert(tables.entity), [rows.row_of(row, tables.entity) for row in entities])
    insert = Insert("backup", Backup.__struct_fields__)
    for at in range(0, machines, 100):
        with app.store.write() as sql:
            insert(sql, _backups(entities[at : at + 100], rules, to.guid, each))
    if not app.store.is_sqlite:
        with app.store.engine.connect() as plain:
            plain.execution_options(isolation_level="AUTOCOMMIT").execute(
                sa.text("VACUUM ANALYZE backup")
            )
    return History(to, rules[0].guid)


def _backups(
    entities: list[Entity], rules: list[Record], destination: str, each: int
) -> Iterator[JsonObject]:
    for entity in entities:
        rule = rules[int(entity.name[1:]) % _RULES].guid
        for number in range(each):
            taken = _START - number * DAY_MS
            backup = Backup(
                guid=new_guid(),
                entity=entity.guid,
                entity_name=entity.name,
                destination=destination,
                location=new_guid(),
                type="FULL",
                status="SUCCESS",
                created=taken,
                snapshot_time=taken,
                stored_time=taken,
                size=1 << 34,
                stored=1 << 30,
                rule=rule,
                files=_FILES,
                definition=_DEFINITION,
            )
            yield rows.row_of(backup, tables.backup)


class Others(threading.Thread):
    """Another client of the database, which writes a row and reads a list again and again."""

    def __init__(self, app: App) -> None:
        super().__init__(daemon=True)
        self._app, self._over = app, threading.Event()
        self.times: list[float] = []

    def run(self) -> None:
        while not self._over.wait(0.01):
            begun = time.monotonic()
            self._app.store.beat(1)
            with self._app.store.read() as sql:
                sql.execute(sa.select(tables.destination.c.name)).all()
            self.times.append(time.monotonic() - begun)

    def stop(self) -> float:
        """Stop, and return the 99th percentile in seconds."""
        self._over.set()
        self.join()
        return sorted(self.times)[len(self.times) * 99 // 100]


def clean_up(app: App, known: History) -> JsonObject:
    """Judge the destination as the order of a clean-up does."""
    task = backup_cleanup.nightly(known.destination, Context(_START))
    task.state, task.attempt = "RUNNING", 1
    with app.store.write() as sql:
        tasks.insert(sql, [task])
    others = Others(app)
    others.start()
    begun, used = time.monotonic(), time.process_time()
    while not _is_over(app, task.guid):
        pass
    seconds, used = time.monotonic() - begun, time.process_time() - used
    p99 = others.stop()
    with app.store.read() as sql:
        count = sa.select(sa.func.count()).select_from(tables.backup)
        removed = sql.scalar(count.where(tables.backup.c.status == "SUCCESS_REMOVED"))
    times = {"seconds": round(seconds, 1), "processor": round(used, 1)}
    return {**times, "removed": removed, "othersP99": round(p99, 3)}


def _is_over(app: App, task: str) -> bool:
    """Request the order once, as a node does; False if the server is not ready."""
    try:
        retention_run.carry_out(app, lambda sql: tasks.get(sql, task, lock=True))
    except Unavailable:
        return False
    return True


def preview(app: App, known: History) -> JsonObject:
    """Preview the first rule like its HTTP operation, but without HTTP."""
    who = person(Account(new_guid(), "admin"))
    times = []
    for _ in range(5):
        begun = time.monotonic()
        judged = retention_preview.preview(
            app, who, RetentionPreviewRequest(rule={"guid": known.rule})
        )
        answer = shown(judged, {known.destination.guid: "bd"})
        times.append(time.monotonic() - begun)
    return {"seconds": round(sorted(times)[2], 3), "backups": answer.stay + answer.go}


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a fresh database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/haulback.db"
        return
    with databases.cluster(durable=True) as cluster:
        yield databases.new_database(cluster, "retention")


def measure(kind: str, machines: int, each: int) -> JsonObject:
    """The rows of one database."""
    with (
        tempfile.TemporaryDirectory(prefix="haulback-retention-") as folder,
        database(kind, Path(folder)) as url,
    ):
        app = App(open_store(url), KINDS, KeyVault(bytes(32)))
        begun = time.monotonic()
        known = fill(app, machines, each)
        print(f"{kind}: filled in {time.monotonic() - begun:.0f} s", flush=True)
        result: dict[str, Any] = {"database": kind, "backups": machines * each}
        result["preview"] = preview(app, known)
        result["cleanUp"] = clean_up(app, known)
        app.store.close()
    return result


def main() -> None:
    """Measure on the databases and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("databases", nargs="*", default=["sqlite", "postgresql"])
    asked = parser.parse_args()
    for kind in asked.databases:
        row = measure(kind, asked.machines, asked.each)
        reached = row["cleanUp"]["seconds"] <= _SECONDS and row["preview"]["seconds"] <= _PREVIEW
        reached &= row["cleanUp"]["othersP99"] <= _OTHERS
        print(json.dumps(row | {"reached": reached}), flush=True)


if __name__ == "__main__":
    main()
