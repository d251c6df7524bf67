"""Effects of the end of a task on its plan, computed before the first write."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from haulback.contract.task_states import PLANNED, State
from haulback.ids import new_guid
from haulback.tasks.record import Task
from haulback.tasks.scheduling import back_off, rank
from haulback.wire import JsonObject, Named

CANCEL_BY = "cancelBy"  # parameter: the time (epoch ms) up to which a node may still clean up
Values = JsonObject


class Ending(NamedTuple):
    """A task that is about to end, and its followers, direct followers first.

    `stages` is true if the followers need the node that ran the task.  `hidden` is true if the task
    is hidden from lists.
    """

    task: Task
    state: State
    info: str | None
    below: Sequence[Task] = ()
    stages: bool = False
    hidden: bool = False


class Outcome(NamedTuple):
    """The writes of an ending: changed members by task, new tasks, tasks to settle, limits to
    release.
    """

    changes: list[tuple[Task, Values]]
    new: list[Task]
    settled: Sequence[tuple[Task, State]]
    freed: list[str]


def ended(task: Task, state: State, info: str | None, now: int) -> Values:
    """Members of a task that ends at the time `now` (epoch ms)."""
    return {
        "state": state.value,
        "finished": now,
        "status_info": info,
        "progress": 100.0 if state is State.FINISHED else task.progress,
        "ready": False,
        "lease_until": None,
        "cancel_wanted": False,
        "slots": [],
    }


def over(ending: Ending, now: int) -> Outcome:
    """End a task for good: a finished task queues its followers, any other end cancels them."""
    task, state = ending.task, ending.state
    values = ended(task, state, ending.info, now)
    own = (task, values | {"archived": True} if ending.hidden else values)
    if state is State.FINISHED:
        kept = _handed_on(task, ending.below)
        queued = [
            (follower, _queued(follower, ending, kept if number == 0 else [], now))
            for number, follower in enumerate(ending.below)
        ]
        freed = [key for key in task.slots if key not in kept]
        return Outcome([own, *queued], [], [(task, state)], freed)
    dropped = [(follower, _dropped(follower, ending, now)) for follower in ending.below]
    settled = [(task, state), *((follower, State.CANCELLED) for follower in ending.below)]
    freed = [*task.slots, *(key for follower in ending.below for key in follower.slots)]
    return Outcome([own, *dropped], [], settled, freed)


def retried(ending: Ending, now: int, chance: Random, lasting: JsonObject) -> Outcome:
    """End a failed task, and give its followers to a copy that starts later.

    `lasting` are results that stay true: the copy begins with them.
    """
    task = ending.task
    start = now + back_off(task.retry_count, task.tries, chance)
    inherited = inherited_slots(task)
    copy = _copy(
        task,
        now,
        retry_count=task.retry_count - 1,
        window_start=start,
        window_end=start + task.window_length,
        asked_start=None,
        rank=rank(start, task.priority),
        slots=inherited,
        results=lasting,
    )
    freed = [key for key in task.slots if key not in inherited]
    return Outcome(_replaced(ending, copy, now), [copy], [], freed)


def repeated(ending: Ending, first: Task, backup: Named, now: int) -> Outcome:
    """End a failed task, and restart its plan with copies of its first task and of itself."""
    task = ending.task
    head = _copy(
        first,
        now,
        rank=rank(now, first.priority),
        refs={**first.refs, "backup": backup},
        window_start=now,
        window_end=now + first.window_length,
        asked_start=None,
        ready=True,
    )
    params = {k: v for k, v in task.params.items() if k not in ("staging", "before")}
    refs = {**task.refs, "backup": backup}
    copy = _copy(task, now, state=PLANNED, follows=head.guid, params=params, refs=refs)
    copy.params["repeated"] = True
    return Outcome(_replaced(ending, copy, now), [head, copy], [], list(task.slots))


def requeued(task: Task, why: str, now: int) -> Outcome:
    """Queue a task for another attempt, in an open start window."""
    inherited = inherited_slots(task)
    values: Values = {
        "state": State.QUEUED.value,
        "status_info": f"{why}; the task waits for another attempt",
        "ready": True,
        "window_start": min(task.window_start, now),
        "window_end": max(task.window_end, now + task.window_length),
        "session": None,
        "node": None,
        "lease_until": None,
        "slots": inherited,
        "params": _resumed(task),
    }
    freed = [key for key in task.slots if key not in inherited]
    return Outcome([(task, values)], [], [], freed)


def _resumed(task: Task) -> Values:
    """Parameters of the next attempt, which continues from the cursor that this attempt
    reported.
    """
    cursor = task.results.get("cursor")
    return {**task.params, "cursor": cursor} if isinstance(cursor, str) else task.params


def inherited_slots(task: Task) -> list[str]:
    """Limits that an earlier task of the plan occupied for the whole plan."""
    return [key for key in task.slots if key.startswith("entity:") and key != task.entity_slot]


def _replaced(ending: Ending, copy: Task, now: int) -> list[tuple[Task, Values]]:
    """End a task that does not count in its run, because its copy counts; its followers keep
    waiting.
    """
    values = ended(ending.task, ending.state, ending.info, now) | {"run": ""}
    direct = [task for task in ending.below if task.follows == ending.task.guid]
    return [(ending.task, values), *((task, {"follows": copy.guid}) for task in direct)]


def _handed_on(task: Task, followers: Sequence[Task]) -> list[str]:
    """Limits that the first follower inherits."""
    goes_on = followers and followers[0].lane not in ("inventory", "copy")
    return [key for key in task.slots if key.startswith("entity:")] if goes_on else []


def _queued(follower: Task, ending: Ending, slots: list[str], now: int) -> Values:
    """Members of a follower that becomes ready to start."""
    # Times that were computed at its planning may be in the future of a clock that was set back.
    task, start = ending.task, max(now, follower.asked_start or 0)
    staging = {"staging": task.attempt_name} if ending.stages else {}
    return {
        "state": State.QUEUED.value,
        "window_start": start,
        "window_end": start + follower.window_length,
        "rank": rank(start, follower.priority),
        "ready": start <= now,
        "pinned_node": (task.node if ending.stages else None) or follower.pinned_node,
        "params": {**follower.params, **staging, "before": task.results},
        "slots": slots,
    }


def _dropped(follower: Task, ending: Ending, now: int) -> Values:
    """Members of a follower that can never start: CANCELLED, and removed from the lists."""
    is_direct = follower.follows == ending.task.guid
    how = ending.state if is_direct else State.CANCELLED
    info = f"task {follower.follows} ended {how.value}"
    return ended(follower, State.CANCELLED, info, now) | {"archived": True}


def _copy(task: Task, now: int, **values: object) -> Task:
    """A copy of a task in the state before any node has taken it."""
    fresh: Values = {
        "guid": new_guid(),
        "state": State.QUEUED.value,
        "created": now,
        "modified": now,
        "started": None,
        "finished": None,
        "progress": 0.0,
        "status_info": None,
        "results": {},
        "attempt": 0,
        "node": None,
        "session": None,
        "lease_until": None,
        "ready": False,
        "slots": [],
        "cancel_wanted": False,
        "params": {k: v for k, v in task.params.items() if k != CANCEL_BY},
    }
    return replace(task, **(fresh | values))
