"""Rows of objects that an operation would remove: the first of them, and the number and bytes of
all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from haulback.contract.losses import SHOWN, LostItem
from haulback.inventory.own_server import OWN_ENTITY
from haulback.server.scope import Scope
from haulback.server.store import mount_tables, tables
from haulback.server.store.expressions import Condition
from haulback.wire import Named

LIVE = sa.text("task.state IN ('QUEUED', 'RUNNING', 'PLANNED')")
_BACKUP, _ENTITY, _TASK = tables.backup.c, tables.entity.c, tables.task.c
_MOUNT, _SNAPSHOT = mount_tables.mounted_backup.c, tables.snapshot.c


class LossRows(NamedTuple):
    """The first objects of one kind and one fate, and the number and bytes of all."""

    items: list[LostItem]
    total: int
    size: int = 0


class _Shown(NamedTuple):
    """The columns of a kind of object that the list of losses shows."""

    kind: str
    table: Any
    columns: dict[str, Any]
    order: tuple[Any, ...]


_BACKUPS = _Shown(
    "backup",
    tables.backup.join(tables.destination, tables.destination.c.guid == _BACKUP.destination),
    {
        "guid": _BACKUP.guid,
        "name": _BACKUP.entity_name,
        "size": _BACKUP.stored,
        "time": sa.func.coalesce(_BACKUP.snapshot_time, _BACKUP.created),
        "place": _BACKUP.destination,
        "place_name": tables.destination.c.name,
        "note": _BACKUP.type,
    },
    (_BACKUP.entity_name, _BACKUP.created, _BACKUP.guid),
)
_MACHINES = _Shown(
    "machine",
    tables.entity,
    {"guid": _ENTITY.guid, "name": _ENTITY.name},
    (_ENTITY.name, _ENTITY.guid),
)
_TASKS = _Shown(
    "task",
    tables.task,
    {"guid": _TASK.guid, "name": _TASK.subject, "note": _TASK.type, "time": _TASK.created},
    (_TASK.created, _TASK.guid),
)
_MOUNTS = _Shown(
    "mount",
    mount_tables.mounted_backup,
    {"guid": _MOUNT.guid, "name": _MOUNT.entity_name, "note": _MOUNT.mode, "time": _MOUNT.created},
    (_MOUNT.created, _MOUNT.guid),
)
_SNAPSHOTS = _Shown(
    "snapshot",
    tables.snapshot.join(tables.entity, _ENTITY.guid == _SNAPSHOT.entity),
    {
        "guid": _SNAPSHOT.guid,
        "name": _ENTITY.name,
        "note": _SNAPSHOT.uuid,
        "time": _SNAPSHOT.snapshot_time,
    },
    (_SNAPSHOT.snapshot_time, _SNAPSHOT.guid),
)


def backups(sql: sa.Connection, fate: str, *where: Condition) -> LossRows:
    """Locations of backups."""
    return _rows(sql, _BACKUPS, fate, where)


def machines(sql: sa.Connection, fate: str, *where: Condition) -> LossRows:
    """Machines, without the server's own database."""
    return _rows(sql, _MACHINES, fate, (_ENTITY.guid != OWN_ENTITY, *where))


def tasks(sql: sa.Connection, fate: str, *where: Condition) -> LossRows:
    """Tasks."""
    return _rows(sql, _TASKS, fate, where)


def mounts(sql: sa.Connection, fate: str, *where: Condition) -> LossRows:
    """Mounted backups."""
    return _rows(sql, _MOUNTS, fate, where)


def snapshots(sql: sa.Connection, fate: str, *where: Condition) -> LossRows:
    """Snapshots on the platform."""
    return _rows(sql, _SNAPSHOTS, fate, where)


def _rows(sql: sa.Connection, shown: _Shown, fate: str, where: Sequence[Condition]) -> LossRows:
    size = shown.columns.get("size", sa.literal(0))
    totals = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(size), 0))
    count, whole = sql.execute(totals.select_from(shown.table).where(*where)).one()
    columns = [column.label(name) for name, column in shown.columns.items()]
    query = sa.select(*columns).select_from(shown.table).where(*where).order_by(*shown.order)
    rows = sql.execute(query.limit(SHOWN)) if count else ()
    return LossRows([_loss(shown.kind, fate, row._mapping) for row in rows], count, int(whole))


