"""The end of a task changes every task of its plan once, and loses no limit."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.task_states import FINAL, PLANNED, State
from haulback.tasks import endings
from haulback.tasks.endings import Ending
from haulback.tasks.record import Task

NOW = 1_700_000_000_000
KEYS = st.lists(st.sampled_from(["entity:a", "entity:b", "node:n:export", "source:s:export"]))


@st.composite
def running(draw: st.DrawFn) -> tuple[Task, list[Task]]:
    """A running task with limits, and a tree of tasks that follow it, level by level."""
    own = draw(st.sampled_from([None, "entity:a", "entity:b"]))
    slots = draw(KEYS.map(lambda keys: sorted(set(keys))))
    task = Task(type="EXPORT", lane="export", state="RUNNING", slots=slots, entity_slot=own)
    task.retry_count = task.tries = draw(st.integers(1, 5))
    below: list[Task] = []
    for place in draw(st.lists(st.integers(0, 3), max_size=5)):
        parent = below[place % len(below)] if below and place else task
        lane = draw(st.sampled_from(["store", "inventory"]))
        below.append(
            Task(type="STORE", lane=lane, state=PLANNED, follows=parent.guid, guid=f"t{len(below)}")
        )
    return task, below


@given(running(), st.sampled_from(sorted(FINAL, key=lambda state: state.value)), st.booleans())
def test_the_end_of_a_task_writes_each_row_once(
    plan: tuple[Task, list[Task]], state: State, hidden: bool
):
    task, below = plan
    outcome = endings.over(Ending(task, state, "why", below, hidden=hidden), NOW)
    assert Counter(changed.guid for changed, _ in outcome.changes) == Counter(
        item.guid for item in (task, *below)
    )
    values = {changed.guid: new for changed, new in outcome.changes}
    assert values[task.guid].get("archived", False) is hidden
    if state is State.FINISHED:
        assert {values[item.guid]["state"] for item in below} <= {"QUEUED"}
    else:
        assert {(values[item.guid]["state"], values[item.guid]["archived"]) for item in below} <= {
            ("CANCELLED", True)
        }
        assert len(outcome.settled) == 1 + len(below)


@given(running(), st.sampled_from([State.FINISHED, State.FAILED, State.CANCELLED]))
def test_every_limit_of_an_ended_task_is_released_or_held_by_one_other_task(
    plan: tuple[Task, list[Task]], state: State
):
    task, below = plan
    direct = [item for item in below if item.follows == task.guid]
    ending = Ending(task, state, None, direct if state is State.FINISHED else below)
    for outcome in (endings.over(ending, NOW), endings.retried(ending, NOW, Random(0), {})):
        held = [
            key
            for change, new in outcome.changes
            if change is not task
            for key in new.get("slots", [])
        ]
        held += [key for item in outcome.new for key in item.slots]
        assert Counter(held + outcome.freed) == Counter(task.slots)


@given(running())
def test_a_retry_counts_in_the_run_once_and_keeps_its_followers(plan: tuple[Task, list[Task]]):
    task, below = plan
    task.run = "run"
    outcome = endings.retried(Ending(task, State.FAILED, "why", below), NOW, Random(0), {})
    [copy] = outcome.new
    values = {changed.guid: new for changed, new in outcome.changes}
    assert (values[task.guid]["run"], copy.run) == ("", "run")
    followers = [item.guid for item in below if item.follows == task.guid]
    assert {guid for guid, new in values.items() if new.get("follows") == copy.guid} == set(
        followers
    )
    assert copy.window_start > NOW
    assert copy.retry_count == task.retry_count - 1


@given(running())
def test_a_task_that_is_queued_again_frees_what_it_took_itself(plan: tuple[Task, list[Task]]):
    task, _ = plan
    outcome = endings.requeued(task, "its node restarted", NOW)
    [(changed, values)] = outcome.changes
    assert changed is task
    assert values["state"] == "QUEUED"
    assert Counter([*values["slots"], *outcome.freed]) == Counter(task.slots)
    assert all(key.startswith("entity:") and key != task.entity_slot for key in values["slots"])
