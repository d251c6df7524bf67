"""INVENTORY_SYNC on the node: scan the machines of a hypervisor."""

from __future__ import annotations

from haulback.contract.inventory_sync import InventorySyncOrder
from haulback.drivers.hypervisor import HypervisorResource as Seat
from haulback.wire import JsonObject
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.machine_report import broken, placed, told

_NAMED = 1000  # machines that cannot be read and are named; a host with more is not judged


def run(context: TaskContext) -> Results:
    inventory = context.machines.open(context.order.hypervisor).inventory()
    for problem in inventory.problems:
        context.log(f"{problem.where}: {problem.message}")
    return {
        "machines": [
            told(machine) | placed(machine.uuid, inventory) for machine in inventory.machines
        ],
        "problems": len(inventory.problems),
        "unreadable": [broken(problem) for problem in inventory.problems[:_NAMED]],
        "networks": _places(inventory.networks),
        "storages": _places(inventory.pools),
    }


def _places(found: list[Seat] | None) -> list[JsonObject] | None:
    return None if found is None else [one._asdict() for one in found]


WORK = TaskWork("INVENTORY_SYNC", InventorySyncOrder, run)
