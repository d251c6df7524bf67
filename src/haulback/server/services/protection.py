"""Protection of machines: the RPO of each policy, and states that follow from backups and time.

All of it is computed after the change that it depends on, in pieces that continue after a restart.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from haulback.contract.events import Event, EventKind
from haulback.contract.protection import ProtectionState
from haulback.errors import Malformed, NotFound, Unavailable
from haulback.inventory.records import Entity, Record
from haulback.policy.protection import BackupTimetable, Judgement, MachineCase, judge, rpo_of
from haulback.policy.schedule_times import window_of
from haulback.server.caller import Caller
from haulback.server.queries import ListQuery
from haulback.server.services.app import App
from haulback.server.store import evaluations, events, policy_rpos, protection, schedule_clocks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.evaluations import EvaluationKind
from haulback.server.store.policy_rpos import PolicyRpo
from haulback.server.store.protection import JudgedMachine, UnjudgedMachine
from haulback.units import DAY_MS, duration

_PIECES = 40  # pieces of each kind of work in one maintenance tick
_AT_ONCE = 4  # pieces of each kind of work before an answer
_STEPS = (EvaluationKind.MEMBERS,)


class MachineRpo(NamedTuple):
    """A machine, and the RPO of its policy in ms, None without a limit."""

    machine: Entity
    rpo: int | None


def keep_current(app: App, pieces: int = _PIECES) -> None:
    """Compute the RPO of due policies, and evaluate due machines; only index lookups if none is
    due.
    """
    with app.store.read() as sql:
        if not protection.is_anything_due(sql, app.clock.now_ms()):
            return
    for step in (_compute_rpos, _evaluate_members, _judge_due):
        for _ in range(pieces):
            if not step(app):
                break


def before_answer(app: App) -> None:
    """Evaluate the machines that changed since the last maintenance tick, so that an answer is
    current.

    With a database that accepts no writes, the answer shows the last evaluation.
    """
    with suppress(Unavailable):
        keep_current(app, _AT_ONCE)


def counts(app: App, who: Caller) -> dict[ProtectionState, int]:
    """The numbers of machines by state, within the caller's projects."""
    before_answer(app)
    with app.store.read() as sql:
        known = protection.counts(sql, who.scope)
    return {state: known.get(state.value, 0) for state in ProtectionState}


def page(app: App, wanted: ListQuery) -> tuple[list[MachineRpo], int]:
    """A page of machines with their protection, ordered by name, and the number of all."""
    before_answer(app)
    with app.store.read() as sql:
        machines, total = protection.page(sql, wanted)
        rpos = policy_rpos.active(
            sql, {str(item.settings.get("backupPolicy")) for item in machines}
        )
    return [
        MachineRpo(machine, rpos.get(str(machine.settings.get("backupPolicy"))))
        for machine in machines
    ], total


def _compute_rpos(app: App) -> bool:
    """Compute the RPO of some policies; a changed RPO makes the machines of its policy due."""
    with app.store.write() as sql:
        return compute_rpos(sql, app.clock.now_ms())


def compute_rpos(sql: Connection, now: int) -> bool:
    """Compute the RPO of some due policies, so that an answer in this transaction shows it."""
    if not (stale := policy_rpos.due(sql, now)):
        return False
    known = SqlCatalogue(sql)
    schedules = known.records.of_kind("schedule")
    for policy, before in stale.items():
        after = _promise(known, policy, schedules, now)
        if after is None:
            policy_rpos.forget(sql, policy)
            continue
        policy_rpos.write(sql, policy, after, now + DAY_MS)
        if after != before:
            evaluations.request(sql, EvaluationKind.MEMBERS, policy)
    return True


def _promise(
    known: SqlCatalogue, policy: str, schedules: list[Record], now: int
) -> PolicyRpo | None:
    """The RPO of a policy as a row of `promise`, or None if the policy was removed."""
    try:
        record = known.records.get("vm-backup", policy)
    except NotFound:
        return None
    rpo = record.body.get("rpo")
    if rpo is None:
        rpo = rpo_of(_timetables(known, policy, schedules), now)
    return PolicyRpo(record.body.get("active", True), rpo)


