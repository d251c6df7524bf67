"""INVENTORY_SYNC on the node: scan the machines of a hypervisor."""

from __future__ import annotations

from haulback.contract.inventory_sync import InventorySyncOrder
from haulback.drivers.hypervisor import HypervisorResource as Seat
from haulback.drivers.hypervisor import Inventory
from haulback.units import counted
from haulback.wire import JsonObject
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.machine_report import failure_row, location_row, machine_row

_NAMED = 1000  # unreadable machines that the report names; a host with more is not judged


def run(context: TaskContext) -> Results:
    inventory = context.machines.open(context.order.hypervisor).inventory()
    for problem in inventory.problems:
        context.log(f"cannot be read: {problem.where}: {problem.message}")
    _tell(context, inventory)
    return {
        "machines": [
            machine_row(machine) | location_row(machine.uuid, inventory)
            for machine in inventory.machines
        ],
        "problems": len(inventory.problems),
        "unreadable": [failure_row(problem) for problem in inventory.problems[:_NAMED]],
        "networks": _places(inventory.networks),
        "storages": _places(inventory.pools),
    }


def _tell(context: TaskContext, inventory: Inventory) -> None:
    """Log the number of machines, and their disks that backups leave out."""
    machines = inventory.machines
    listed = counted(len(machines), "machine")
    context.log(f"{listed} listed, {len(inventory.problems)} more cannot be read")
    lacking = [machine for machine in machines if machine.apart]
    for machine in lacking[:_NAMED]:
        parts = ", ".join(part.name for part in machine.apart)
        context.log(f"{machine.name}: parts that are not in its backups: {parts}")


def _places(found: list[Seat] | None) -> list[JsonObject] | None:
    return None if found is None else [one._asdict() for one in found]


WORK = TaskWork("INVENTORY_SYNC", InventorySyncOrder, run)
