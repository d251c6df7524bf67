"""Ends of workflows, found when the ends of their tasks are numbered.

The last two tasks of a workflow may end in two simultaneous transactions, neither of which sees the
other: the numbering runs after both commits, so that its later run sees all tasks ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from haulback.contract.events import EventKind, EventRecord
from haulback.server.store import events, workflow_ends
from haulback.server.store.engine import Connection
from haulback.tasks import end_events

_TASK = EventKind.TASK_ENDED.value


def record(sql: Connection, numbered: Sequence[EventRecord], now: int) -> list[EventRecord]:
    """Add an event for each workflow whose last task ended with these events.

    The new events get their numbers at once, unless ends of other tasks still have none: the end of
    a workflow comes after the ends of its tasks.
    """
    ended = [event for event in numbered if event.kind.name == _TASK]
    touched = list(dict.fromkeys(str(event.data.get("workflow")) for event in ended))
    whole = workflow_ends.ended_workflows(sql, touched) if touched else []
    ends = [end_events.of_workflow(plan[0], plan, now) for plan in whole]
    if not ends or events.has_new(sql):
        events.add_many(sql, ends)
        return []
    return events.add_numbered(sql, ends, numbered[-1].number)
