"""Events about fires and about the runs of policies."""

from __future__ import annotations

from haulback.contract.events import Event, EventKind
from haulback.errors import NotFound
from haulback.inventory.records import Record
from haulback.server.services import run_events
from haulback.server.services.fire_plans import served
from haulback.server.store import events, fires
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.fires import Fire, FireRule


def tell(sql: Connection, kind: EventKind, about: tuple[Fire, Record, int], reason: str) -> None:
    """Add an event about a fire of a schedule, at a time (epoch ms)."""
    fire, record, now = about
    event = Event(
        kind=kind,
        time=now,
        subject=record.guid,
        subject_name=record.name,
        project=record.project,
        text=f"{record.name}, {fire.occasion}: {reason}",
        data={"fire": fire.guid, "due": fire.due_at, "nominal": fire.nominal},
    )
    events.add(sql, event)


def tell_runs(sql: Connection, fire: Fire, now: int) -> None:
    """Add an event for each policy of a fire that had tasks."""
    runs = {rule.policy: rule for rule in fires.rules(sql, fire.guid) if rule.policy}
    for rule in runs.values():
        if states := fires.states(sql, rule.run):
            _tell_run(sql, fire, rule, states, now)


def _tell_run(
    sql: Connection, fire: Fire, rule: FireRule, states: dict[str, int], now: int
) -> None:
    known = SqlCatalogue(sql)
    schedule = known.records.get("schedule", fire.schedule)
    try:
        policy = known.records.get(served(schedule).policy, rule.policy)
    except NotFound:
        return  # the policy was removed meanwhile
    ends = ", ".join(f"{count} {state.lower()}" for state, count in sorted(states.items()))
    event = Event(
        kind=EventKind.RUN_ENDED,
        time=now,
        subject=policy.guid,
        subject_name=policy.name,
        project=policy.project,
        policy=policy.guid,
        text=f"{policy.name}, {fire.occasion} by {schedule.name}: tasks {ends}",
        data={
            "fire": fire.guid,
            "schedule": schedule.guid,
            "run": rule.run,
            "states": states,
            "skipped": fire.skipped,
            "due": fire.due_at,
            "first": run_events.is_first(sql, fire, rule),
        },
    )
    events.add(sql, event)
