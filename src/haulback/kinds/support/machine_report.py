"""Conversion of a node's scan results into inventory records."""

from __future__ import annotations

import msgspec

from haulback.contract.inventory_sync import InventoryScan, ReportedMachine
from haulback.ids import new_guid
from haulback.inventory.ledger import Ledger
from haulback.inventory.presence import UnreadableMachine
from haulback.inventory.records import Entity
from haulback.kinds.support.reports import ReportMember
from haulback.tasks.record import Task

SCAN_REPORT = (
    ReportMember(
        "machines",
        "array",
        "Each machine: uuid and name; disks, each with name, size (bytes) and format; project; "
        "present; place (where the platform keeps the machine); snapshots, each with name and "
        "time (epoch ms); hardware.",
        needed=True,
    ),
    ReportMember(
        "networks", "array", "Each network: name and uuid; absent where the node cannot tell."
    ),
    ReportMember("storages", "array", "Each storage: name, uuid, total and free (bytes)."),
    ReportMember("gone", "texts", "Requested uuids that the platform does not list."),
    ReportMember("problems", "count", "Number of machines that cannot be read."),
    ReportMember("unreadable", "array", "Each machine that cannot be read: where, message, uuid."),
    ReportMember("shown", "count", "Number of all machines, where a few were requested."),
)


def take_in(task: Task, seen: InventoryScan, since: int | None, ledger: Ledger) -> None:
    """Record machines and snapshots of a scan; `since` as in `InventoryChanges.scanned`."""
    deliver(task, seen, since, ledger)
    held = {
        one.uuid: {snapshot.name: snapshot.time for snapshot in one.snapshots}
        for one in seen.machines
        if one.snapshots is not None
    }
    ledger.snapshots.seen(task.ref("hypervisor") or "", held, since=task.started or 0)


def deliver(task: Task, seen: InventoryScan, since: int | None, ledger: Ledger) -> None:
    """Record machines of a scan in the inventory; `since` as in `InventoryChanges.scanned`."""
    hypervisor = task.ref("hypervisor") or ""
    entities = [entity(machine, hypervisor) for machine in seen.machines]
    unreadable = [
        UnreadableMachine(machine.where, machine.message, machine.uuid)
        for machine in seen.unreadable
    ]
    if seen.unnamed:
        unreadable.append(UnreadableMachine("", f"{seen.unnamed} that the node did not name"))
    ledger.inventory.scanned(
        hypervisor, entities, complete_since=since, by=task.workflow, unreadable=unreadable
    )
    ledger.inventory.reunited(hypervisor)


def entity(machine: ReportedMachine, hypervisor: str) -> Entity:
    """The inventory record of a reported machine."""
    return Entity(
        guid=new_guid(),
        uuid=machine.uuid,
        name=machine.name,
        hypervisor=hypervisor,
        disks=machine.disks,
        project=machine.project,
        present=machine.present,
        hardware=msgspec.to_builtins(machine.hardware) if machine.hardware else {},
        place=machine.place or "",
    )
