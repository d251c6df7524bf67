"""Objects that were given up, and the pieces in which their records are removed.

Every piece is bounded and selects only remaining records, so that a repetition is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.hypervisor_types import INNER
from haulback.inventory import reach
from haulback.inventory.attached_machines import ATTACHED_SOURCE
from haulback.inventory.own_server import OWN_ENTITY
from haulback.inventory.records import Backup, Entity
from haulback.kinds.support import second_copies
from haulback.server.store import (
    backup_locations,
    copy_tables,
    given_up_keys,
    hold_tables,
    machines,
    mount_tables,
    own_server,
    reach_tables,
    rows,
    tables,
    tasks,
)
from haulback.server.store.expressions import Condition
from haulback.server.store.given_up_tables import given_up as table
from haulback.server.store.last_backups import recall_without
from haulback.server.store.ledger import SqlLedger
from haulback.server.store.lost_bases import lose
from haulback.tasks.record import EPOCH, Task
from haulback.tasks.scheduling import MAX_ATTEMPTS
from haulback.wire import JsonObject

NODE, HYPERVISOR, MACHINE = "node", "hypervisor", "machine"
DESTINATION = given_up_keys.DESTINATION
PIECE = 200  # backups or machines in one transaction
_TASKS = 50  # tasks in one transaction; the end of each takes several statements
LIVE = sa.text("state IN ('QUEUED', 'RUNNING', 'PLANNED')")
P = TypeVar("P", Hypervisor, BackupDestination)
# Tasks that need the machine itself, unlike restores of its backups.
OF_MACHINE = (
    *("EXPORT", "DELETE", "SNAPSHOT", "SNAPSHOT_CLEANUP", "SNAPSHOT_REVERSION"),
    *("LIVE_MIGRATION", "SCOPED_INVENTORY_SYNC"),
)
# Tasks that name a hypervisor but do not need it: an export that waits in staging is stored.
_WITHOUT_HOST = ("STORE", "UNMOUNT", second_copies.TYPE)
_TASK, _BACKUP, _ENTITY = tables.task.c, tables.backup.c, tables.entity.c
_MOUNT = mount_tables.mounted_backup


class GivenUp(msgspec.Struct, kw_only=True):
    """An object that was given up by `caller` (`login`), from `begun` to `ended` (epoch ms).

    `why` is the reason that its ended tasks show.  `record` is the record before its removal.
    """

    guid: str
    kind: str
    name: str
    begun: int
    ended: int | None = None
    caller: str
    login: str
    why: str
    record: JsonObject
    sealed_key: str | None = None
    secret: str | None = None
    token: str | None = None


def begin(sql: sa.Connection, item: GivenUp) -> None:
    """Record that an object is given up, replacing an earlier record of the same object."""
    if item.kind == DESTINATION:
        item.record = given_up_keys.with_earlier(sql, item.guid, item.record)
    sql.execute(sa.delete(table).where(table.c.guid == item.guid))
    row = {**msgspec.structs.asdict(item), "record": rows.json_text(item.record)}
    sql.execute(sa.insert(table).values(row))


def left(sql: sa.Connection, most: int = 20) -> list[str]:
    """Objects that are not completely given up, the oldest first: an index look-up."""
    query = sa.select(table.c.guid).where(table.c.ended.is_(None)).order_by(table.c.begun)
    return list(sql.scalars(query.limit(most)))


def begun(sql: sa.Connection, guid: str) -> GivenUp | None:
    """An object that is not completely given up, or None."""
    row = sql.execute(_left(guid)).one_or_none()
    return _given_up(row._mapping) if row else None


def locked(sql: sa.Connection, guid: str) -> GivenUp | None:
    """An object that is not completely given up, locked, or None."""
    row = sql.execute(_left(guid).with_for_update()).one_or_none()
    return _given_up(row._mapping) if row else None


def _left(guid: str) -> sa.Select[object]:
    return sa.select(table).where(table.c.guid == guid, table.c.ended.is_(None))


def end(sql: sa.Connection, guid: str, now: int) -> None:
    """Record that an object is completely given up."""
    sql.execute(sa.update(table).where(table.c.guid == guid).values(ended=now))


def of_secret(sql: sa.Connection, guid: str, secret: str) -> GivenUp | None:
    """The given-up node with this guid and this digest of its secret."""
    where = (table.c.guid == guid, table.c.kind == NODE, table.c.secret == secret)
    row = sql.execute(sa.select(table).where(*where)).one_or_none()
    return _given_up(row._mapping) if row else None


def of_token(sql: sa.Connection, token: str) -> GivenUp | None:
    """The node that had this digest of a session token when it was given up."""
    row = sql.execute(sa.select(table).where(table.c.token == token).limit(1)).one_or_none()
    return _given_up(row._mapping) if row else None


def _given_up(row: Any) -> GivenUp:
    return GivenUp(**{**row, "record": msgspec.json.decode(row["record"])})


# Tasks.


def of_node(node: str) -> Condition:
    """The tasks that a node runs, and the tasks that only it could run."""
    return sa.or_(only_of_node(node), running_on(node))


def only_of_node(node: str) -> Condition:
    """The queued and running tasks that only one node could run."""
    return sa.and_(_TASK.state.in_(("QUEUED", "RUNNING")), _TASK.pinned_node == node)


def running_on(node: str) -> Condition:
    """The tasks that a node runs and that another node could run."""
    return sa.and_(_TASK.state == "RUNNING", _TASK.node == node, _TASK.pinned_node != node)


def any_of(*conditions: Condition) -> Condition:
    """Rows that meet at least one condition."""
    return sa.or_(*conditions)


def all_of(*conditions: Condition) -> Condition:
    """Rows that meet all conditions."""
    return sa.and_(*conditions)


def but(condition: Condition, *others: Condition) -> Condition:
    """Rows that meet a condition and none of the others."""
    # A task without a destination meets no condition on destinations, because NULL counts as false.
    return sa.and_(condition, *(sa.not_(sa.func.coalesce(other, sa.false())) for other in others))


def is_last_try(once: Sequence[str]) -> Condition:
    """Running tasks that end with their node: cancelled tasks, tasks of a type that runs `once`,
    and tasks without attempts left.
    """
    tried = _TASK.attempt % EPOCH >= MAX_ATTEMPTS
    ends = sa.or_(_TASK.cancel_wanted, _TASK.type.in_(once), tried)
    return sa.and_(_TASK.state == "RUNNING", ends)


def staged_on(node: str) -> Condition:
    """The STORE tasks whose exports lie in the staging of a node."""
    return sa.and_(only_of_node(node), _TASK.type == "STORE", _TASK.params.contains('"staging":'))


def ways_of(sql: sa.Connection, where: Condition) -> list[tuple[str | None, str | None]]:
    """The pairs of a hypervisor and a destination that tasks use; there are few even for many
    tasks.
    """
    query = sa.select(_TASK.hypervisor, _TASK.destination).where(where).distinct()
    return [(row.hypervisor, row.destination) for row in sql.execute(query)]


def on_ways(ways: Sequence[tuple[str | None, str | None]]) -> Condition:
    """The tasks that use a hypervisor and a destination of some pairs."""
    pairs = [sa.and_(_TASK.hypervisor == host, _TASK.destination == to) for host, to in ways]
    return sa.or_(sa.false(), *pairs)


def of_destination(guid: str) -> Condition:
    """The unfinished tasks of a destination, with the copies that read from it."""
    read = _TASK.params.contains(f'"{second_copies.SOURCE}":"{guid}"')
    copies = sa.and_(_TASK.type == second_copies.TYPE, read)
    return sa.and_(LIVE, sa.or_(_TASK.destination == guid, copies))


def of_hypervisor(guid: str) -> Condition:
    """The unfinished tasks that need a hypervisor."""
    needs = _TASK.type.not_in(_WITHOUT_HOST)
    moved = sa.and_(_TASK.type == "LIVE_MIGRATION", _TASK.params.contains(f'"from":"{guid}"'))
    return sa.and_(LIVE, needs, sa.or_(_TASK.hypervisor == guid, moved))


def of_machine(guid: str) -> Condition:
    """The unfinished tasks that need a machine."""
    return sa.and_(LIVE, _TASK.entity == guid, _TASK.type.in_(OF_MACHINE))


def some_tasks(sql: sa.Connection, where: Condition) -> list[Task]:
    """Some tasks, locked; tasks with followers come first."""
    query = sa.select(*tasks.COLUMNS).where(where).order_by(_TASK.created, _TASK.guid)
    planned_last = sa.case((_TASK.state == "PLANNED", 1), else_=0)
    query = query.order_by(None).order_by(planned_last, _TASK.created, _TASK.guid).limit(_TASKS)
    return [tasks.task_of(row) for row in sql.execute(query.with_for_update())]


# Backups and their locations.


def lost(where: Condition, leaving: Sequence[str]) -> Condition:
    """Stored backups among `where` whose good locations are all `leaving`."""
    return sa.and_(where, _stored(), ~_elsewhere(leaving))


def kept(where: Condition, leaving: Sequence[str]) -> Condition:
    """Stored backups among `where` with a good location that is not `leaving`."""
    return sa.and_(where, _stored(), _elsewhere(leaving))


def _stored() -> Condition:
    return _BACKUP.status.in_(("SUCCESS", "PARTIAL_SUCCESS"))


def _elsewhere(leaving: Sequence[str]) -> Condition:
    """Whether a sound location of the same backup is on a destination that is not leaving."""
    other = tables.backup.alias("other")
    head = sa.func.coalesce(_BACKUP.copy_of, _BACKUP.guid)
    same = sa.or_(other.c.guid == _BACKUP.copy_of, other.c.copy_of == head)
    good = (other.c.status == "SUCCESS", other.c.location_status == "PRESENT")
    query = sa.select(other.c.guid).where(same, other.c.destination.not_in(leaving), *good)
    return query.correlate(tables.backup).exists()


def on_destination(guid: str) -> Condition:
    """All locations on a destination."""
    return _BACKUP.destination == guid


def on_destinations(entity: str, destinations: Sequence[str]) -> Condition:
    """The locations of a machine's backups on some destinations."""
    return sa.and_(_BACKUP.entity == entity, _BACKUP.destination.in_(destinations))


