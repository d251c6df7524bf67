"""The catalogue in the database: what planning and preparing read, and what finishing writes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.errors import Malformed, NotFound
from haulback.ids import new_guid
from haulback.inventory.records import Backup, Base, Destination, Entity, Hypervisor
from haulback.server.store import tables
from haulback.tasks.record import NewBackup, Task
from haulback.wire import Named

T = TypeVar("T", bound=msgspec.Struct)
_ATTEMPT = re.compile(
    r"(?P<task>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})-(?P<number>[0-9]{1,9})$"
)


class SqlCatalogue:
    """`records.Catalogue` on a connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._sql = connection

    def entity(self, guid: str) -> Entity:
        return _one(self._sql, tables.entity, Entity, guid, "protected entity")

    def entities(self, hypervisor: str) -> list[Entity]:
        query = sa.select(tables.entity).where(tables.entity.c.hypervisor == hypervisor)
        return _all(self._sql, query.order_by(tables.entity.c.name), Entity)

    def hypervisor(self, guid: str) -> Hypervisor:
        return _one(self._sql, tables.hypervisor, Hypervisor, guid, "hypervisor")

    def hypervisors(self) -> list[Hypervisor]:
        return _all(self._sql, sa.select(tables.hypervisor), Hypervisor)

    def destination(self, guid: str) -> Destination:
        return _one(self._sql, tables.destination, Destination, guid, "backup destination")

    def destinations(self) -> list[Destination]:
        return _all(self._sql, sa.select(tables.destination), Destination)

    def default_destination(self) -> Destination:
        found = _all(self._sql, sa.select(tables.destination).limit(2), Destination)
        if len(found) != 1:
            why = "there is none yet; create one" if not found else "there are several; name one"
            raise Malformed(f"backupDestination: {why}", field="backupDestination")
        return found[0]

    def backup(self, guid: str) -> Backup:
        return _one(self._sql, tables.backup, Backup, guid, "backup")

    def location(self, guid: str) -> Backup:
        query = sa.select(tables.backup).where(tables.backup.c.location == guid)
        for found in _all(self._sql, query, Backup):
            return found
        raise NotFound(f"there is no backup location {guid}", guid=guid)

    def base(self, entity: str, destination: str) -> Base | None:
        return next((b for b in self.bases(entity) if b.destination == destination), None)

    def bases(self, entity: str) -> list[Base]:
        return _all(self._sql, sa.select(tables.base).where(tables.base.c.entity == entity), Base)

    def node(self, guid: str) -> Named:
        query = sa.select(tables.node.c.name).where(tables.node.c.guid == guid)
        name = self._sql.scalar(query)
        if name is None:
            raise NotFound(f"there is no node {guid}", guid=guid)
        return Named(guid, name)

    def is_needed(self, name: str) -> bool:
        """Whether an attempt runs or its export waits to be stored, or an increment builds on it.

        `name` is an attempt's, or a checkpoint's that ends with it.
        """
        where = tables.base.c.checkpoint == name
        if self._sql.scalar(sa.select(tables.base.c.entity).where(where).limit(1)):
            return True
        found = _ATTEMPT.search(name)
        if found is None:
            return False
        return self._attempt_lives(found["task"], int(found["number"]))

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


