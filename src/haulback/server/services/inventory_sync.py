"""Inventories that nodes deliver: all machines of a hypervisor, or one machine."""

from __future__ import annotations

import msgspec

from haulback.contract.inventory_sync import InventoryScan, ReportedMachine
from haulback.contract.node_tasks import FullInventory, OneInventory
from haulback.errors import Conflict, Malformed
from haulback.kinds.support.machine_report import deliver, entity
from haulback.server.caller import Node
from haulback.server.services.app import App
from haulback.server.services.node_tasks import mine
from haulback.server.store import task_lifecycle, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Task
from haulback.wire import JsonObject, Ref


def take_inventory(app: App, who: Node, wanted: FullInventory) -> None:
    """Record the inventory of a hypervisor whose INVENTORY_SYNC the node runs.

    Raises Conflict when the node runs no such task, Forbidden for another node's task.
    """
    with app.store.write() as sql:
        task = _sync_of(sql, who, wanted)
        machines = _machines(wanted.virtualMachines or [])
        if unsaved := task.params.get("unsaved"):
            seen = msgspec.to_builtins(machines)
            values = {**task.results, "machines": seen, "unsaved": bool(unsaved)}
            tasks.change(sql, task, app.clock.now_ms(), results=values)
            # The hypervisor is saved when the task is FINISHED; its machines wait until then.
            return
        since = task.started if wanted.virtualMachines is not None else None
        deliver(task, InventoryScan(machines), since, SqlLedger(sql, app.clock.now_ms()))


def _sync_of(sql: Connection, who: Node, wanted: FullInventory) -> Task:
    if wanted.task:
        task = mine(sql, who, wanted.task.guid, lock=True)
        if task.type != "INVENTORY_SYNC":
            raise Conflict(f"task: is a {task.type}; name a task of type INVENTORY_SYNC")
        return task
    for task in task_lifecycle.of_session(sql, who.session or ""):
        same = wanted.hypervisor in (None, Ref(task.ref("hypervisor") or ""))
        if task.type == "INVENTORY_SYNC" and same:
            return task
    raise Conflict("this node runs no INVENTORY_SYNC of that hypervisor; take such a task first")


def _machines(found: list[JsonObject]) -> list[ReportedMachine]:
    """The machines in a report, under any of the member names that nodes use.  Raises Malformed."""
    try:
        return msgspec.convert(found, list[ReportedMachine])
    except (msgspec.ValidationError, AttributeError) as error:
        raise Malformed(f"virtualMachines: {error}", field="virtualMachines") from None


def take_instance(app: App, who: Node, wanted: OneInventory) -> None:
    """Record the inventory of a machine, from a node that runs a task about the machine.

    Raises Conflict when the node runs no such task, Forbidden for another node's task.
    """
    if wanted.instance is None:
        raise Malformed("instance: send the inventory of the machine", field="instance")
    with app.store.write() as sql:
        task = _task_about(sql, who, wanted)
        known = SqlCatalogue(sql).machines.get(
            wanted.protectedEntity.guid
            if wanted.protectedEntity
            else task.ref("protectedEntity") or ""
        )
        [result] = _machines([{"uuid": known.uuid, "name": known.name, **wanted.instance}])
        if result.uuid != known.uuid:
            raise Malformed(
                f"instance.uuid: {known.name} has a different uuid; correct the uuid or the "
                "machine",
                field="instance.uuid",
            )
        ledger = SqlLedger(sql, app.clock.now_ms())
        seen, host = [entity(result, known.hypervisor)], known.hypervisor
        ledger.inventory.scanned(host, seen, complete_since=None, by=task.workflow)
        ledger.inventory.reunited(host)


def _task_about(sql: Connection, who: Node, wanted: OneInventory) -> Task:
    if wanted.task:
        return mine(sql, who, wanted.task.guid, lock=True)
    if wanted.protectedEntity is None:
        raise Malformed("protectedEntity: name the machine or the task", field="protectedEntity")
    entity = SqlCatalogue(sql).machines.get(wanted.protectedEntity.guid)
    for task in task_lifecycle.of_session(sql, who.session or ""):
        if entity.guid == task.ref("protectedEntity") or (
            task.type == "INVENTORY_SYNC" and task.ref("hypervisor") == entity.hypervisor
        ):
            return task
    raise Conflict(f"this node runs no task about {entity.name}; take such a task first")