def is_locked(now: int) -> Condition:
    """Backups under a retention lock, or archives without an end."""
    archive = sa.and_(_BACKUP.hint == "ARCHIVE", _BACKUP.keep_until.is_(None))
    return sa.or_(_BACKUP.keep_until > now, _BACKUP.lock_until > now, archive)


class RemovedLocations(NamedTuple):
    """Deleted records: backups that are lost, locations of backups that another location keeps,
    and the number of all records, with those of failed and removed backups.
    """

    lost: list[Backup]
    kept: list[Backup]
    total: int


def remove_locations(
    sql: sa.Connection, ledger: SqlLedger, where: Condition, leaving: Sequence[str]
) -> RemovedLocations:
    """Delete the records of at most `PIECE` locations; a copy on a destination that is not
    `leaving` becomes the backup.
    """
    query = sa.select(tables.backup).where(where).order_by(_BACKUP.guid)
    locations = list(rows.records(sql, query.limit(PIECE), Backup))
    guids = [row.guid for row in locations]
    some = _BACKUP.guid.in_(guids)
    removed = RemovedLocations(
        _named(sql, locations, lost(some, leaving)),
        _named(sql, locations, kept(some, leaving)),
        len(guids),
    )
    if guids:
        _delete_locations(sql, ledger, locations)
    return removed


