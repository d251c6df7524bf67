"""LIVE_MIGRATION on the node: move a running machine or its disks."""

from __future__ import annotations

from haulback.contract.live_migration import LiveMigrationOrder
from haulback.drivers.capabilities import InstantRestore, LiveMigration, capability
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.phases import phase


def run(context: TaskContext) -> Results:
    order: LiveMigrationOrder = context.order
    here = context.machines.open(order.hypervisor)
    with context.machines.lock(order.hypervisor, order.uuid):
        context.progress.confirm()
        if order.to.guid == order.hypervisor.guid:
            context.progress.expect(sum(disk.size for disk in here.machine(order.uuid).disks))
            with phase(context, f"the disks were copied to {order.to.name}") as running:
                mine = capability(here, InstantRestore)
                mine.make_own(order.uuid, running.counting(context.progress.meter))
            return {"uuid": order.uuid}
        there = context.machines.open(order.to)
        mover = capability(here, LiveMigration)
        with phase(context, f"the running machine was moved to {order.to.name}") as running:
            meter = running.counting(context.progress.meter)
            moved = mover.move(order.uuid, there, context.attempt, context.progress.expect, meter)
    return {"uuid": moved.uuid}


WORK = TaskWork("LIVE_MIGRATION", LiveMigrationOrder, run)
