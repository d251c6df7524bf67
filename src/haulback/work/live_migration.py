"""LIVE_MIGRATION on the node: move a running machine or its disks."""

from __future__ import annotations

from haulback.contract.live_migration import LiveMigrationOrder
from haulback.drivers.capabilities import InstantRestore, LiveMigration, capability
from haulback.work.context import Results, TaskContext, TaskWork


def run(job: TaskContext) -> Results:
    order: LiveMigrationOrder = job.order
    here = job.hypervisor(order.hypervisor)
    with job.alone(order.hypervisor, order.uuid):
        job.confirm()
        if order.to.guid == order.hypervisor.guid:
            job.expect(sum(disk.size for disk in here.machine(order.uuid).disks))
            capability(here, InstantRestore).make_own(order.uuid, job.meter)
            return {"uuid": order.uuid}
        there = job.hypervisor(order.to)
        mover = capability(here, LiveMigration)
        moved = mover.move(order.uuid, there, job.attempt, job.expect, job.meter)
    return {"uuid": moved.uuid}


WORK = TaskWork("LIVE_MIGRATION", LiveMigrationOrder, run)
