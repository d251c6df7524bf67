"""The places people add: hypervisors and destinations."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.contract.destinations import (
    ChangedDestination,
    NewDestination,
    Retention,
    Verification,
)
from haulback.contract.hypervisors import ChangedHypervisor, NewHypervisor
from haulback.contract.places import NewPlace
from haulback.errors import Conflict, Malformed
from haulback.ids import new_guid
from haulback.inventory import destination_types, hypervisor_types, retention
from haulback.inventory.records import BackupDestination, Entity, Hypervisor, Record
from haulback.kinds.api import Ask
from haulback.kinds.destination_init import init
from haulback.kinds.inventory_sync import sync
from haulback.kinds.support import planning
from haulback.server.caller import SYSTEM, Caller
from haulback.server.services import destination_secrets
from haulback.server.services.app import App
from haulback.server.services.verification import wish_of
from haulback.server.store import alarms, lists, managers, mount_tables, rows, tables, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Task
from haulback.units import DAY_MS
from haulback.wire import Named

_KEY_BYTES = 32
_LONGEST_AGE = 100 * 365 * DAY_MS


def add_hypervisor(
    app: App, wanted: NewHypervisor, who: Caller = SYSTEM
) -> tuple[Hypervisor, Task]:
    """Add a hypervisor; the task lists its machines.  Raises Malformed, NotFound, Conflict."""
    chosen = hypervisor_types.driver_of(wanted.type, wanted.driver)
    driver, path, more = hypervisor_types.config(chosen, wanted.path, wanted.url)
    name, path = planning.place(wanted.name, path)
    with app.change(who, "add hypervisor") as change:
        sql = change.sql
        node = _node(sql, wanted)
        settings = _under(sql, wanted, {})
        record = Hypervisor(
            guid=new_guid(),
            name=name,
            driver=driver,
            config={"path": path, **more},
            node=node,
            settings=settings,
        )
        rows.add(sql, tables.hypervisor, record)
        managers.surround(sql, record, change.now)
        task = sync(record, Ask(change.now), SqlCatalogue(sql))
        tasks.insert(sql, [task])
        change.subject, change.after = record.guid, record
    app.bell.ring()
    return record, task


def change_hypervisor(app: App, guid: str, wanted: ChangedHypervisor, who: Caller) -> Hypervisor:
    """Raises NotFound, Malformed, Conflict."""
    with app.change(who, "change hypervisor", guid) as change:
        before = SqlCatalogue(change.sql).places.hypervisor(guid)
        settings = _under(change.sql, wanted, before.settings)
        name = before.name if wanted.name is None else _name(wanted.name)
        after = msgspec.structs.replace(before, name=name, settings=settings)
        rows.change(change.sql, tables.hypervisor, after)
        alarms.renamed(change.sql, Named(after.guid, after.name))
        managers.surround(change.sql, after, change.now)
        if settings.get("hypervisorManager") != before.settings.get("hypervisorManager"):
            # What it has around it belongs to another manager now; a look brings it there.
            SqlLedger(change.sql, change.now).inventory.unseen(guid)
            look = sync(after, Ask(change.now), SqlCatalogue(change.sql))
            tasks.insert(change.sql, [look])
        change.before, change.after = before, after
    app.bell.ring()
    return after


def remove_hypervisor(app: App, guid: str, who: Caller) -> None:
    """Raises NotFound, or Conflict while its machines have backups or tasks."""
    with app.change(who, "remove hypervisor", guid) as change:
        sql, known = change.sql, SqlCatalogue(change.sql)
        change.before = known.places.hypervisor(guid)
        machines = known.machines.on_hypervisor(guid)
        for one in machines:
            if _has_backups(sql, one) or known.work.is_busy(one.guid):
                raise Conflict(f"{one.name} has backups or tasks; delete those first")
        ledger = SqlLedger(sql, change.now)
        ledger.inventory.unseen(guid)
        on = sa.select(tables.entity.c.guid).where(tables.entity.c.hypervisor == guid)
        sql.execute(sa.delete(tables.snapshot).where(tables.snapshot.c.entity.in_(on)))
        sql.execute(sa.delete(tables.entity).where(tables.entity.c.hypervisor == guid))
        sql.execute(sa.delete(tables.hypervisor).where(tables.hypervisor.c.guid == guid))
        ledger.alarms.clear_all([guid, *(one.guid for one in machines)])


def confirm_absent(app: App, guid: str, who: Caller) -> list[Named]:
    """The machines that looks miss are gone: a person says so.  Raises NotFound, Conflict."""
    with app.change(who, "confirm absent machines", guid) as change:
        name = SqlCatalogue(change.sql).places.hypervisor(guid).name
        gone = SqlLedger(change.sql, change.now).inventory.confirmed_absent(guid)
        if not gone:
            raise Conflict(f"{name} shows all of its machines: there is no absence to confirm")
        change.after = gone
    return gone


def _has_backups(sql: sa.Connection, one: Entity) -> bool:
    table = tables.backup.c
    query = sa.select(table.guid).where(table.entity == one.guid).limit(1)
    return sql.scalar(query) is not None


def add_destination(
    app: App, wanted: NewDestination, who: Caller = SYSTEM
) -> tuple[BackupDestination, Task]:
    """Add a destination; the task makes its repository.  Raises Malformed, NotFound, Conflict."""
    name, kind = _name(wanted.name), destination_types.chosen(wanted.type, wanted.driver)
    checked = destination_types.checked(kind, _given(wanted))
    with app.change(who, "add destination") as change:
        sql = change.sql
        node = _node(sql, wanted)
        settings = _verified(wanted.verification, _keeping(wanted.retention, {}))
        record = BackupDestination(
            guid=new_guid(),
            name=name,
            driver=kind.driver,
            config=checked.plain,
            node=node,
            settings=settings,
        )
        sealed = app.vault.seal(record.guid, os.urandom(_KEY_BYTES))
        stored = destination_secrets.sealed(app.vault, record, checked.secrets)
        rows.add(sql, tables.destination, stored, sealed_key=sealed)
        task = init(record, Ask(change.now))
        tasks.insert(sql, [task])
        change.subject, change.after = record.guid, record
    app.bell.ring()
    return record, task


def change_destination(
    app: App, guid: str, wanted: ChangedDestination, who: Caller
) -> BackupDestination:
    """Raises NotFound, Malformed, Conflict.  A lock is never shortened for what is stored."""
    with app.change(who, "change destination", guid) as change:
        before = SqlCatalogue(change.sql).places.destination(guid)
        name = before.name if wanted.name is None else _name(wanted.name)
        settings = _verified(wanted.verification, _keeping(wanted.retention, before.settings))
        after = msgspec.structs.replace(before, name=name, settings=settings)
        rows.change(change.sql, tables.destination, after)
        alarms.renamed(change.sql, Named(guid, name))
        if not wish_of(after).active:
            SqlLedger(change.sql, change.now).alarms.clear(AlarmKind.VERIFY_OVERDUE, guid)
        change.before, change.after = map(destination_secrets.shown, (before, after))
    return after


def _destinations_of(rule: Record) -> set[str]:
    named = [one.get("backupDestination") for one in rule.body.get("ruleBackupDestinations", [])]
    return {str(one["guid"]) for one in named if one}


def remove_destination(app: App, guid: str, who: Caller) -> None:
    """Raises NotFound, or Conflict while it holds backups: their keys would go with it."""
    with app.change(who, "remove destination", guid) as change:
        sql = change.sql
        change.before = destination_secrets.shown(SqlCatalogue(sql).places.destination(guid))
        table = tables.backup.c
        kept = sa.select(table.guid).where(table.destination == guid, ~table.gone).limit(1)
        if sql.scalar(kept):
            raise Conflict("the destination holds backups; delete those first")
        for rule in SqlCatalogue(sql).records.of_kind("rule"):
            if guid in _destinations_of(rule):
                raise Conflict(
                    f"the rule {rule.name} stores its backups there; give it another destination "
                    "first",
                    rule=rule.guid,
                )
        sql.execute(sa.delete(tables.base).where(tables.base.c.destination == guid))
        theirs = sa.select(table.guid).where(table.destination == guid)
        subjects = [guid, *sql.scalars(theirs)]
        for held in (tables.proof, mount_tables.mounted_backup):
            sql.execute(sa.delete(held).where(held.c.backup.in_(theirs)))
        sql.execute(sa.delete(tables.backup).where(table.destination == guid))
        sql.execute(sa.delete(tables.destination).where(tables.destination.c.guid == guid))
        SqlLedger(sql, change.now).alarms.clear_all(subjects)


def usable_for(app: App, machines: list[str], who: Caller) -> list[BackupDestination]:
    """Destinations that the node of each machine reaches.  Raises NotFound."""
    with app.store.read() as sql:
        known = SqlCatalogue(sql, who.scope)
        found = known.machines.get_many(machines)
        nodes = {known.places.hypervisor(one.hypervisor).node for one in found} - {None}
        return [
            one
            for one in lists.places(sql, BackupDestination)
            if one.node is None or not nodes or nodes == {one.node}
        ]


def destinations(app: App) -> list[BackupDestination]:
    """All of them, by name."""
    with app.store.read() as sql:
        return lists.places(sql, BackupDestination)


def retention_of(one: BackupDestination) -> Retention:
    """What a destination keeps."""
    return retention.of(one.settings)


def _under(
    sql: sa.Connection, wanted: NewHypervisor | ChangedHypervisor, before: dict[str, Any]
) -> dict[str, Any]:
    """Settings with the manager and the cluster that are wanted."""
    known, settings = SqlCatalogue(sql), dict(before)
    for field, kind, name in (
        ("hypervisorManager", "hypervisor-manager", "hypervisorManager"),
        ("cluster", "hypervisor-cluster", "cluster"),
    ):
        if ref := getattr(wanted, field):
            settings[name] = known.records.get(kind, ref.guid).guid
    return settings


def _keeping(wanted: Retention | None, before: dict[str, Any]) -> dict[str, Any]:
    if wanted is None:
        return before
    for name in ("keepLastNFull", "keepLastNIncremental"):
        if (count := getattr(wanted, name)) is not None and not 1 <= count <= 1_000_000:
            raise Malformed(f"retention.{name}: at least 1", field=f"retention.{name}")
    for name in ("keepFullNewerThan", "keepIncrementalNewerThan"):
        if (age := getattr(wanted, name)) is not None and not 0 < age <= _LONGEST_AGE:
            raise Malformed(f"retention.{name}: an age in ms", field=f"retention.{name}")
    days = wanted.daysToKeepRetentionLock
    if days is not None and not 0 <= days <= 36_500:
        field = "retention.daysToKeepRetentionLock"
        raise Malformed(f"{field}: days, at most 36500", field=field)
    days = wanted.keepLastBackupOfAbsentDays
    if not 0 <= days <= 36_500:
        field = "retention.keepLastBackupOfAbsentDays"
        raise Malformed(f"{field}: days, at most 36500; 0 for none", field=field)
    return {**before, "retention": msgspec.to_builtins(wanted)}


def _verified(wanted: Verification | None, before: dict[str, Any]) -> dict[str, Any]:
    if wanted is None:
        return before
    if not 1 <= wanted.days <= 3650:
        raise Malformed("verification.days: 1 to 3650", field="verification.days")
    if not 60 <= wanted.seconds <= 86_400:
        field = "verification.seconds"
        raise Malformed(f"{field}: 60 to 86400", field=field)
    return {**before, "verification": msgspec.to_builtins(wanted)}


def _name(name: str) -> str:
    if not 0 < len(name.strip()) <= 200 or not name.isprintable():
        raise Malformed("name: 1 to 200 printable characters", field="name")
    return name


def _given(wanted: NewDestination) -> dict[str, Any]:
    """The settings in a request; `path` may stand beside the others."""
    path = {} if wanted.path is None else {"path": wanted.path}
    return path | (wanted.settings or {})


def _node(sql: sa.Connection, wanted: NewPlace) -> str:
    """The node it lies on.  A folder is on one machine: with several nodes it must be said."""
    known = SqlCatalogue(sql)
    return (
        known.places.node(wanted.node.guid).guid if wanted.node else known.places.only_node("node")
    )
