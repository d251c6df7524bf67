"""The catalogue in the database: what planning and preparing read, within a caller's projects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from haulback.contract.damage import LocationStatus
from haulback.errors import Conflict, Malformed, NotFound
from haulback.inventory.records import (
    Backup,
    BackupDestination,
    BackupVolume,
    Entity,
    Hypervisor,
    IncrementBase,
    Mount,
    PlatformSnapshot,
    Record,
)
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.store import mount_tables, mounts, recovery_plans, tables, tasks
from haulback.server.store.snapshot_origin import Origin, origin
from haulback.tasks.record import Task
from haulback.wire import Named

T = TypeVar("T", bound=msgspec.Struct)
_ATTEMPT = re.compile(
    r"(?P<task>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-(?P<number>[0-9]{1,9})$"
)
_JSON = frozenset(
    ("config", "settings", "disks", "facts", "origin", "warnings", "files", "definition", "times")
) | {
    "target",
    "body",
    "wanted",
    "found",
    "volumes",
    "hardware",
    "damage",
    "verify_state",
    "details",
}
_LIVE = sa.text("state IN ('QUEUED', 'RUNNING', 'PLANNED')")
_MANY = 500
_BUSY = ("EXPORT", "STORE", "RESTORE", "IMPORT", "MOUNT", "SNAPSHOT", "SNAPSHOT_REVERSION")


class SqlCatalogue:
    """`records.Catalogue` on a connection; what was read once in it is not read again."""

    def __init__(self, connection: sa.Connection, scope: Scope = EVERYTHING) -> None:
        self._sql, self._scope = connection, scope
        self._seen: dict[str, Any] = {}

    def entity(self, guid: str) -> Entity:
        return self.entities_of([guid])[0]

    def entities_of(self, guids: Sequence[str]) -> list[Entity]:
        found: dict[str, Entity] = {}
        for at in range(0, len(guids), _MANY):
            query = sa.select(tables.entity).where(tables.entity.c.guid.in_(guids[at : at + _MANY]))
            found |= {one.guid: one for one in records(self._sql, query, Entity)}
        for guid in guids:
            if guid not in found or not self._scope.allows(found[guid].project):
                raise NotFound(f"there is no protected entity {guid}", guid=guid)
        return [found[guid] for guid in guids]

    def entities(self, hypervisor: str) -> list[Entity]:
        """The machines of one hypervisor."""
        query = sa.select(tables.entity).where(tables.entity.c.hypervisor == hypervisor)
        return records(self._sql, query.order_by(tables.entity.c.name), Entity)

    def machine_named(self, hypervisor: str, name: str) -> Entity | None:
        table = tables.entity.c
        where = (table.hypervisor == hypervisor, table.name == name, table.present)
        query = sa.select(tables.entity).where(*where).limit(2)
        found = list(records(self._sql, query, Entity))
        if any(not self._scope.allows(one.project) for one in found):
            raise NotFound(f"there is no machine {name} that you could replace")
        if len(found) > 1:
            raise Conflict(f"several machines are called {name}: say which, as dstProtectedEntity")
        return found[0] if found else None

    def machine_at(self, hypervisor: str, uuid: str) -> Entity | None:
        table = tables.entity.c
        query = sa.select(tables.entity).where(table.hypervisor == hypervisor, table.uuid == uuid)
        found = records(self._sql, query, Entity)
        return next((one for one in found if self._scope.allows(one.project)), None)

    def hypervisor(self, guid: str) -> Hypervisor:
        return self._once(tables.hypervisor, Hypervisor, guid, "hypervisor")

    def hypervisors(self) -> list[Hypervisor]:
        query = sa.select(tables.hypervisor).order_by(tables.hypervisor.c.name)
        return records(self._sql, query, Hypervisor)

    def destination(self, guid: str) -> BackupDestination:
        return self._once(tables.destination, BackupDestination, guid, "backup destination")

    def destinations(self) -> list[BackupDestination]:
        return records(self._sql, sa.select(tables.destination), BackupDestination)

    def default_destination(self) -> BackupDestination:
        found = records(self._sql, sa.select(tables.destination).limit(2), BackupDestination)
        if len(found) != 1:
            why = "there is none yet; create one" if not found else "there are several; name one"
            raise Malformed(f"backupDestination: {why}", field="backupDestination")
        return found[0]

    def backup(self, guid: str) -> Backup:
        return self._in_scope(one(self._sql, tables.backup, Backup, guid, "backup"), guid)

    def _in_scope(self, found: Backup, guid: str) -> Backup:
        if not self._scope.allows(found.project):
            raise NotFound(f"there is no backup {guid}", guid=guid)
        return found

    def backups_of(self, entity: str, *statuses: str) -> list[Backup]:
        table = tables.backup.c
        query = sa.select(tables.backup).where(table.entity == entity, table.status.in_(statuses))
        return records(self._sql, query.order_by(table.created.desc()), Backup)

    def stored_on(self, destination: str) -> list[Backup]:
        table = tables.backup.c
        where = (table.destination == destination, table.status == "SUCCESS")
        return records(self._sql, sa.select(tables.backup).where(*where), Backup)

    def going(self, destination: str, entity: str | None = None) -> list[str]:
        table = tables.backup.c
        decided = sa.text("status IN ('SUCCESS_REMOVED', 'FAILED') AND NOT gone")
        query = sa.select(table.guid).where(decided, table.destination == destination)
        if entity:
            query = query.where(table.entity == entity)
        return list(self._sql.scalars(query.order_by(table.created)))

    def given_up(self, destination: str) -> list[str]:
        table = tables.backup.c
        where = (
            table.destination == destination,
            table.status == "SUCCESS",
            table.location_status == LocationStatus.GIVEN_UP.value,
        )
        return list(self._sql.scalars(sa.select(table.guid).where(*where)))

    def location(self, guid: str) -> Backup:
        query = sa.select(tables.backup).where(tables.backup.c.location == guid)
        for found in records(self._sql, query, Backup):
            if self._scope.allows(found.project):
                return found
        raise NotFound(f"there is no backup location {guid}", guid=guid)

    def base(self, entity: str, destination: str) -> IncrementBase | None:
        return next((b for b in self.bases(entity) if b.destination == destination), None)

    def bases(self, entity: str) -> list[IncrementBase]:
        query = sa.select(tables.base).where(tables.base.c.entity == entity)
        return records(self._sql, query, IncrementBase)

    def mount(self, guid: str) -> Mount:
        found = one(self._sql, mount_tables.mounted_backup, Mount, guid, "mounted backup")
        if not self._scope.allows(found.project):
            raise NotFound(f"there is no mounted backup {guid}", guid=guid)
        return found

    def mounted_volumes(self, mount: str) -> list[tuple[str, BackupVolume]]:
        return [(one.guid, one.volume) for one in mounts.volumes(self._sql, mount)]

    def mount_under(self, entity: Entity) -> Mount | None:
        table = mount_tables.mounted_backup
        here = (table.c.machine == entity.uuid, table.c.hypervisor == entity.hypervisor)
        query = sa.select(table).where(table.c.state == "MOUNTED", *here)
        return next(iter(records(self._sql, query, Mount)), None)

    def snapshot(self, guid: str) -> PlatformSnapshot:
        found = one(self._sql, tables.snapshot, PlatformSnapshot, guid, "snapshot")
        if not self._scope.allows(found.project):
            raise NotFound(f"there is no snapshot {guid}", guid=guid)
        return found

    def snapshots_of(self, entity: str) -> list[PlatformSnapshot]:
        table = tables.snapshot.c
        query = sa.select(tables.snapshot).where(table.entity == entity)
        return records(self._sql, query.order_by(table.snapshot_time.desc()), PlatformSnapshot)

    def node(self, guid: str) -> Named:
        query = sa.select(tables.node.c.name).where(tables.node.c.guid == guid)
        name = self._sql.scalar(query)
        if name is None:
            raise NotFound(f"there is no node {guid}", guid=guid)
        return Named(guid, name)

    def only_node(self, field: str) -> str:
        found = list(self._sql.scalars(sa.select(tables.node.c.guid).limit(2)))
        if len(found) != 1:
            raise Malformed(f"{field}: name the node on which it lies", field=field)
        return str(found[0])

    def record(self, kind: str, guid: str) -> Record:
        query = sa.select(tables.record).where(tables.record.c.guid == guid)
        for found in records(self._sql, query, Record):
            if found.kind == kind and self._sees(found):
                return found
        raise NotFound(f"there is no {kind.replace('-', ' ')} {guid}", guid=guid)

    def changeable(self, kind: str, guid: str) -> Record:
        """A record that the caller may change.

        Raises NotFound, Forbidden for a record of all projects where the caller is narrowed.
        """
        found = self.record(kind, guid)
        self._scope.check_change(found.project, found.name)
        return found

    def _sees(self, record: Record) -> bool:
        """Records of no project are for all to use, a plan for callers who see its machines."""
        if not self._scope.shares(record.project):
            return False
        is_plan = record.kind == recovery_plans.RECOVERY_PLAN
        return not (is_plan and recovery_plans.hidden(self._sql, self._scope, record.guid))

    def records(self, kind: str, parent: str | None = None) -> list[Record]:
        query = sa.select(tables.record).where(tables.record.c.kind == kind)
        if parent is not None:
            query = query.where(tables.record.c.parent == parent)
        return records(self._sql, query.order_by(tables.record.c.name), Record)

    def is_busy(self, entity: str) -> bool:
        table = tables.task.c
        where = (_LIVE, table.entity == entity, table.type.in_(_BUSY))
        return self._sql.scalar(sa.select(table.guid).where(*where).limit(1)) is not None

    def under_way(self, role: str, guid: str, *kinds: str) -> list[Task]:
        if self._sql.dialect.name == "postgresql":  # SQLite has one writer anyway
            mark = sa.func.hashtext(guid)
            self._sql.execute(sa.select(sa.func.pg_advisory_xact_lock(mark)))
        table = tables.task.c
        where = (_LIVE, table[tables.REF_COLUMNS[role]] == guid, table.type.in_(kinds))
        query = sa.select(*tasks.COLUMNS).where(*where).order_by(table.created)
        return [tasks.task_of(row) for row in self._sql.execute(query)]

    def is_in_use(self, backup: Backup) -> bool:
        table = tables.task.c
        where = (_LIVE, table.entity == backup.entity, table.type.in_(_BUSY))
        live = set(self._sql.scalars(sa.select(table.backup).where(*where)))
        if mounts.is_mounted(self._sql, backup.guid):
            return True
        bases = {base.backup for base in self.bases(backup.entity)}
        return backup.guid in live or (backup.guid in bases and bool(live))

    def is_scheduled(self, entity: str) -> bool:
        """By way of the policy that the entity has, its rules, and their schedules."""
        schedules = self._incremental_rules()
        if not schedules:
            return False
        policy = self.entity(entity).settings.get("backupPolicy")
        return any(rule.guid in schedules for rule in self.records("rule", str(policy)))

    def _incremental_rules(self) -> set[str]:
        """The rules that an active incremental schedule fires."""
        if "schedules" not in self._seen:
            bodies = [one.body for one in self.records("schedule")]
            self._seen["schedules"] = {
                rule["guid"]
                for body in bodies
                if body.get("active", True) and body.get("backupType") == "INCREMENTAL"
                for rule in body.get("rules", [])
            }
        found: set[str] = self._seen["schedules"]
        return found

    def pins(self, destination: str) -> list[str]:
        """Attempts that use a destination now, or whose export waits to be stored there."""
        task = tables.task.c
        query = sa.select(task.guid, task.state, task.attempt, task.params)
        found = []
        for row in self._sql.execute(query.where(_LIVE, task.destination == destination)):
            if row.state == "RUNNING":
                found.append(f"{row.guid}-{row.attempt}")
            if staging := msgspec.json.decode(row.params).get("staging"):
                found.append(str(staging))
        return found

    def is_needed(self, name: str) -> bool:
        """Whether an attempt runs or its export waits to be stored, or an increment builds on it.

        `name` is an attempt's, or a checkpoint's that ends with it, or a share's guid.
        """
        where = tables.base.c.checkpoint == name
        if self._sql.scalar(sa.select(tables.base.c.entity).where(where).limit(1)):
            return True
        found = _ATTEMPT.search(name)
        if found is None:
            return mounts.is_wanted(self._sql, name)
        return self._attempt_lives(found["task"], int(found["number"]))

    def is_abandoned(self, snapshot: str) -> bool:
        """Whether an attempt of ours took it and ended badly, and no record names it."""
        column = tables.snapshot.c.uuid
        if self._sql.scalar(sa.select(column).where(column == snapshot).limit(1)):
            return False
        return origin(self._sql, snapshot) is Origin.ABANDONED

    def _attempt_lives(self, guid: str, number: int) -> bool:
        task = tables.task.c
        query = sa.select(task.state, task.attempt).where(task.guid == guid)
        row = self._sql.execute(query).one_or_none()
        if row is None or row.attempt != number:
            return False
        if row.state == "RUNNING":
            return True
        waiting = (task.follows == guid, task.state.in_(("QUEUED", "RUNNING")))
        params = self._sql.scalars(sa.select(task.params).where(*waiting))
        return any("staging" in msgspec.json.decode(text) for text in params)

    def _once(self, table: sa.Table, kind: type[T], guid: str, what: str) -> T:
        if guid not in self._seen:
            self._seen[guid] = one(self._sql, table, kind, guid, what)
        found: T = self._seen[guid]
        return found


def add(connection: sa.Connection, table: sa.Table, record: msgspec.Struct, **more: Any) -> None:
    """Insert a hypervisor, a destination or a record.  Raises Conflict for a taken name."""
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(table).values({**row_of(record, table), **more}))
    except sa.exc.IntegrityError:
        name = getattr(record, "name", "")
        raise Conflict(f"name: {name!r} is taken", field="name") from None


def change(connection: sa.Connection, table: sa.Table, record: msgspec.Struct) -> None:
    """Write a record that was read in this transaction.  Raises Conflict for a taken name."""
    values = row_of(record, table)
    guid = values.pop("guid")
    try:
        with connection.begin_nested():
            connection.execute(sa.update(table).where(table.c.guid == guid).values(values))
    except sa.exc.IntegrityError:
        name = getattr(record, "name", "")
        raise Conflict(f"name: {name!r} is taken", field="name") from None


def sealed_key(connection: sa.Connection, destination: str) -> str:
    """The sealed repository key.  Raises NotFound."""
    query = sa.select(tables.destination.c.sealed_key)
    found: str | None = connection.scalar(query.where(tables.destination.c.guid == destination))
    if found is None:
        raise NotFound(f"there is no backup destination {destination}", guid=destination)
    return found


def with_names(connection: sa.Connection, task: Task) -> Task:
    """The task with its node as a reference."""
    if task.node and "node" not in task.refs:
        query = sa.select(tables.node.c.name).where(tables.node.c.guid == task.node)
        task.refs["node"] = Named(task.node, connection.scalar(query) or "a node that is gone")
    return task


def all_named(connection: sa.Connection, found: list[Task]) -> list[Task]:
    """The same for many, in one question."""
    missing = {task.node for task in found if task.node and "node" not in task.refs}
    if missing:
        query = sa.select(tables.node.c.guid, tables.node.c.name)
        rows = connection.execute(query.where(tables.node.c.guid.in_(missing)))
        names = {row.guid: row.name for row in rows}
        for task in found:
            if task.node and "node" not in task.refs:
                task.refs["node"] = Named(task.node, names.get(task.node) or "a node that is gone")
    return found


def one(sql: sa.Connection, table: sa.Table, kind: type[T], guid: str, what: str) -> T:
    """A record by its guid.  Raises NotFound."""
    for found in records(sql, sa.select(table).where(table.c.guid == guid), kind):
        return found
    raise NotFound(f"there is no {what} {guid}", guid=guid)


def records(sql: sa.Connection, query: sa.Executable, kind: type[T]) -> list[T]:
    """What `query` finds, as records."""
    rows = sql.execute(query)
    members = [(i, str(k), k in _JSON) for i, k in enumerate(rows.keys()) if k in _fields(kind)]
    decode = msgspec.json.decode
    return [
        msgspec.convert({k: decode(row[i]) if json else row[i] for i, k, json in members}, kind)
        for row in rows
    ]


@cache
def _fields(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(kind.__struct_fields__)


def row_of(record: msgspec.Struct, table: sa.Table) -> dict[str, Any]:
    """A record as the columns of a row."""
    encode = msgspec.json.encode
    return {
        name: encode(value).decode() if name in _JSON else value
        for name, value in msgspec.structs.asdict(record).items()
        if name in _columns(table)
    }


@cache
def _columns(table: sa.Table) -> frozenset[str]:
    return frozenset(table.c.keys())