class SqlLedger:
    """`records.Ledger` on a connection, at the server's time `now`."""

    def __init__(self, connection: sa.Connection, now: int) -> None:
        self._sql, self._now = connection, now

    def begun(self, new: Iterable[NewBackup]) -> None:
        """Backup entries of a plan."""
        rows = [
            {
                **msgspec.structs.asdict(entry),
                "location": new_guid(),
                "status": "RUNNING",
                "created": self._now,
                **dict.fromkeys(("size", "read", "stored"), 0),
            }
            for entry in new
        ]
        if rows:
            self._sql.execute(sa.insert(tables.backup), rows)

    def exported(self, backup: str, kind: str, snapshot_time: int, size: int, read: int) -> None:
        self._change(backup, type=kind, snapshot_time=snapshot_time, size=size, read=read)

    def stored(self, backup: str, stored: int, parent: str | None) -> None:
        self._change(backup, status="SUCCESS", stored=stored, parent=parent, stored_time=self._now)

    def backup_failed(self, backup: str, reason: str) -> None:
        self._change(backup, status="FAILED", status_info=reason)

    def _change(self, backup: str, **values: Any) -> None:
        # A stored backup stays what it is, whatever a late task says.
        where = (tables.backup.c.guid == backup, tables.backup.c.status == "RUNNING")
        self._sql.execute(sa.update(tables.backup).where(*where).values(**values))

    def promote(self, base: Base) -> None:
        keys = (
            tables.base.c.entity == base.entity,
            tables.base.c.destination == base.destination,
        )
        self._sql.execute(sa.delete(tables.base).where(*keys))
        self._sql.execute(sa.insert(tables.base).values(msgspec.structs.asdict(base)))

    def initialised(self, destination: str, repository: str) -> None:
        where = tables.destination.c.guid == destination
        self._sql.execute(sa.update(tables.destination).where(where).values(repository=repository))

    def inventory(
        self, hypervisor: str, machines: Iterable[Entity], *, complete_since: int | None
    ) -> None:
        rows = {m.uuid: {**_row(m), "seen": self._now} for m in machines}
        insert = postgresql.insert if self._sql.dialect.name == "postgresql" else sqlite.insert
        new = insert(tables.entity)
        fresh = {name: new.excluded[name] for name in ("name", "type", "present", "disks", "seen")}
        if rows:
            upsert = new.on_conflict_do_update(index_elements=["hypervisor", "uuid"], set_=fresh)
            self._sql.execute(upsert, list(rows.values()))
        if complete_since is not None:
            table = tables.entity.c
            gone = (table.hypervisor == hypervisor, table.present, table.seen < complete_since)
            self._sql.execute(sa.update(tables.entity).where(*gone).values(present=False))


def add(connection: sa.Connection, table: sa.Table, record: msgspec.Struct, **more: Any) -> None:
    """Insert a hypervisor or destination."""
    connection.execute(sa.insert(table).values({**_row(record), **more}))


def sealed_key(connection: sa.Connection, destination: str) -> str:
    """The sealed repository key.  Raises NotFound."""
    query = sa.select(tables.destination.c.sealed_key)
    found: str | None = connection.scalar(query.where(tables.destination.c.guid == destination))
    if found is None:
        raise NotFound(f"there is no backup destination {destination}", guid=destination)
    return found


def records(connection: sa.Connection, query: sa.Select[Any], kind: type[T]) -> list[T]:
    """What `query` finds, as records."""
    return _all(connection, query, kind)


def with_names(connection: sa.Connection, task: Task) -> Task:
    """The task with its node as a reference."""
    if task.node and "node" not in task.refs:
        task.refs["node"] = SqlCatalogue(connection).node(task.node)
    return task


def _one(sql: sa.Connection, table: sa.Table, kind: type[T], guid: str, what: str) -> T:
    for found in _all(sql, sa.select(table).where(table.c.guid == guid), kind):
        return found
    raise NotFound(f"there is no {what} {guid}", guid=guid)


def _all(sql: sa.Connection, query: sa.Select[Any], kind: type[T]) -> list[T]:
    wanted = kind.__struct_fields__
    found = []
    for row in sql.execute(query):
        values = {str(k): v for k, v in row._mapping.items() if k in wanted}
        for name in ("config", "disks"):
            if name in values:
                values[name] = msgspec.json.decode(values[name])
        found.append(msgspec.convert(values, kind))
    return found


def _row(record: msgspec.Struct) -> dict[str, Any]:
    values = msgspec.structs.asdict(record)
    for name in ("config", "disks"):
        if name in values:
            values[name] = msgspec.json.encode(values[name]).decode()
    return values
