"""UNMOUNT on the node: end the mount of a backup."""

from __future__ import annotations

from haulback.contract.unmount import UnmountOrder
from haulback.drivers.capabilities import InstantRestore, MachineTarget, capability
from haulback.drivers.hypervisor import MachineSource
from haulback.errors import Conflict, SourceChanged
from haulback.repository.reported_damage import as_results
from haulback.units import counted
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.machine_mark import MARK


def run(context: TaskContext) -> Results:
    order: UnmountOrder = context.order
    context.progress.confirm()
    if order.hypervisor:
        _end_machines(context, context.machines.open(order.hypervisor), order)
    met = context.mounts.end(order.mount)
    damage = f"; damage was found on {counted(len(met), 'destination')}" if met else ""
    context.log(f"mount {order.mount} has ended; its backup is unchanged{damage}")
    return {"unmounted": True, **as_results(met)}


def _end_machines(context: TaskContext, machines: MachineSource, order: UnmountOrder) -> None:
    """Remove the machines of an instant restore with their mount.

    Raises SourceChanged for a running machine, Conflict for a machine of foreign origin.
    """
    if not isinstance(machines, InstantRestore):
        return  # the hypervisor is reached by SSH now: no machine there runs from a mount here
    users = machines.on_share(context.mounts.socket(order.mount))
    if foreign := [machine.name for machine in users if MARK not in machine.definition]:
        raise Conflict(
            f"{', '.join(foreign)}: runs from this backup, and Haulback did not create the machine"
        )
    target = capability(machines, MachineTarget)
    for machine in users:
        try:
            target.remove(machine.uuid)
        except SourceChanged as error:
            remedy = "or move the machine to its own storage (POST /tasks/live-migration)"
            raise SourceChanged(f"{error.message}; {remedy}") from None
        context.log(f"{machine.name} ran from this backup, and was removed with its changes")


WORK = TaskWork("UNMOUNT", UnmountOrder, run)