def _named(sql: sa.Connection, locations: Sequence[Backup], where: Condition) -> list[Backup]:
    """The locations among `locations` that fulfil a condition."""
    guids = set(sql.scalars(sa.select(_BACKUP.guid).where(where)))
    return [row for row in locations if row.guid in guids]


def _delete_locations(sql: sa.Connection, ledger: SqlLedger, locations: Sequence[Backup]) -> None:
    """Delete the records of locations, and all records that belong to these locations only."""
    guids = [row.guid for row in locations]
    backup_locations.orphaned_by(sql, guids)
    mine = sa.select(_MOUNT.c.guid).where(_MOUNT.c.backup.in_(guids))
    volume = mount_tables.mounted_volume
    sql.execute(sa.delete(volume).where(volume.c.mount.in_(mine)))
    lose(sql, tables.base.c.backup.in_(guids), "its backup was given up")
    for of, column in (
        (_MOUNT, _MOUNT.c.backup),
        (tables.proof, tables.proof.c.backup),
        (tables.expected_backup, tables.expected_backup.c.backup),
        (copy_tables.copy_due, copy_tables.copy_due.c.backup),
        (tables.backup, _BACKUP.guid),
    ):
        sql.execute(sa.delete(of).where(column.in_(guids)))
    entities = {row.entity for row in locations}
    recall_without(sql, entities, guids)
    # Without a record a machine without backups does not stay.
    for machine in _attached(sql, entities):
        ledger.removals.forget_entity(machine)
    touched = sa.update(tables.entity).where(_ENTITY.guid.in_(entities))
    sql.execute(touched.values(protection_due=0))
    ledger.alarms.clear_all(guids)