def _timetables(known: SqlCatalogue, policy: str, schedules: list[Record]) -> list[BackupTimetable]:
    """The timetables of the active schedules of the active rules of a policy."""
    rules = {
        rule.guid for rule in known.records.of_kind("rule", policy) if rule.body.get("active", True)
    }
    result = []
    for schedule in schedules:
        fired = {ref["guid"] for ref in schedule.body.get("rules", ())}
        makes_backups = schedule.body.get("backupType") != "SYNCHRONIZATION"
        if rules & fired and makes_backups and schedule.body.get("active", True):
            with suppress(Malformed):  # a schedule of an earlier version that cannot fire
                table = schedule_clocks.table_of(schedule)
                result.append(BackupTimetable(table, window_of(schedule.body)))
    return result


def _evaluate_members(app: App) -> bool:
    """Make the next machines of a policy with a changed RPO due."""
    with app.store.write() as sql:
        evaluation = evaluations.next_evaluation(sql, _STEPS)
        if evaluation is not None:
            page = evaluations.next_machines(sql, evaluation)
            protection.judge_anew(sql, [machine.guid for machine in page])
            evaluations.advance(sql, evaluation, page)
    return evaluation is not None


def _judge_due(app: App) -> bool:
    """Evaluate some due machines; add an event for each changed state."""
    with app.store.write() as sql:
        now = app.clock.now_ms()
        machines = protection.due(sql, now)
        rpos = policy_rpos.active(sql, {item.policy for item in machines if item.policy})
        judged = [(machine, judge(_case(machine, rpos), now)) for machine in machines]
        protection.write(sql, [_judged(machine, standing, now) for machine, standing in judged])
        changed = [
            _event(machine, standing, rpos.get(machine.policy or ""), now)
            for machine, standing in judged
            if standing.state.value != machine.before and machine.since is not None
        ]
        events.add_many(sql, changed)
    return bool(machines)


def _case(machine: UnjudgedMachine, rpos: dict[str, int | None]) -> MachineCase:
    return MachineCase(
        governed=machine.policy in rpos,
        rpo=rpos.get(machine.policy or ""),
        last_good=machine.last_good,
        failed=machine.failed,
        pending=machine.pending,
        before=ProtectionState(machine.before),
    )


def _judged(machine: UnjudgedMachine, standing: Judgement, now: int) -> JudgedMachine:
    is_same = standing.state.value == machine.before and machine.since is not None
    since = machine.since if is_same and machine.since is not None else now
    return JudgedMachine(machine.guid, standing.state.value, since, standing.due)


def _event(machine: UnjudgedMachine, standing: Judgement, rpo: int | None, now: int) -> Event:
    state = standing.state.value
    return Event(
        kind=EventKind.PROTECTION_CHANGED,
        time=now,
        subject=machine.guid,
        subject_name=machine.name,
        project=machine.project,
        policy=machine.policy,
        text=f"{machine.name} {_SENTENCES[standing.state]}{_allowed(standing.state, rpo)}",
        data={"before": machine.before, "state": state, "lastBackup": machine.last_good,
              "rpo": rpo},
    )  # fmt: skip


_SENTENCES = {
    ProtectionState.PROTECTED: "is protected again",
    ProtectionState.LATE: "is late: its last good backup is older than its policy allows",
    ProtectionState.FAILING: "is failing: its last backup failed",
    ProtectionState.NEVER: "has a policy and no good backup",
    ProtectionState.UNASSIGNED: "is governed by no active backup policy",
}


def _allowed(state: ProtectionState, rpo: int | None) -> str:
    return f" ({duration(rpo / 1000)})" if state is ProtectionState.LATE and rpo is not None else ""
