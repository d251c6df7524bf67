"""DELETE on the node: delete the backups, checkpoints and snapshots of a machine."""

from __future__ import annotations

from haulback.contract.delete import DeleteOrder
from haulback.drivers.capabilities import SnapshotKeeper, capability
from haulback.errors import NotFound
from haulback.hypervisor_types import ATTACHED
from haulback.units import counted, size
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.removal import remove


def run(context: TaskContext) -> Results:
    order: DeleteOrder = context.order
    results: Results = {"removed": order.backups}
    if order.destination and order.destination.repository:
        # Figures of the whole destination would disclose other projects, so the log contains none.
        _, results = remove(context, order.destination, order.backups, order.given_up)
        context.log(_removed(len(results["removed"]), order.stored))
    if order.hypervisor is None or order.hypervisor.driver == ATTACHED.driver:
        return results  # this node does not reach the platform, or does not know it
    with context.machines.lock(order.hypervisor, order.uuid):
        try:
            machines = context.machines.open(order.hypervisor)
            dropped = machines.drop_checkpoints(order.uuid, frozenset())
            context.log(f"checkpoints of the machine that were removed: {len(dropped)}")
            if order.snapshots:
                keeper = capability(machines, SnapshotKeeper)
                keeper.remove_snapshots(order.uuid, set(order.snapshots))
                context.log(f"snapshots of the machine that were removed: {len(order.snapshots)}")
        except NotFound:
            context.log("the machine is no longer on its hypervisor")
    return results


def _removed(count: int, stored: int) -> str:
    """The removed backups, with the bytes that the machine's own backups had stored."""
    return (
        f"{counted(count, 'backup')} of the machine removed, with {size(stored)} that the "
        "backups had stored; data that other backups also use stays"
    )


WORK = TaskWork("DELETE", DeleteOrder, run)