def _attached(sql: sa.Connection, entities: Iterable[str]) -> list[str]:
    """The machines, among at most 500, that have no hypervisor."""
    query = sa.select(_ENTITY.guid).where(_ENTITY.guid.in_(entities))
    return list(sql.scalars(query.where(_ENTITY.hypervisor == ATTACHED_SOURCE)))


def release_hold(sql: sa.Connection, destination: str) -> None:
    """Remove a destination from the hold of a restored database."""
    sql.execute(sa.delete(hold_tables.hold).where(hold_tables.hold.c.destination == destination))


def unlink(sql: sa.Connection, destination: str) -> None:
    """Delete the copy links from and to a destination, and its repository, so that no task is
    planned for it.
    """
    link = copy_tables.copy_link
    ends = (link.c.source == destination) | (link.c.target == destination)
    sql.execute(sa.delete(link).where(ends))
    here = sa.update(tables.destination).where(tables.destination.c.guid == destination)
    sql.execute(here.values(repository=None))


# Mounts and nodes.


def end_mounts(sql: sa.Connection, node: str, now: int) -> None:
    """Record the mounts of a node as ended, because no process serves them any more."""
    live = (_MOUNT.c.node == node, _MOUNT.c.state.in_(("QUEUED", "MOUNTED")))
    values = {"state": "UNMOUNTED", "unmount_at": now}
    sql.execute(sa.update(_MOUNT).where(*live).values(values))


def leave_host(sql: sa.Connection, hypervisor: str) -> None:
    """Let mounts end without the hypervisor on whose machine they were used."""
    here = sa.update(_MOUNT).where(_MOUNT.c.hypervisor == hypervisor)
    sql.execute(here.values(hypervisor=None, machine=None))


def mounts_of_node(node: str) -> Condition:
    """The mounts that a node serves."""
    return sa.and_(_MOUNT.c.node == node, _MOUNT.c.state.in_(("QUEUED", "MOUNTED")))


def mounts_of_destination(destination: str) -> Condition:
    """The mounts of backups on a destination."""
    on = sa.select(_BACKUP.guid).where(_BACKUP.destination == destination)
    live = _MOUNT.c.state.in_(("QUEUED", "MOUNTED"))
    return sa.and_(_MOUNT.c.backup.in_(on), live)


def leave_groups(sql: sa.Connection, node: str) -> None:
    """Remove a node from the groups of nodes."""
    group = reach_tables.node_group
    sql.execute(sa.delete(group).where(group.c.node == node))


def groups_of(sql: sa.Connection, node: str) -> int:
    """The number of groups of nodes that a node belongs to."""
    group = reach_tables.node_group.c
    query = sa.select(sa.func.count()).where(group.node == node)
    return int(sql.scalar(query) or 0)


# Machines.


def some_machines(sql: sa.Connection, hypervisor: str) -> list[Entity]:
    """Some machines of a hypervisor, locked."""
    query = sa.select(tables.entity).where(_ENTITY.hypervisor == hypervisor)
    query = query.order_by(_ENTITY.guid).limit(PIECE).with_for_update()
    return rows.records(sql, query, Entity)


