"""SNAPSHOT_REVERSION: puts a machine's disks back to a snapshot, and keeps what they were."""

from __future__ import annotations

import msgspec

from haulback.drivers.capabilities import SnapshotKeeper, capability
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Catalogue, Hypervisor, PlatformSnapshot
from haulback.kinds.api import PREFIX, Amount, Ask, Mark, Results, Submission, TaskContext, TaskKind
from haulback.kinds.snapshot import refuse_unable
from haulback.kinds.support import conflicts, planning
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import State
from haulback.wire import Named, Ref


class SnapshotReversionRequest(msgspec.Struct, kw_only=True):
    """SnapshotReversionTaskRequest; either member names the snapshot."""

    snapshot: Ref | None = None
    protectedEntitySnapshot: Ref | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class SnapshotReversionOrder(msgspec.Struct):
    """Which machine, and the name of the snapshot there."""

    uuid: str
    hypervisor: Hypervisor
    name: str


class Reverted(msgspec.Struct):
    """What the node reports: what the disks were before is the snapshot `before`."""

    before: Mark
    snapshotTime: Amount


def plan(request: SnapshotReversionRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """One task.  Raises NotFound, or Malformed for a snapshot that was not taken here."""
    named = request.snapshot or request.protectedEntitySnapshot
    if named is None:
        raise Malformed("snapshot: name the one to go back to", field="snapshot")
    found = catalogue.snapshot(named.guid)
    if not found.managed:
        raise Malformed(
            f"snapshot: {found.uuid} was not taken here; go back to it where it was",
            field="snapshot",
        )
    entity = catalogue.entity(found.entity)
    hypervisor = catalogue.hypervisor(entity.hypervisor)
    refuse_unable(entity, hypervisor, "snapshot")
    conflicts.machine_free(entity.named(), "SNAPSHOT_REVERSION", catalogue)
    made = planning.on_machine(
        "SNAPSHOT_REVERSION",
        "snapshot",
        entity,
        hypervisor,
        catalogue,
        ask,
        request,
        refs={"protectedEntitySnapshot": Named(found.guid, found.uuid)},
        params={"before": new_guid()},
    )
    return Plan([made])


def prepare(task: Task, catalogue: Catalogue) -> SnapshotReversionOrder:
    """Raises NotFound when the snapshot was removed meanwhile."""
    found = catalogue.snapshot(task.ref("protectedEntitySnapshot") or "")
    entity = catalogue.entity(found.entity)
    return SnapshotReversionOrder(entity.uuid, catalogue.hypervisor(entity.hypervisor), found.uuid)


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


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Whatever came of it, no increment builds on what was recorded before."""
    if task.started is None:
        return
    entity = task.ref("protectedEntity") or ""
    ledger.void_bases(entity)
    if state is not State.FINISHED:
        return
    found = msgspec.convert(task.results, Reverted)
    to = task.refs["protectedEntitySnapshot"].name
    ledger.snapshot_taken(
        PlatformSnapshot(
            guid=task.params["before"],
            entity=entity,
            uuid=found.before,
            created=ledger.now,
            snapshot_time=found.snapshotTime,
            description=f"before going back to {to}",
            project=task.project,
        )
    )


KIND = TaskKind(
    type="SNAPSHOT_REVERSION",
    lane="snapshot",
    order=SnapshotReversionOrder,
    prepare=prepare,
    run=run,
    settle=settle,
    repeatable=False,
    submissions=(
        Submission(
            "revert",
            SnapshotReversionRequest,
            plan,
            many=False,
            summary="Create snapshot reversion task.",
        ),
    ),
)
