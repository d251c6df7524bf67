"""Objects of three owners: tenant `pa`, tenant `pb`, and no project; they can be created again at
any time.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.contract.machines import VirtualDisk
from haulback.contract.store import BackupVolume
from haulback.ids import new_guid
from haulback.inventory.alarms import Alarm
from haulback.inventory.derived_guids import disk_guid
from haulback.inventory.records import Backup, Entity, Mount, PlatformSnapshot, Record
from haulback.server.store import alarm_tables, mount_tables, tables, tasks
from haulback.server.store.rows import row_of
from haulback.tasks.record import Task
from haulback.wire import Named
from tests.contract.conftest import Served

OWN, OTHER, SHARED = "own", "other", "shared"
PROJECTS = {OWN: "pa", OTHER: "pb", SHARED: None}
RECORD_KINDS = {
    "/node-configs": "node-config",
    "/hypervisor-managers": "hypervisor-manager",
    "/hypervisor-clusters": "hypervisor-cluster",
    "/hypervisor-storages": "hypervisor-storage",
    "/network": "network",
    "/virtual-machine-flavors": "flavor",
    "/projects": "project",
    "/policies/vm-backup": "vm-backup",
    "/policies/vm-snapshot": "vm-snapshot",
    "/policies/recovery-plan": "recovery-plan",
    "/rules/vm-backup": "rule",
    "/rules/vm-snapshot": "snapshot-rule",
    "/schedules": "schedule",
    "/system-schedules": "system-schedule",
    "/mailing-lists": "mailing-list",
    "/credential": "credential",
    "/notification-channels": "notification-channel",
    "/notification-rules": "notification-rule",
}
_FIXED = {
    *("account", "login", "node", "enrolment", "hypervisor", "destination", "key_check"),
    *("audit", "idempotency", "pulse", "event_counter"),
}
_QUIET = {
    "audit",
    "idempotency",
    "login",
    "slot",
    "log_line",
    "question",
    "answer_part",
    "pulse",
} | {
    *("event", "event_counter", "delivery", "delivery_event", "first_run", "walk", "promise"),
}
_PARENTS = {"rule": "vm-backup", "snapshot-rule": "vm-snapshot"}
Rows = dict[str, dict[Any, tuple[Any, ...]]]


class World:
    """An object of each type for each owner; `guids[owner][type]`."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.node = str(served.call("GET", "/api/nodes").json()[0]["guid"])
        self.kept: Rows = {}
        self.guids: dict[str, dict[str, str]] = {}

    def build(self, tokens: list[Any]) -> None:
        """Delete all rows and create them again; `tokens` are rows of API tokens to keep."""
        with self.served.app.store.write() as sql:
            for table in reversed(tables.metadata.sorted_tables):
                if table.name not in _FIXED:
                    sql.execute(sa.delete(table))
            for row in tokens:
                sql.execute(sa.insert(tables.api_token).values(row))
            self.guids = {owner: self._make(sql, owner) for owner in PROJECTS}
        self.kept = self.rows()

    def rows(self) -> Rows:
        """Every row that a call must not change without permission, by table and key."""
        with self.served.app.store.read() as sql:
            return {
                table.name: {row[0]: tuple(row) for row in sql.execute(sa.select(table))}
                for table in tables.metadata.sorted_tables
                if table.name not in _QUIET
            }

    def changed(self) -> list[tuple[str, str | None]]:
        """The table and the project of each row that was added, removed or changed since
        `build`.
        """
        result, now = [], self.rows()
        for table in tables.metadata.sorted_tables:
            before, after = self.kept.get(table.name, {}), now.get(table.name, {})
            for key in before.keys() | after.keys():
                if before.get(key) != after.get(key):
                    row = after.get(key) or before[key]
                    result.append((table.name, _project(table, row)))
        return result

    def names(self, owner: str) -> set[str]:
        """Texts in a response that would reveal an object of an owner."""
        return {f"{owner}-secret", *self.guids[owner].values()} - {""}

    def _make(self, sql: sa.Connection, owner: str) -> dict[str, str]:
        project, now = PROJECTS[owner], self.served.app.clock.now_ms()
        hypervisor = str(self.served.hypervisor["guid"])
        destination = str(self.served.destination["guid"])
        name = f"{owner}-secret"
        entity = Entity(
            guid=new_guid(),
            uuid=new_guid(),
            name=name,
            hypervisor=hypervisor,
            disks=[VirtualDisk("root", 10, "qcow2"), VirtualDisk("data", 10, "qcow2")],
            project=project,
        )
        absent = msgspec.structs.replace(
            entity, guid=new_guid(), uuid=new_guid(), name=f"{name}-gone", present=False
        )
        backup = Backup(
            guid=new_guid(),
            entity=entity.guid,
            entity_name=name,
            destination=destination,
            location=new_guid(),
            type="FULL",
            status="SUCCESS",
            created=now,
            snapshot_time=now,
            stored_time=now,
            size=10,
            project=project,
            files=[{"name": "root", "size": 10, "format": "raw"}],
        )
        snapshot = PlatformSnapshot(
            guid=new_guid(),
            entity=entity.guid,
            uuid=f"haulback-{name}",
            created=now,
            snapshot_time=now,
            project=project,
        )
        mount = Mount(
            guid=new_guid(),
            backup=backup.guid,
            entity=entity.guid,
            entity_name=name,
            node=self.node,
            mode="AUTO",
            state="MOUNTED",
            created=now,
            wanted={"visible": []},
            found={"disks": {"root": 10}, "volumes": []},
            project=project,
        )
        alarm = Alarm(
            guid=new_guid(),
            kind="MACHINE_UNREADABLE",
            subject=entity.guid,
            subject_name=name,
            subject_type="VM",
            since=now,
            seen=now,
            text=f"{name} cannot be read",
            project=project,
        )
        for table, record in (
            (tables.entity, entity),
            (tables.entity, absent),
            (tables.backup, backup),
            (tables.snapshot, snapshot),
            (mount_tables.mounted_backup, mount),
            (alarm_tables.alarm, alarm),
        ):
            sql.execute(_insert(table, record))
        file_system = new_guid()
        volume = msgspec.json.encode(BackupVolume(name="root1", type="ext4", label=name)).decode()
        sql.execute(
            sa.insert(mount_tables.mounted_volume).values(
                guid=file_system, mount=mount.guid, number=0, body=volume
            )
        )
        job = new_guid()
        sql.execute(
            sa.insert(tables.restore_job).values(
                guid=job, type="RESTORE", status="SUCCESS", entity=entity.guid, entity_name=name,
                backup=backup.guid, size=10, project=project, created=now, target="{}", times="{}",
            )
        )  # fmt: skip
        return {
            "entity": entity.guid,
            "absent": absent.guid,
            "disk": disk_guid(entity.guid, "data"),
            "backup": backup.guid,
            "location": backup.location,
            "snapshot": snapshot.guid,
            "mount": mount.guid,
            "file-system": file_system,
            "alarm": alarm.guid,
            "job": job,
            **self._tasks(sql, entity, project, now),
            **self._records(sql, entity, project),
        }

    def _tasks(
        self, sql: sa.Connection, entity: Entity, project: str | None, now: int
    ) -> dict[str, str]:
        def task(state: str) -> Task:
            made = Task(
                type="CONNECTIVITY_TEST",
                lane="inventory",
                state=state,
                window_end=now + 3_600_000,
                created=now,
                modified=now,
                project=project,
                refs={"protectedEntity": Named(entity.guid, entity.name)},
                ready=state == "QUEUED",
                finished=now if state == "FINISHED" else None,
            )
            made.workflow = made.guid
            return made

        made = {"task": task("QUEUED"), "finished": task("FINISHED")}
        tasks.insert(sql, made.values())
        sql.execute(
            sa.insert(tables.log_line).values(
                task=made["task"].guid, number=1, time=now, attempt=1, text=f"{entity.name} said"
            )
        )
        return {sort: item.guid for sort, item in made.items()}

    def _records(self, sql: sa.Connection, entity: Entity, project: str | None) -> dict[str, str]:
        made: dict[str, str] = {}
        for kind in RECORD_KINDS.values():
            body: dict[str, Any] = {}
            if kind == "recovery-plan":
                refs = [{"guid": entity.guid}] if project else []
                body = {"rules": [{"name": "all", "protectedEntities": refs}]}
            elif kind == "system-schedule":
                body = {"task": "VERIFY", "hour": 0}
            elif kind == "project":
                body = {"uuid": project or "nobody"}
            record = Record(
                guid=new_guid(),
                kind=kind,
                name=f"{entity.name}-{kind}",
                parent=made.get(_PARENTS.get(kind, ""), ""),
                project=project,
                body=body,
            )
            sql.execute(_insert(tables.record, record))
            made[kind] = record.guid
        return made


def _insert(table: sa.Table, record: msgspec.Struct) -> sa.Insert:
    values = row_of(record, table)
    return sa.insert(table).values({**values, "gone": False} if table.name == "backup" else values)


def _project(table: sa.Table, row: tuple[Any, ...]) -> str | None:
    named = dict(zip(table.c.keys(), row, strict=True))
    if named.get("type") == "STAGING_CLEANUP":
        return "system"
    if table.name == "api_token":
        return str((named["projects"] or "")[2:-2]) or None
    if table.name == "mounted_volume":
        return "of its mount"
    if table.name in ("base", "proof"):
        return "of its backup"
    if table.name in ("schedule_clock", "fire", "fire_rule", "fire_skip"):
        return "of its schedule"
    text: str | None = named.get("project")
    return text