def machine(sql: sa.Connection, guid: str) -> Entity | None:
    """A machine, locked; None without a record."""
    query = sa.select(tables.entity).where(_ENTITY.guid == guid).with_for_update()
    return next(iter(rows.records(sql, query, Entity)), None)


def leave(sql: sa.Connection, ledger: SqlLedger, item: Entity) -> bool:
    """Delete a machine without backups; keep a machine with backups, without a hypervisor.

    Returns whether the machine is kept.  The policies, snapshots and bases of the machine are
    deleted.
    """
    ledger.bases.void(item.guid, "the machine was given up")
    sql.execute(sa.delete(tables.snapshot).where(tables.snapshot.c.entity == item.guid))
    ledger.removals.forget_entity(item.guid)
    if not machines.is_known(sql, item.guid):
        return False
    own_server.add_attached(sql)
    here = (_ENTITY.hypervisor == ATTACHED_SOURCE, _ENTITY.uuid == item.uuid)
    taken = sql.scalar(sa.select(_ENTITY.guid).where(*here, _ENTITY.guid != item.guid))
    settings = {k: v for k, v in item.settings.items() if k not in machines.POLICIES}
    values: JsonObject = {
        "hypervisor": ATTACHED_SOURCE,
        "uuid": item.guid if taken else item.uuid,
        "present": False,
        "absent_since": item.absent_since or ledger.now,
        "problem": None,
        "place": "",
        "settings": rows.json_text(settings),
        **machines.policy_columns(settings),
    }
    sql.execute(sa.update(tables.entity).where(_ENTITY.guid == item.guid).values(values))
    return True


def with_backups(hypervisor: str, leaving: Sequence[str]) -> Condition:
    """The machines of a hypervisor that have backups outside the `leaving` destinations."""
    return sa.and_(_ENTITY.hypervisor == hypervisor, _has_backups(leaving))


def without_backups(hypervisor: str, leaving: Sequence[str]) -> Condition:
    """The other machines of a hypervisor."""
    return sa.and_(_ENTITY.hypervisor == hypervisor, ~_has_backups(leaving))


def _has_backups(leaving: Sequence[str]) -> Condition:
    here = (_BACKUP.entity == _ENTITY.guid, ~_BACKUP.gone, _BACKUP.destination.not_in(leaving))
    return sa.select(_BACKUP.guid).where(*here).exists()


def holding(sql: sa.Connection, entity: str) -> list[str]:
    """The destinations that hold backups of a machine."""
    query = sa.select(_BACKUP.destination).where(_BACKUP.entity == entity, ~_BACKUP.gone)
    return list(sql.scalars(query.distinct()))


def last_heard(sql: sa.Connection, destinations: Sequence[str]) -> dict[str, int]:
    """The last heartbeat (ms) of any node that reaches each destination; 0: never."""
    node = tables.node.c
    seen = {row.guid: row.seen or 0 for row in sql.execute(sa.select(node.guid, node.seen))}
    place = tables.destination
    query = sa.select(place.c.guid, place.c.node, place.c.nodes).where(
        place.c.guid.in_(destinations)
    )
    return {row.guid: _heard(row, seen) for row in sql.execute(query)}


def _heard(place: Any, seen: Mapping[str, int]) -> int:
    able = msgspec.json.decode(place.nodes) or ([place.node] if place.node else [])
    return max((seen.get(guid, 0) for guid in able or seen), default=0)


def is_apart(item: Entity) -> bool:
    """Whether a machine has no hypervisor."""
    return item.hypervisor == ATTACHED_SOURCE


def is_inner(driver: str) -> bool:
    """Whether a hypervisor is an internal record of Haulback, which is never given up."""
    return driver in INNER


def is_own(entity: str) -> bool:
    """Whether a machine is the server's own database."""
    return entity == OWN_ENTITY


def only_by(places: Sequence[P], node: str) -> list[P]:
    """The hypervisors and destinations that only one node reaches."""
    return [place for place in places if reach.nodes_of(place) == frozenset((node,))]
