"""SNAPSHOT: takes a snapshot of a machine's disks on its platform; no data is copied."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from haulback.contract import example_values as example
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import OPERATORS
from haulback.contract.snapshot import SnapshotOrder, SnapshotRequest, SnapshotResult
from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import PlatformSnapshot, Record
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import planning, snapshots
from haulback.kinds.support.reports import ReportMember
from haulback.kinds.support.snapshots import SnapshotSubmission, refuse_unable
from haulback.tasks.record import Plan, Task
from haulback.wire import JsonObject


def plan(request: SnapshotRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a task for each machine and, with a rule, the following clean-up.

    Raises NotFound, and Malformed for a machine that can have no snapshots.
    """
    chosen = planning.some("protectedEntities", request.protectedEntities)
    rule = _rule(request, catalogue)
    request = planning.by_policy(request, _policy(rule, catalogue))
    if len(request.description or "") > 400:
        raise Malformed("description: send at most 400 characters", field="description")
    whole, refs = Plan(), {"rule": planning.named(rule) if rule else None}
    for entity in catalogue.machines.get_many([ref.guid for ref in chosen]):
        hypervisor = catalogue.places.hypervisor(entity.hypervisor)
        refuse_unable(entity, hypervisor, "protectedEntities")
        spec = planning.TaskSpec(refs=refs, params=_params(request, rule))
        taken = snapshots.task(
            "SNAPSHOT", entity, SnapshotSubmission(request, catalogue, context), spec
        )
        whole.tasks.append(taken)
        if rule:
            after = planning.TaskSpec(refs=refs, follows=taken)
            whole.tasks.append(
                snapshots.cleanup_task(entity, SnapshotSubmission(None, catalogue, context), after)
            )
    return whole


def _params(request: SnapshotRequest, rule: Record | None) -> JsonObject:
    return {
        "snapshot": new_guid(),
        "rule": rule.guid if rule else None,
        "policy": rule.parent if rule else None,
        "description": request.description,
    }


def _rule(request: SnapshotRequest, catalogue: Catalogue) -> Record | None:
    if request.rule is None:
        return None
    rule = catalogue.records.get("snapshot-rule", request.rule.guid)
    for record in (rule, _policy(rule, catalogue)):
        if record and record.body.get("active") is False:
            raise Malformed(
                f"rule: {record.name} is not active; activate the rule, or leave the member out",
                field="rule",
            )
    return rule


def _policy(rule: Record | None, catalogue: Catalogue) -> Record | None:
    return catalogue.records.get("vm-snapshot", rule.parent) if rule and rule.parent else None


def prepare(task: Task, catalogue: Catalogue) -> SnapshotOrder:
    entity = catalogue.machines.get(task.ref("protectedEntity") or "")
    return SnapshotOrder(entity.uuid, catalogue.places.hypervisor(entity.hypervisor))


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is not State.FINISHED:
        return
    report, params = msgspec.convert(task.results, SnapshotResult), task.params
    ledger.snapshots.taken(
        PlatformSnapshot(
            guid=params["snapshot"],
            entity=task.ref("protectedEntity") or "",
            uuid=report.uuid,
            created=ledger.now,
            snapshot_time=report.snapshotTime,
            consistency=report.consistency,
            description=params["description"],
            rule=params["rule"],
            policy=params["policy"] or None,
            project=task.project,
        )
    )


_SUBMISSION = Submission(
    "snapshot",
    SnapshotRequest,
    plan,
    summary="Create snapshot task.",
    roles=OPERATORS,
    projects=ProjectAccess.OBJECTS,
    examples=[{"protectedEntities": [example.REF], "priority": 50}],
    command="snapshot create MACHINE",
)
Request = SnapshotRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="SNAPSHOT",
    lane="snapshot",
    order=SnapshotOrder,
    prepare=prepare,
    settle=settle,
    report=(
        ReportMember("uuid", "text", "The name of the snapshot on the platform.", needed=True),
        ReportMember("snapshotTime", "time", "The moment of the snapshot, epoch ms.", needed=True),
        ReportMember("consistency", "text", "STOPPED, APPLICATION or CRASH."),
    ),
    submissions=(
        _SUBMISSION,
        replace(_SUBMISSION, path="vm-snapshot", command="snapshot create MACHINE --vm"),
    ),
)
