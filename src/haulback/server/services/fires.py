"""The scheduler: fires due schedules, makes the tasks of a fire in pieces, and ends fires.

Each step is one transaction; after a crash, this or another server continues with the next step.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from haulback.contract.events import EventKind
from haulback.contract.system_schedules import SystemTask
from haulback.errors import HaulbackError, Malformed, NotFound, Unavailable
from haulback.ids import new_guid
from haulback.inventory.records import Record
from haulback.kinds.api import Context
from haulback.logs import members
from haulback.policy.fires import due_now
from haulback.policy.schedule_times import window_of
from haulback.policy.timetable import Due
from haulback.server.services import clock_change, proof_rotation, run_events, system_plans
from haulback.server.services.app import App
from haulback.server.services.fire_events import tell, tell_runs
from haulback.server.services.fire_plans import FirePlanning, enter, one_by_one, rules_of, served
from haulback.server.services.system_schedules import task_of
from haulback.server.store import fire_members, fires, nodes, schedule_clocks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.fire_members import FireMember
from haulback.server.store.fires import Fire, Skip
from haulback.server.store.schedule_clocks import ScheduleClock
from haulback.tasks.record import Plan
from haulback.units import DAY_MS

PIECE = 100  # machines in a transaction, which delays other writers
_BUDGET_S = 4.0  # seconds of a maintenance tick that fires may take
_KEEP_MS = 400 * DAY_MS  # time for which a fire is recorded
_FORGOTTEN = 200  # fires that one tick deletes
_ENDED = 100  # fires that one tick ends
log = logging.getLogger(__name__)


def run_due(app: App) -> int:
    """Fire the schedules that are due, and plan their tasks; returns the number of planned
    workflows.
    """
    with app.store.read() as sql:
        now = app.clock.now_ms()
        if not fires.is_anything_due(sql, now):
            return 0
        due = schedule_clocks.due(sql, now)
    for schedule in due:
        _begin_alone(app, schedule)
    planned, end = 0, time.monotonic() + _BUDGET_S
    while time.monotonic() < end and clock_change.cancel_piece(app):
        # Before the planning, because a waiting task would exclude its machine from the next plan.
        pass
    while time.monotonic() < end and (made := plan_piece(app)) is not None:
        planned += made
    planned += proof_rotation.top_up(app)
    if due:
        with app.store.write() as sql:
            fires.forget(sql, now - _KEEP_MS, _FORGOTTEN)
    end_finished(app)
    return planned


def _begin_alone(app: App, schedule: str) -> None:
    """Fire one schedule; an error of one schedule must not stop the others."""
    try:
        begin(app, schedule)
    except Unavailable:
        raise  # the database does not answer: no schedule can fire
    except Exception:
        log.exception("schedule %s cannot fire", schedule)


def begin(app: App, schedule: str) -> None:
    """Insert the fire of a due schedule and advance its next due time, in one transaction."""
    with app.store.write() as sql:
        now = app.clock.now_ms()
        clock = schedule_clocks.take(sql, schedule, now)
        if clock is None:
            return
        record = schedule_clocks.record_of(sql, schedule)
        try:
            table = schedule_clocks.table_of(record)
        except Malformed as error:
            log.error("%s", error.message)
            clock.due_at = None
            schedule_clocks.write(sql, clock)
            return
        choice = due_now(table, clock.after, now, window_of(record.body))
        is_active = record.body.get("active", True)
        for due in choice.missed if is_active else []:
            _miss(sql, new_fire(clock, record, due, now), record)
        if choice.runs:
            _fire(sql, new_fire(clock, record, choice.runs, now), record, clock)
        clock.after = choice.newest.at if choice.newest else now
        schedule_clocks.wind(sql, clock, record)


def new_fire(clock: ScheduleClock, record: Record, due: Due, now: int) -> Fire:
    """A fire for a due time, not yet stored."""
    return Fire(
        schedule=record.guid,
        generation=clock.generation,
        nominal=due.nominal,
        due_at=due.at,
        window_end=due.at + window_of(record.body),
        created=now,
    )


def _fire(sql: Connection, fire: Fire, record: Record, clock: ScheduleClock) -> None:
    rules = rules_of(fire, record, SqlCatalogue(sql))
    if not record.body.get("active", True):
        fire.state, fire.reason = fires.SKIPPED, f"the schedule {record.name} is not active"
    elif not rules:
        fire.state, fire.reason = fires.SKIPPED, f"the schedule {record.name} has no rules"
    if fire.state == fires.SKIPPED:
        fire.ended, rules = fire.created, []
    if fires.add(sql, fire, rules) and fire.state == fires.PLANNING:
        clock.last_run = fire.created
        run_events.started(sql, fire, record, rules)
        log.info("schedule fires", extra=members(schedule=record.name, due=fire.nominal))


def _miss(sql: Connection, fire: Fire, record: Record) -> None:
    fire.state, fire.ended = fires.MISSED, fire.created
    fire.reason = (
        "no server fired the schedule in time: a later time was due, or the start window had closed"
    )
    if fires.add(sql, fire) and record.kind == schedule_clocks.SCHEDULE:
        tell(sql, EventKind.FIRE_MISSED, (fire, record, fire.created), fire.reason)


def run_now(sql: Connection, record: Record, now: int) -> Fire:
    """An immediate fire of a schedule, besides its due times."""
    clock = schedule_clocks.of(sql, record)
    name = new_guid()
    fire = new_fire(clock, record, Due(now, f"run {name}"), now)
    fire.manual = True
    _fire(sql, fire, record, clock)
    schedule_clocks.write(sql, clock)
    return fire


def plan_piece(app: App) -> int | None:
    """Plan the next machines of the oldest fire; returns the number of workflows, None without a
    fire.
    """
    with app.store.write() as sql:
        fire = fires.take(sql, fires.PLANNING)
        if fire is None:
            return None
        now = app.clock.now_ms()
        record = schedule_clocks.record_of(sql, fire.schedule)
        rules = fires.rules(sql, fire.guid)
        before = fire.planned
        if now >= fire.window_end:
            _close(sql, fire, record, now)
        elif fire.at_rule < len(rules):
            context = Context(now, None, nodes.windows(sql))
            wanted = FirePlanning(sql, context, fire, record, rules[fire.at_rule])
            _plan_alone(app, wanted)
        if fire.state == fires.PLANNING and fire.at_rule >= len(rules):
            fire.state = fires.RUNNING
        fires.write(sql, fire)
        if fire.state == fires.RUNNING:
            for run in {rule.run for rule in rules}:
                app.task_changes(sql).judge_run(run)
        return fire.planned - before


def _plan_alone(app: App, wanted: FirePlanning) -> None:
    """Plan a piece of a rule; a rule that cannot be planned must not delay other fires."""
    fire, before = wanted.fire, msgspec.structs.asdict(wanted.fire)
    plan = _plan if wanted.schedule.kind == schedule_clocks.SCHEDULE else _plan_system
    try:
        with app.store.savepoint(wanted.sql):
            plan(wanted)
    except Unavailable:
        raise
    except Exception:
        log.exception("rule %s of schedule %s cannot be planned", wanted.rule.rule, fire.schedule)
        for name, value in before.items():
            setattr(fire, name, value)
        _skip_rule(wanted, "an internal error of Haulback; the server's log has the details")
        fire.at_rule, fire.at_entity = fire.at_rule + 1, ""


def _close(sql: Connection, fire: Fire, record: Record, now: int) -> None:
    """End the planning of a fire whose window closed while no server ran."""
    fire.reason = (
        f"the start window closed after {fire.planned} workflows of the run had been planned"
    )
    fire.state = fires.RUNNING if fire.planned else fires.MISSED
    fire.ended = None if fire.planned else now
    tell(sql, EventKind.FIRE_MISSED, (fire, record, now), fire.reason)


def _plan(wanted: FirePlanning) -> None:
    """Plan a piece of a rule, and advance the cursor of the fire by this piece."""
    fire, how = wanted.fire, served(wanted.schedule)
    fire_members.hold_rule(wanted.sql, wanted.rule.rule)
    if reason := _inert(wanted):
        _skip_rule(wanted, reason)
    elif not how.setting:
        _plan_whole(wanted)
    else:
        policy = wanted.rule.policy
        machines = fire_members.piece(wanted.sql, how.setting, policy, fire.at_entity, PIECE)
        _plan_machines(wanted, machines)
        if len(machines) == PIECE:
            fire.at_entity = machines[-1].guid
            return
    fire.at_rule, fire.at_entity = fire.at_rule + 1, ""


def _plan_system(wanted: FirePlanning) -> None:
    """Plan the work of a system schedule; proofs are planned a few at a time, from tick to tick."""
    if task_of(wanted.schedule) is SystemTask.PROVE:
        wanted.fire.state = fires.PROVING
    else:
        _enter(wanted, system_plans.plan(wanted))
    wanted.fire.at_rule += 1


def _inert(wanted: FirePlanning) -> str | None:
    """The reason why a rule has no plan at this time."""
    how, known = served(wanted.schedule), wanted.known
    try:
        rule = known.records.get(how.rule, wanted.rule.rule)
        above = [known.records.get(how.policy, rule.parent)] if how.policy else []
    except NotFound:
        return "the rule was removed"
    for record in (rule, *above):
        if record.body.get("active") is False:
            return f"{record.name} is not active"
    return None


def _skip_rule(wanted: FirePlanning, reason: str) -> None:
    rule = wanted.rule.rule
    fires.skip(wanted.sql, [Skip(fire=wanted.fire.guid, rule=rule, name="", reason=reason)])
    wanted.fire.skipped += 1


def _plan_whole(wanted: FirePlanning) -> None:
    """Plan all machines of a rule that names its machines, or none of them."""
    if task := fire_members.pending_of(wanted.sql, wanted.schedule.guid, "RESTORE"):
        reason = f"the task {task} of an earlier fire has not ended"
        _skip_rule(wanted, reason)
        tell(wanted.sql, EventKind.FIRE_SKIPPED, wanted.about, reason)
        return
    try:
        plan = served(wanted.schedule).plan(wanted, [])
    except HaulbackError as error:
        _skip_rule(wanted, error.message)
        return
    _enter(wanted, plan)


def _plan_machines(wanted: FirePlanning, machines: Sequence[FireMember]) -> None:
    """Plan for the machines of a piece that can have a plan; record the other machines."""
    policy = wanted.known.records.get(served(wanted.schedule).policy, wanted.rule.policy)
    busy = fire_members.pending(
        wanted.sql, wanted.rule.rule, [machine.guid for machine in machines]
    )
    left_out = {machine.guid: _unfit(machine, policy, busy) for machine in machines}
    fit = [machine for machine in machines if not left_out[machine.guid]]
    skips = [(machine, str(left_out[machine.guid])) for machine in machines if machine not in fit]
    try:
        plan = served(wanted.schedule).plan(wanted, fit) if fit else Plan()
    except HaulbackError:
        plan, refused = one_by_one(wanted, fit)
        skips += [(machine, error.message) for machine, error in refused]
    _enter(wanted, plan)
    _leave_out(wanted, skips)
    if busy:
        names = ", ".join(machine.name for machine in machines if machine.guid in busy)[:400]
        reason = f"an earlier plan of the rule has not ended for {names}"
        tell(wanted.sql, EventKind.FIRE_SKIPPED, wanted.about, reason)


def _unfit(machine: FireMember, policy: Record, busy: dict[str, str]) -> str | None:
    """The reason why a machine of a policy gets no plan."""
    if not machine.present:
        return f"{machine.name} is no longer on its hypervisor"
    if policy.project not in (None, machine.project):
        return f"{machine.name} belongs to another project than the policy {policy.name}"
    if machine.guid in busy:
        return f"the task {busy[machine.guid]} of the rule has not ended"
    return None


def _leave_out(wanted: FirePlanning, skips: Sequence[tuple[FireMember, str]]) -> None:
    rule, fire = wanted.rule.rule, wanted.fire
    rows = [
        Skip(fire=fire.guid, rule=rule, entity=machine.guid, name=machine.name, reason=reason)
        for machine, reason in skips
    ]
    fires.skip(wanted.sql, rows)
    fire.skipped += len(rows)


def _enter(wanted: FirePlanning, plan: Plan) -> None:
    enter(wanted, plan)
    wanted.fire.planned += len(plan.heads)


def end_finished(app: App) -> int:
    """End the fires whose tasks have all ended; add an event for the run of each policy."""
    with app.store.read() as sql:
        if not fires.finished(sql, 1):
            return 0
    with app.store.write() as sql:
        now, ended = app.clock.now_ms(), fires.finished(sql, _ENDED)
        for fire in ended:
            fire.state, fire.ended = fires.DONE, now
            fire.last_start = fires.last_start(sql, fire.guid)
            fires.write(sql, fire)
            tell_runs(sql, fire, now)
    return len(ended)
