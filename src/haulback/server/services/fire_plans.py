"""Plans of a fire: the tasks that a rule makes for its machines, for each type of schedule."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from haulback.contract.backups import BackupType
from haulback.contract.export import ExportRequest
from haulback.contract.schedules import Sort
from haulback.contract.snapshot import SnapshotRequest
from haulback.errors import HaulbackError, Malformed, NotFound
from haulback.inventory.records import Record
from haulback.kinds import export, snapshot
from haulback.kinds.api import Context
from haulback.server.services.recovery_run import plan_recovery
from haulback.server.store import schedule_clocks, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.fire_members import FireMember
from haulback.server.store.fires import Fire, FireRule
from haulback.server.store.ledger import SqlLedger
from haulback.tasks.record import Plan
from haulback.wire import Named, Ref, label


@dataclass(frozen=True)
class FirePlanning:
    """A rule of a fire with its schedule, at the time and in the transaction of its planning."""

    sql: Connection
    context: Context
    fire: Fire
    schedule: Record
    rule: FireRule

    @property
    def about(self) -> tuple[Fire, Record, int]:
        """The fire, its schedule and the time of planning."""
        return self.fire, self.schedule, self.context.now

    @property
    def known(self) -> SqlCatalogue:
        return SqlCatalogue(self.sql)


@dataclass(frozen=True)
class ScheduleType:
    """A type of schedule: the kinds of its rules and policies, and the plan of a rule.

    `setting` is the setting of a machine that names its policy; "" if rules name their machines
    themselves.
    """

    rule: str
    policy: str
    setting: str
    plan: Callable[[FirePlanning, Sequence[FireMember]], Plan]


def _backups(wanted: FirePlanning, machines: Sequence[FireMember]) -> Plan:
    request = ExportRequest(
        protectedEntities=_refs(machines),
        backupType=BackupType(wanted.schedule.body.get("backupType", "FULL")),
        rules=[Ref(wanted.rule.rule)],
        windowEnd=wanted.fire.window_end,
    )
    return export.plan(request, wanted.known, wanted.context)


def _snapshots(wanted: FirePlanning, machines: Sequence[FireMember]) -> Plan:
    request = SnapshotRequest(
        protectedEntities=_refs(machines),
        rule=Ref(wanted.rule.rule),
        windowEnd=wanted.fire.window_end,
    )
    return snapshot.plan(request, wanted.known, wanted.context)


def _recovery(wanted: FirePlanning, _: Sequence[FireMember]) -> Plan:
    return plan_recovery(wanted.rule.rule, wanted.known, wanted.context)


def _refs(machines: Sequence[FireMember]) -> list[Ref]:
    return [Ref(machine.guid) for machine in machines]


SERVED = {
    Sort.VM_BACKUP: ScheduleType("rule", "vm-backup", "backupPolicy", _backups),
    Sort.VM_SNAPSHOT: ScheduleType("snapshot-rule", "vm-snapshot", "snapshotPolicy", _snapshots),
    Sort.VM_RESTORE: ScheduleType("recovery-plan", "", "", _recovery),
}


def served(schedule: Record) -> ScheduleType:
    """The type of a schedule.  Raises Malformed for a type without tasks."""
    sort = Sort(schedule.body.get("type", Sort.VM_BACKUP.value))
    if sort not in SERVED:
        raise Malformed(f"the schedule {schedule.name}: no task serves the type {sort.value}")
    return SERVED[sort]


def rules_of(fire: Fire, schedule: Record, known: SqlCatalogue) -> list[FireRule]:
    """The rules of a fire; the rules of one policy share a run, to which the policy's thresholds
    apply.
    """
    if schedule.kind == schedule_clocks.SYSTEM:
        run = str(uuid.uuid5(uuid.UUID(fire.guid), schedule.guid))
        return [FireRule(fire=fire.guid, position=0, rule=schedule.guid, policy="", run=run)]
    rules = []
    named = dict.fromkeys(ref["guid"] for ref in schedule.body.get("rules", []))
    for place, guid in enumerate(named):
        policy = _parent(known, served(schedule).rule, guid)
        run = str(uuid.uuid5(uuid.UUID(fire.guid), policy or guid))
        rules.append(FireRule(fire=fire.guid, position=place, rule=guid, policy=policy, run=run))
    return rules


def _parent(known: SqlCatalogue, kind: str, guid: str) -> str:
    try:
        return known.records.get(kind, guid).parent
    except NotFound:
        return ""


def one_by_one(
    wanted: FirePlanning, machines: Sequence[FireMember]
) -> tuple[Plan, list[tuple[FireMember, HaulbackError]]]:
    """The plan for those machines that can have one, and the other machines with the reasons."""
    whole, refused = Plan(), []
    for machine in machines:
        try:
            made = served(wanted.schedule).plan(wanted, [machine])
        except HaulbackError as error:
            refused.append((machine, error))
            continue
        whole.add(made)
    return whole, refused


def enter(wanted: FirePlanning, plan: Plan) -> None:
    """Store the tasks and records of a plan, with the schedule as their origin."""
    schedule, run = wanted.schedule, wanted.rule.run
    is_own = schedule.kind == schedule_clocks.SYSTEM
    origin = Named(schedule.guid, schedule.name, label("SYSTEM_SCHEDULE" if is_own else "SCHEDULE"))
    for task in plan.tasks:
        task.run = run
        task.refs["schedule"] = Named(schedule.guid, schedule.name)
    for task in (*plan.besides, *plan.tasks):
        task.refs["originEntity"] = origin
    ledger = SqlLedger(wanted.sql, wanted.context.now)
    begun: Any = msgspec.to_builtins(origin)
    ledger.backups.begun(plan.backups, begun)
    ledger.restores.begun(plan.restores)
    tasks.insert(wanted.sql, [*plan.besides, *plan.tasks])
