"""SNAPSHOT_CLEANUP: removes expired snapshots and named snapshots, or releases checkpoints."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from haulback.contract import example_values as example
from haulback.contract.policies import SnapshotRule
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import OPERATORS
from haulback.contract.snapshot_cleanup import (
    ReleaseRequest,
    SnapshotCleanupOrder,
    SnapshotCleanupRequest,
    SnapshotCleanupResult,
)
from haulback.contract.task_states import State
from haulback.errors import Malformed, NotFound
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import PlatformSnapshot
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import conflicts, planning
from haulback.kinds.support.reports import ReportMember
from haulback.kinds.support.snapshots import SnapshotSubmission, cleanup_task
from haulback.policy import snapshot_retention
from haulback.tasks.record import Plan, Task

_RELEASED = "the checkpoints of the machine were released"


def plan(request: SnapshotCleanupRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a task for each machine.  Raises NotFound, or Malformed for a request without a name."""
    chosen = _chosen(request, catalogue)
    for ref in request.protectedEntities or []:
        chosen[ref.guid] += []
    if not chosen:
        field = "protectedEntities"
        raise Malformed(f"{field}: name at least one, or snapshots", field=field)
    asked, whole = SnapshotSubmission(request, catalogue, context), Plan()
    for entity in catalogue.machines.get_many(list(chosen)):
        spec = planning.TaskSpec(refs={}, params={"chosen": chosen[entity.guid]})
        whole.tasks.append(cleanup_task(entity, asked, spec))
    return whole


def plan_release(request: ReleaseRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a task for each machine.  Raises NotFound, and Malformed for an absent machine."""
    refs = planning.some("protectedEntities", request.protectedEntities)
    asked, whole = SnapshotSubmission(request, catalogue, context), Plan()
    for entity in catalogue.machines.get_many([ref.guid for ref in refs]):
        if not entity.present:
            raise Malformed(
                f"protectedEntities: {entity.name} is no longer on its hypervisor",
                field="protectedEntities",
            )
        conflicts.machine_free(entity.named(), "SNAPSHOT_CLEANUP", catalogue)
        spec = planning.TaskSpec(refs={}, params={"release": True})
        whole.tasks.append(cleanup_task(entity, asked, spec))
    return whole


def _chosen(request: SnapshotCleanupRequest, catalogue: Catalogue) -> dict[str, list[str]]:
    """The named snapshots by machine."""
    chosen: dict[str, list[str]] = defaultdict(list)
    for ref in request.snapshots or []:
        snapshot = catalogue.snapshots.get(ref.guid)
        if not snapshot.managed:
            raise Malformed(
                f"snapshots: another program made {snapshot.uuid}; remove it in that program",
                field="snapshots",
            )
        chosen[snapshot.entity].append(snapshot.guid)
    return chosen


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Delete the bases of a machine before its checkpoints are removed, so that no backup builds on
    them.
    """
    if task.params.get("release"):
        ledger.bases.void(task.ref("protectedEntity") or "", _RELEASED)


def prepare(task: Task, catalogue: Catalogue) -> SnapshotCleanupOrder:
    """Select the expired snapshots by the present rules."""
    entity = catalogue.machines.get(task.ref("protectedEntity") or "")
    if task.params.get("release"):
        host = catalogue.places.hypervisor(entity.hypervisor)
        return SnapshotCleanupOrder(entity.uuid, host, [], release=True)
    going = _going(entity.guid, task.params.get("chosen", []), catalogue, task.started or 0)
    names = [snapshot.uuid for snapshot in going]
    return SnapshotCleanupOrder(entity.uuid, catalogue.places.hypervisor(entity.hypervisor), names)


def expected(request: SnapshotCleanupRequest, catalogue: Catalogue, now: int) -> list[str]:
    """The guids of the snapshots that a request would remove at `now` (epoch ms).

    Raises NotFound, Malformed.
    """
    chosen = _chosen(request, catalogue)
    for ref in request.protectedEntities or []:
        chosen[ref.guid] += []
    return [
        snapshot.guid
        for entity in catalogue.machines.get_many(list(chosen))
        for snapshot in _going(entity.guid, chosen[entity.guid], catalogue, now)
    ]


def _going(
    entity: str, chosen: list[str], catalogue: Catalogue, now: int
) -> list[PlatformSnapshot]:
    """Haulback's snapshots of a machine that were chosen, or that their rules no longer keep."""
    ours = [snapshot for snapshot in catalogue.snapshots.of_entity(entity) if snapshot.managed]
    rules = {item.rule: _rule(item.rule, catalogue) for item in ours if item.rule}
    going = {*snapshot_retention.surplus(ours, rules, now), *chosen}
    return [snapshot for snapshot in ours if snapshot.guid in going]


def _rule(guid: str, catalogue: Catalogue) -> SnapshotRule | None:
    """The rule, or None for a deleted rule, whose snapshots stay."""
    try:
        found = catalogue.records.get("snapshot-rule", guid)
    except NotFound:
        return None
    return msgspec.convert({**found.body, "name": found.name}, SnapshotRule)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is not State.FINISHED:
        return
    found = msgspec.convert(task.results, SnapshotCleanupResult)
    ledger.snapshots.gone(task.ref("protectedEntity") or "", found.removed)


Request = SnapshotCleanupRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="SNAPSHOT_CLEANUP",
    lane="snapshot",
    order=SnapshotCleanupOrder,
    prepare=prepare,
    settle=settle,
    start=start,
    report=(
        ReportMember("removed", "texts", "Names of the snapshots that were removed.", needed=True),
        ReportMember("released", "texts", "Names of the checkpoints that were released."),
    ),
    submissions=(
        Submission(
            "remove-old-snapshots",
            SnapshotCleanupRequest,
            plan,
            summary="Create tasks to remove old snapshots.",
            roles=OPERATORS,
            projects=ProjectAccess.OBJECTS,
            examples=[{"protectedEntities": [example.REF]}],
            command="snapshot clean MACHINE",
        ),
        Submission(
            "release",
            ReleaseRequest,
            plan_release,
            summary="Create tasks that release the checkpoints of machines.",
            roles=OPERATORS,
            projects=ProjectAccess.OBJECTS,
            examples=[{"protectedEntities": [example.REF]}],
            command="machine release MACHINE",
            unasked="only a record of changes is lost, and no data: the next backup is a full one",
        ),
    ),
    removes=True,
)
