"""SNAPSHOT_REVERSION on the node: revert a machine's disks to a snapshot."""

from __future__ import annotations

from haulback.contract.snapshot_reversion import SnapshotReversionOrder
from haulback.drivers.capabilities import SnapshotKeeper, capability
from haulback.work.context import PREFIX, Results, TaskContext, TaskWork


def run(job: TaskContext) -> Results:
    order: SnapshotReversionOrder = job.order
    before = PREFIX + job.attempt
    with job.alone(order.hypervisor, order.uuid):
        job.confirm()
        now = job.now_ms()
        machines = capability(job.hypervisor(order.hypervisor), SnapshotKeeper)
        machines.revert(order.uuid, order.name, before, job.attempt)
    job.log(f"what the machine was is kept as the snapshot {before}")
    return {"before": before, "snapshotTime": now}


WORK = TaskWork("SNAPSHOT_REVERSION", SnapshotReversionOrder, run)
