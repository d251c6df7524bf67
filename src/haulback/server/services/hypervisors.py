"""Hypervisors: insertion, change, removal, and the machines that scans miss."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

import msgspec

from haulback import hypervisor_types
from haulback.contract.hypervisors import ChangedHypervisor, NewHypervisor
from haulback.contract.order_records import Hypervisor
from haulback.errors import Conflict
from haulback.ids import new_guid
from haulback.kinds.api import Context
from haulback.kinds.inventory_sync import sync
from haulback.kinds.support import planning
from haulback.server.caller import SYSTEM, Caller
from haulback.server.scope import Scope
from haulback.server.services import hold
from haulback.server.services.app import App
from haulback.server.services.place_fields import changed_reach, reach_of
from haulback.server.services.reach import reach_changed
from haulback.server.services.read_transaction import Reading
from haulback.server.store import (
    alarms,
    backups,
    hypervisors,
    lists,
    managers,
    node_groups,
    presence,
    tasks,
)
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Task
from haulback.texts import check_name
from haulback.wire import JsonObject, Named


class HypervisorReading(Reading):
    """Read access to hypervisors within one transaction."""

    def all(self) -> list[Hypervisor]:
        """All hypervisors, ordered by name."""
        return lists.places(self._sql, Hypervisor)

    def machine_counts(self, scope: Scope) -> dict[str, int]:
        """The number of present machines on each hypervisor, within the caller's projects."""
        return lists.machine_counts(self._sql, scope)

    def doubts(self) -> Mapping[str, int]:
        """Hypervisors whose last scan needs a confirmation, with the start of the doubt (epoch
        ms).
        """
        return presence.doubts(self._sql)


def add_hypervisor(
    app: App, wanted: NewHypervisor, who: Caller = SYSTEM
) -> tuple[Hypervisor, Task]:
    """Add a hypervisor; the returned task lists its machines.

    Raises Malformed, NotFound, Conflict.
    """
    chosen = hypervisor_types.driver_of(wanted.type, wanted.driver)
    driver, path, more = hypervisor_types.config(chosen, wanted.path, wanted.url)
    name, path = planning.place(wanted.name, path)
    with app.change(who, "add hypervisor") as change:
        sql = change.sql
        reach = reach_of(sql, wanted)
        settings = _under(sql, wanted, {})
        record = Hypervisor(
            guid=new_guid(),
            name=name,
            driver=driver,
            config={"path": path, **more},
            node=reach.node,
            nodes=reach.nodes,
            settings=settings,
        )
        hypervisors.add(sql, record)
        node_groups.keep(sql)
        managers.surround(sql, record, change.now)
        task = sync(record, Context(change.now), SqlCatalogue(sql))
        tasks.insert(sql, [task])
        change.subject, change.after = record.guid, record
    app.wakeups.ring()
    return record, task


def change_hypervisor(app: App, guid: str, wanted: ChangedHypervisor, who: Caller) -> Hypervisor:
    """Change a hypervisor.  Raises NotFound, Malformed, Conflict."""
    with app.change(who, "change hypervisor", guid) as change:
        before = SqlCatalogue(change.sql).places.hypervisor(guid)
        settings = _under(change.sql, wanted, before.settings)
        name = before.name if wanted.name is None else check_name(wanted.name)
        to = changed_reach(change.sql, wanted, before)
        after = msgspec.structs.replace(
            before, name=name, settings=settings, node=to.node, nodes=to.nodes
        )
        hypervisors.change(change.sql, after)
        reach_changed(change.sql, before, after, change.now)
        alarms.renamed(change.sql, Named(after.guid, after.name))
        managers.surround(change.sql, after, change.now)
        if settings.get("hypervisorManager") != before.settings.get("hypervisorManager"):
            # Networks and storages belong to another manager now; the next scan records them there.
            SqlLedger(change.sql, change.now).inventory.unseen(guid)
            look = sync(after, Context(change.now), SqlCatalogue(change.sql))
            tasks.insert(change.sql, [look])
        change.before, change.after = before, after
    app.wakeups.ring()
    return after


def remove_hypervisor(app: App, guid: str, who: Caller) -> None:
    """Remove a hypervisor.  Raises NotFound; raises Conflict while its machines have backups or
    tasks.
    """
    with app.change(who, "remove hypervisor", guid) as change:
        sql, known = change.sql, SqlCatalogue(change.sql)
        change.before = host = known.places.hypervisor(guid)
        typed = quote(host.name)
        hold.check_removal(sql, "the removal of a hypervisor")
        machines = known.machines.on_hypervisor(guid)
        for item in machines:
            if backups.has_backups(sql, item.guid) or known.work.is_busy(item.guid):
                raise Conflict(
                    f"the machine {item.name} has backups or tasks; delete them first, or, if the "
                    "hypervisor is lost for good, give it up: haulback hypervisor rm "
                    f"{typed} --gone"
                )
        ledger = SqlLedger(sql, change.now)
        ledger.inventory.unseen(guid)
        hypervisors.remove(sql, guid)
        ledger.alarms.clear_all([guid, *(machine.guid for machine in machines)])


def confirm_absent(app: App, guid: str, who: Caller) -> list[Named]:
    """Mark missed machines as absent after an administrator's confirmation.  Raises NotFound,
    Conflict.
    """
    with app.change(who, "confirm absent machines", guid) as change:
        name = SqlCatalogue(change.sql).places.hypervisor(guid).name
        gone = SqlLedger(change.sql, change.now).inventory.confirmed_absent(guid)
        if not gone:
            raise Conflict(f"{name} shows all of its machines: there is no absence to confirm")
        change.after = gone
    return gone


def _under(
    sql: Connection, wanted: NewHypervisor | ChangedHypervisor, before: JsonObject
) -> JsonObject:
    """Settings of a hypervisor with the requested manager and cluster."""
    known, settings = SqlCatalogue(sql), dict(before)
    for field, kind, name in (
        ("hypervisorManager", "hypervisor-manager", "hypervisorManager"),
        ("cluster", "hypervisor-cluster", "cluster"),
    ):
        if ref := getattr(wanted, field):
            settings[name] = known.records.get(kind, ref.guid).guid
    return settings
