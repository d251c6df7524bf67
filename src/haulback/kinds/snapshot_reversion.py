"""SNAPSHOT_REVERSION: reverts a machine's disks to a snapshot, after a snapshot of their state."""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import RESTORERS
from haulback.contract.snapshot_reversion import (
    SnapshotReversionOrder,
    SnapshotReversionRequest,
    SnapshotReversionResult,
)
from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import PlatformSnapshot
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import conflicts, planning, snapshots
from haulback.kinds.support.reports import ReportMember
from haulback.kinds.support.snapshots import refuse_unable
from haulback.tasks.record import Plan, Task
from haulback.wire import Named


def plan(request: SnapshotReversionRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan the task; another program may have taken the snapshot.  Raises NotFound, Malformed."""
    named = request.snapshot or request.protectedEntitySnapshot
    if named is None:
        raise Malformed("snapshot: name the snapshot of the revert", field="snapshot")
    snapshot = catalogue.snapshots.get(named.guid)
    entity = catalogue.machines.get(snapshot.entity)
    hypervisor = catalogue.places.hypervisor(entity.hypervisor)
    refuse_unable(entity, hypervisor, "snapshot")
    conflicts.machine_free(entity.named(), "SNAPSHOT_REVERSION", catalogue)
    refs = {"protectedEntitySnapshot": Named(snapshot.guid, snapshot.uuid)}
    spec = planning.TaskSpec(refs=refs, params={"before": new_guid()})
    asked = snapshots.SnapshotSubmission(request, catalogue, context)
    return Plan([snapshots.task("SNAPSHOT_REVERSION", entity, asked, spec)])


def prepare(task: Task, catalogue: Catalogue) -> SnapshotReversionOrder:
    """Make the order.  Raises NotFound if the snapshot was removed meanwhile."""
    found = catalogue.snapshots.get(task.ref("protectedEntitySnapshot") or "")
    entity = catalogue.machines.get(found.entity)
    return SnapshotReversionOrder(
        entity.uuid, catalogue.places.hypervisor(entity.hypervisor), found.uuid
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Delete the increment bases, even after a failure, and record the snapshot of the previous
    state.
    """
    if task.started is None:
        return
    entity = task.ref("protectedEntity") or ""
    to = task.refs["protectedEntitySnapshot"].name
    ledger.bases.void(entity, f"the machine was reverted to the snapshot {to}")
    if state is not State.FINISHED:
        return
    report = msgspec.convert(task.results, SnapshotReversionResult)
    ledger.snapshots.taken(
        PlatformSnapshot(
            guid=task.params["before"],
            entity=entity,
            uuid=report.before,
            created=ledger.now,
            snapshot_time=report.snapshotTime,
            description=f"state before the revert to {to}",
            project=task.project,
        )
    )


Request = SnapshotReversionRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="SNAPSHOT_REVERSION",
    lane="snapshot",
    order=SnapshotReversionOrder,
    prepare=prepare,
    settle=settle,
    repeatable=False,
    report=(
        ReportMember(
            "before", "text", "The name of the snapshot of the previous state.", needed=True
        ),
        ReportMember("snapshotTime", "time", "The moment of that snapshot, epoch ms.", needed=True),
    ),
    submissions=(
        Submission(
            "revert",
            SnapshotReversionRequest,
            plan,
            many=False,
            summary="Create snapshot reversion task.",
            roles=RESTORERS,
            projects=ProjectAccess.OBJECTS,
            examples=[
                {
                    "snapshot": example.REF,
                    **example.WINDOW,
                }
            ],
            command="snapshot revert SNAPSHOT",
        ),
    ),
)