def _loss(kind: str, fate: str, row: Any) -> LostItem:
    return LostItem(
        kind=kind,
        fate=fate,
        guid=row["guid"],
        name=row["name"],
        size=row.get("size"),
        time=row.get("time"),
        place=Named(row["place"], row["place_name"]) if "place" in row else None,
        note=row.get("note") or "",
    )


# The conditions by which dry runs select rows.


def backups_of_machines(machines: Sequence[str]) -> Condition:
    """The stored backups of machines, on any destination."""
    return sa.and_(_BACKUP.entity.in_(machines), _kept())


def backups_on(destination: str) -> Condition:
    """The backups of a destination that have, or may have, data on it."""
    return sa.and_(_BACKUP.destination == destination, _kept())


def stored() -> Condition:
    """Stored backups."""
    return _kept()


def _kept() -> Condition:
    stored = ("SUCCESS", "PARTIAL_SUCCESS")
    return sa.and_(_BACKUP.status.in_(stored), ~_BACKUP.gone)


def among(kind: str, guids: Sequence[str]) -> Condition:
    """The objects of a kind (backup, machine, task, snapshot) with these guids."""
    columns = {
        "backup": _BACKUP.guid, "machine": _ENTITY.guid, "task": _TASK.guid,
        "snapshot": _SNAPSHOT.guid,
    }  # fmt: skip
    return columns[kind].in_(guids)


def forgettable(scope: Scope) -> Condition:
    """Absent machines without backups and tasks, within the caller's projects."""
    kept = sa.select(_BACKUP.guid).where(_BACKUP.entity == _ENTITY.guid, ~_BACKUP.gone)
    busy = sa.select(_TASK.guid).where(LIVE, _TASK.entity == _ENTITY.guid)
    here = [] if scope.listed is None else [_ENTITY.project.in_(scope.listed)]
    return sa.and_(~_ENTITY.present, ~kept.exists(), ~busy.exists(), *here)


def machines_on(hypervisor: str) -> Condition:
    """The machines of a hypervisor."""
    return _ENTITY.hypervisor == hypervisor


def seen_machines(sql: sa.Connection, guids: Sequence[str], scope: Scope) -> list[str]:
    """The machines among at most 500 guids that a caller may see."""
    here = [] if scope.listed is None else [_ENTITY.project.in_(scope.listed)]
    return list(sql.scalars(sa.select(_ENTITY.guid).where(_ENTITY.guid.in_(guids), *here)))


def own_snapshots_of(machines: Sequence[str]) -> Condition:
    """The snapshots of machines that Haulback made."""
    return sa.and_(_SNAPSHOT.entity.in_(machines), _SNAPSHOT.managed)


def missed_on(hypervisor: str) -> Condition:
    """The machines of a hypervisor that a scan missed and that are not yet absent."""
    missed = _ENTITY.absent_since.is_not(None)
    return sa.and_(_ENTITY.hypervisor == hypervisor, _ENTITY.present, missed)


def snapshots_on(hypervisor: str) -> Condition:
    """The known snapshots of the machines of a hypervisor."""
    return _ENTITY.hypervisor == hypervisor


def snapshots_of(machine: str) -> Condition:
    """The known snapshots of a machine."""
    return _SNAPSHOT.entity == machine


def governed(policy: str) -> Condition:
    """The machines of a backup or snapshot policy."""
    return sa.or_(_ENTITY.backup_policy == policy, _ENTITY.snapshot_policy == policy)


def queued_for(node: str) -> Condition:
    """The queued tasks that only one node could do."""
    return sa.and_(_TASK.state == "QUEUED", _TASK.pinned_node == node)


def run_by(session: str) -> Condition:
    """The tasks that a session of a node runs."""
    return sa.and_(_TASK.state == "RUNNING", _TASK.session == session)
