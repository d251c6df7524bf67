"""SNAPSHOT_CLEANUP on the node: remove snapshots of a machine, or release its checkpoints."""

from __future__ import annotations

from haulback.contract.snapshot_cleanup import SnapshotCleanupOrder
from haulback.drivers.capabilities import SnapshotKeeper, capability
from haulback.errors import NotFound
from haulback.work.context import Results, TaskContext, TaskWork


def run(context: TaskContext) -> Results:
    order: SnapshotCleanupOrder = context.order
    if order.release:
        return _release(context)
    with context.machines.lock(order.hypervisor, order.uuid):
        context.progress.confirm()
        try:
            machines = capability(context.machines.open(order.hypervisor), SnapshotKeeper)
            gone = machines.remove_snapshots(order.uuid, set(order.names))
            context.log(f"snapshots that were removed: {', '.join(gone) or 'none was left'}")
        except NotFound:
            context.log("the machine is no longer on its hypervisor")
    return {"removed": order.names}


def _release(context: TaskContext) -> Results:
    """Remove all checkpoints of Haulback; checkpoints of other programs stay."""
    order: SnapshotCleanupOrder = context.order
    with context.machines.lock(order.hypervisor, order.uuid):
        context.progress.confirm()
        released = context.machines.open(order.hypervisor).drop_checkpoints(order.uuid, frozenset())
    for name in released:
        context.log(f"the checkpoint {name} was released")
    context.log("the next backup is a full one")
    return {"removed": [], "released": released}


WORK = TaskWork("SNAPSHOT_CLEANUP", SnapshotCleanupOrder, run)
