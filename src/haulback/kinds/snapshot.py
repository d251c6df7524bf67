"""SNAPSHOT: keeps a machine's disks as they are, on the platform; nothing is copied."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from haulback.drivers.capabilities import SnapshotKeeper, capability
from haulback.errors import Malformed
from haulback.hypervisor_types import Capability, type_of
from haulback.ids import new_guid
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Catalogue, Entity, Hypervisor, PlatformSnapshot, Record
from haulback.kinds import snapshot_cleanup
from haulback.kinds.api import PREFIX, Amount, Ask, Mark, Results, Submission, TaskContext, TaskKind
from haulback.kinds.support import planning
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import State
from haulback.wire import Ref


class SnapshotRequest(msgspec.Struct, kw_only=True):
    """SnapshotTaskRequest; the rule says how long it stays, without one until it is removed."""

    protectedEntities: list[Ref]
    rule: Ref | None = None
    description: str | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class SnapshotOrder(msgspec.Struct):
    """Of which machine."""

    uuid: str
    hypervisor: Hypervisor


class SnapshotResult(msgspec.Struct):
    """What the node reports: the name on the platform, and how consistent it is."""

    uuid: Mark
    snapshotTime: Amount
    consistency: Literal["STOPPED", "APPLICATION", "CRASH"] | None = None


def plan(request: SnapshotRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """One task for each machine, and with a rule the clean-up after it.

    Raises NotFound, or Malformed for what a platform cannot do.
    """
    refs = planning.some("protectedEntities", request.protectedEntities)
    rule = _rule(request, catalogue)
    request = planning.by_policy(request, _policy(rule, catalogue))
    if len(request.description or "") > 400:
        raise Malformed("description: at most 400 characters", field="description")
    whole = Plan()
    for entity in catalogue.entities_of([ref.guid for ref in refs]):
        hypervisor = catalogue.hypervisor(entity.hypervisor)
        refuse_unable(entity, hypervisor, "protectedEntities")
        where = (entity, hypervisor, catalogue, ask)
        params = _params(request, rule)
        taken = planning.on_machine("SNAPSHOT", "snapshot", *where, request, params=params)
        whole.tasks.append(taken)
        if rule:
            whole.tasks.append(snapshot_cleanup.task(*where, follows=taken))
    return whole


def _params(request: SnapshotRequest, rule: Record | None) -> dict[str, Any]:
    return {
        "snapshot": new_guid(),
        "rule": rule.guid if rule else None,
        "policy": rule.parent if rule else None,
        "description": request.description,
    }


def _rule(request: SnapshotRequest, catalogue: Catalogue) -> Record | None:
    if request.rule is None:
        return None
    rule = catalogue.record("snapshot-rule", request.rule.guid)
    for one in (rule, _policy(rule, catalogue)):
        if one and one.body.get("active") is False:
            raise Malformed(
                f"rule: {one.name} is not active; activate it, or name no rule", field="rule"
            )
    return rule


def _policy(rule: Record | None, catalogue: Catalogue) -> Record | None:
    return catalogue.record("vm-snapshot", rule.parent) if rule and rule.parent else None


def refuse_unable(entity: Entity, hypervisor: Hypervisor, field: str) -> None:
    """Raises Malformed for a machine that can have no snapshots."""
    if not entity.present:
        raise Malformed(f"{field}: {entity.name} is no longer on its hypervisor", field=field)
    if not entity.disks:
        raise Malformed(f"{field}: {entity.name} has no disk that could keep one", field=field)
    platform = type_of(hypervisor.driver, hypervisor.config)
    platform.require(Capability.SNAPSHOTS, field)
    able = platform.snapshot_formats
    for disk in entity.disks:
        if disk.format not in able:
            raise Malformed(
                f"{field}: {entity.name} has a {disk.format} disk ({disk.name}), which keeps no "
                f"snapshots; only {', '.join(able)} does",
                field=field,
            )


def prepare(task: Task, catalogue: Catalogue) -> SnapshotOrder:
    entity = catalogue.entity(task.ref("protectedEntity") or "")
    return SnapshotOrder(entity.uuid, catalogue.hypervisor(entity.hypervisor))


def run(job: TaskContext) -> Results:
    order: SnapshotOrder = job.order
    machines = capability(job.hypervisor(order.hypervisor), SnapshotKeeper)
    name = PREFIX + job.attempt
    with job.alone(order.hypervisor, order.uuid):
        job.confirm()
        now = job.now_ms()
        how = machines.take_snapshot(order.uuid, name)
        try:
            job.confirm()
        except BaseException:
            machines.remove_snapshots(order.uuid, {name})
            raise
    return {"uuid": name, "snapshotTime": now, "consistency": how}


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is not State.FINISHED:
        return
    found, params = msgspec.convert(task.results, SnapshotResult), task.params
    ledger.snapshot_taken(
        PlatformSnapshot(
            guid=params["snapshot"],
            entity=task.ref("protectedEntity") or "",
            uuid=found.uuid,
            created=ledger.now,
            snapshot_time=found.snapshotTime,
            consistency=found.consistency,
            description=params["description"],
            rule=params["rule"],
            policy=params["policy"] or None,
            project=task.project,
        )
    )


_SUMMARY = "Create snapshot task."
KIND = TaskKind(
    type="SNAPSHOT",
    lane="snapshot",
    order=SnapshotOrder,
    prepare=prepare,
    run=run,
    settle=settle,
    submissions=(
        Submission("snapshot", SnapshotRequest, plan, summary=_SUMMARY),
        Submission("vm-snapshot", SnapshotRequest, plan, summary=_SUMMARY),
    ),
)
