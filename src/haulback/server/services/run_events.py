"""Events of the scheduled runs of policies: their starts, and the first run of each policy."""

from __future__ import annotations

from collections.abc import Sequence

from haulback.contract.events import Event, EventKind
from haulback.errors import NotFound
from haulback.inventory.records import Record
from haulback.server.services.fire_plans import served
from haulback.server.store import events, outbox
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.fires import Fire, FireRule


def started(sql: Connection, fire: Fire, schedule: Record, rules: Sequence[FireRule]) -> None:
    """Add an event for each policy whose run a fire starts."""
    runs = {rule.policy: rule for rule in rules if rule.policy}
    for rule in runs.values():
        try:
            policy = SqlCatalogue(sql).records.get(served(schedule).policy, rule.policy)
        except NotFound:
            continue
        events.add(sql, _event(fire, schedule, policy, rule.run))


def _event(fire: Fire, schedule: Record, policy: Record, run: str) -> Event:
    return Event(
        kind=EventKind.RUN_STARTED,
        time=fire.created,
        subject=policy.guid,
        subject_name=policy.name,
        project=policy.project,
        policy=policy.guid,
        text=f"{policy.name}, {fire.occasion} by {schedule.name}: the run starts",
        data={"fire": fire.guid, "schedule": schedule.guid, "run": run, "due": fire.due_at},
    )


def is_first(sql: Connection, fire: Fire, rule: FireRule) -> bool:
    """Whether a run is the first run of its policy that a due time started."""
    return not fire.manual and outbox.is_first_run(sql, rule.policy, rule.run)
