"""The end of a task gives a value to every member of the task, its followers and its copies."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from msgspec.structs import asdict

from haulback.contract.task_states import PLANNED, State
from haulback.tasks import endings
from haulback.tasks.endings import Ending, Outcome
from haulback.tasks.record import Task
from haulback.wire import Named

NOW = 1_700_000_000_000
HEAD_START = 600_000 * 50  # the usual priority in queue time
SLOTS = ["entity:a", "node:n:export", "source:s:export"]
DB = Named("e-guid", "db")


class Middle(Random):
    """A random source without jitter."""

    def random(self) -> float:
        return 0.5


def running(**more: Any) -> Task:
    """A running task with a distinct value in each member that an end changes."""
    members: dict[str, Any] = {
        "guid": "t",
        "type": "EXPORT",
        "lane": "export",
        "state": "RUNNING",
        "created": 1,
        "modified": 2,
        "started": 3,
        "finished": 4,
        "progress": 40.0,
        "status_info": "reads",
        "window_start": NOW - 10,
        "window_end": NOW + 10,
        "window_length": 7_000,
        "asked_start": 5,
        "retry_count": 2,
        "tries": 3,
        "refs": {"protectedEntity": DB, "backup": Named("b-guid", "db")},
        "params": {"level": 1, "cancelBy": 6, "staging": "old", "before": {"size": 1}},
        "results": {"size": 9},
        "workflow": "w",
        "run": "run",
        "entity_slot": "entity:a",
        "slots": SLOTS,
        "attempt": 2,
        "node": "n",
        "session": "s",
        "lease_until": 8,
        "ready": True,
        "cancel_wanted": True,
    }
    return Task(**members | more)


def follower(guid: str = "f", **more: Any) -> Task:
    members: dict[str, Any] = {"guid": guid, "type": "STORE", "lane": "store", "follows": "t"}
    members |= {"state": PLANNED, "window_length": 7_000, "params": {"level": 2}}
    return Task(**members | more)


def written(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {task.guid: values for task, values in outcome.changes}


def ended(state: str, info: str | None, **more: Any) -> dict[str, Any]:
    members: dict[str, Any] = {"state": state, "finished": NOW, "status_info": info}
    members |= {"progress": 40.0, "ready": False, "lease_until": None}
    return members | {"cancel_wanted": False, "slots": []} | more


def queued(**more: Any) -> dict[str, Any]:
    members: dict[str, Any] = {"state": "QUEUED", "window_start": NOW, "window_end": NOW + 7_000}
    members |= {"rank": NOW - HEAD_START, "ready": True, "pinned_node": "", "slots": []}
    return members | {"params": {"level": 2, "before": {"size": 9}}} | more


def fresh(copied: Task, **more: Any) -> dict[str, Any]:
    """All members of a copy that no node has taken yet."""
    members: dict[str, Any] = asdict(copied) | {
        "state": "QUEUED",
        "created": NOW,
        "modified": NOW,
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
    }
    return members | more


def test_an_ending_is_of_a_shown_task_whose_followers_need_no_node_unless_it_says_so():
    assert Ending(running(), State.FAILED, None) == (
        running(),
        State.FAILED,
        None,
        (),
        False,
        False,
    )


def test_a_finished_task_is_complete_and_frees_all_that_it_held():
    task = running()
    outcome = endings.over(Ending(task, State.FINISHED, "read 1 GB"), NOW)
    assert written(outcome) == {"t": ended("FINISHED", "read 1 GB", progress=100.0)}
    assert outcome.freed == SLOTS
    assert (outcome.new, list(outcome.settled)) == ([], [(task, State.FINISHED)])


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_a_task_that_did_not_finish_keeps_its_progress(state: State):
    outcome = endings.over(Ending(running(), state, "why", hidden=True), NOW)
    assert written(outcome) == {"t": ended(state.value, "why", archived=True)}


def test_a_follower_of_a_finished_task_may_start_with_its_results_and_its_entity():
    ending = Ending(running(), State.FINISHED, None, [follower(), follower("g")])
    outcome = endings.over(ending, NOW)
    assert written(outcome) == {
        "t": ended("FINISHED", None, progress=100.0),
        "f": queued(slots=["entity:a"]),
        "g": queued(),
    }
    assert outcome.freed == SLOTS[1:]
    assert [(task.guid, state) for task, state in outcome.settled] == [("t", State.FINISHED)]


@pytest.mark.parametrize("lane", ["inventory", "copy"])
def test_a_scan_and_a_copy_inherit_no_limit(lane: str):
    ending = Ending(running(), State.FINISHED, None, [follower(lane=lane)])
    outcome = endings.over(ending, NOW)
    assert written(outcome)["f"] == queued()
    assert outcome.freed == SLOTS


def test_a_follower_that_needs_the_data_of_its_predecessor_is_bound_to_the_same_node():
    below = [follower(pinned_node="m")]
    outcome = endings.over(Ending(running(), State.FINISHED, None, below, stages=True), NOW)
    params = {"level": 2, "staging": "t-2", "before": {"size": 9}}
    assert written(outcome)["f"] == queued(slots=["entity:a"], pinned_node="n", params=params)
    outcome = endings.over(Ending(running(), State.FINISHED, None, below), NOW)
    assert written(outcome)["f"] == queued(slots=["entity:a"], pinned_node="m")


@pytest.mark.parametrize(("asked", "waits"), [(NOW + 500, 500), (NOW, 0), (NOW - 500, 0)])
def test_a_follower_starts_no_earlier_than_it_was_asked_to(asked: int, waits: int):
    below = [follower(asked_start=asked)]
    outcome = endings.over(Ending(running(), State.FINISHED, None, below), NOW)
    start = NOW + waits
    times: dict[str, Any] = {"window_start": start, "window_end": start + 7_000}
    times |= {"rank": start - HEAD_START, "ready": waits == 0}
    assert written(outcome)["f"] == queued(slots=["entity:a"], **times)


def test_followers_of_a_failed_task_are_cancelled_off_the_lists_and_say_why():
    held = ["entity:f"]
    below = [follower(slots=held, progress=1.5), follower("g", follows="f")]
    outcome = endings.over(Ending(running(), State.FAILED, "why", below), NOW)
    assert written(outcome) == {
        "t": ended("FAILED", "why"),
        "f": ended("CANCELLED", "task t ended FAILED", archived=True, progress=1.5),
        "g": ended("CANCELLED", "task f ended CANCELLED", archived=True, progress=0.0),
    }
    assert outcome.freed == [*SLOTS, *held]
    assert [(task.guid, state.value) for task, state in outcome.settled] == [
        ("t", "FAILED"),
        ("f", "CANCELLED"),
        ("g", "CANCELLED"),
    ]


def test_a_retry_is_a_fresh_copy_that_waits_and_holds_what_the_plan_held():
    slots = ["entity:plan", *SLOTS]
    below = [follower(), follower("g", follows="f")]
    ending = Ending(running(slots=slots), State.FAILED, "why", below)
    outcome = endings.retried(ending, NOW, Middle(), {})
    [copy] = outcome.new
    start = NOW + 10_000  # the second wait
    assert asdict(copy) == fresh(
        running(),
        guid=copy.guid,
        params={"level": 1, "staging": "old", "before": {"size": 1}},
        retry_count=1,
        window_start=start,
        window_end=start + 7_000,
        asked_start=None,
        rank=start - HEAD_START,
        slots=["entity:plan"],
    )
    assert copy.guid != "t"
    assert written(outcome) == {
        "t": ended("FAILED", "why", run=""),
        "f": {"follows": copy.guid},
    }
    assert (list(outcome.settled), outcome.freed) == ([], SLOTS)


def test_a_plan_that_starts_again_has_a_new_backup_and_drops_what_the_first_try_staged():
    first = running(guid="x", type="EXPORT", follows=None)
    store = running(type="STORE", follows="x", params={"level": 1, "staging": "a", "before": 1})
    backup = Named("new-guid", "db")
    outcome = endings.repeated(Ending(store, State.FAILED, "why", [follower()]), first, backup, NOW)
    [head, copy] = outcome.new
    refs = {"protectedEntity": DB, "backup": backup}
    assert asdict(head) == fresh(
        first,
        guid=head.guid,
        params={"level": 1, "staging": "old", "before": {"size": 1}},
        rank=NOW - HEAD_START,
        refs=refs,
        window_start=NOW,
        window_end=NOW + 7_000,
        asked_start=None,
        ready=True,
    )
    again = {"guid": copy.guid, "state": PLANNED, "follows": head.guid, "refs": refs}
    assert asdict(copy) == fresh(store, params={"level": 1, "repeated": True}, **again)
    assert len({head.guid, copy.guid, "x", "t"}) == 4
    assert written(outcome) == {"t": ended("FAILED", "why", run=""), "f": {"follows": copy.guid}}
    assert (list(outcome.settled), outcome.freed) == ([], SLOTS)


def test_a_task_that_is_queued_again_waits_in_an_open_window_and_names_the_reason():
    task = running(slots=["entity:plan", *SLOTS])
    outcome = endings.requeued(task, "its node restarted", NOW)
    assert written(outcome) == {
        "t": {
            "state": "QUEUED",
            "status_info": "its node restarted; the task waits for another attempt",
            "ready": True,
            "window_start": NOW - 10,
            "window_end": NOW + 7_000,
            "session": None,
            "node": None,
            "lease_until": None,
            "slots": ["entity:plan"],
            "params": task.params,
        }
    }
    assert (outcome.new, list(outcome.settled), outcome.freed) == ([], [], SLOTS)


def test_a_window_that_lies_ahead_opens_for_a_task_that_is_queued_again_and_keeps_its_end():
    task = running(window_start=NOW + 10, window_end=NOW + 9_000)
    [values] = written(endings.requeued(task, "why", NOW)).values()
    assert (values["window_start"], values["window_end"]) == (NOW, NOW + 9_000)


@pytest.mark.parametrize(("cursor", "known"), [("block 7", {"cursor": "block 7"}), (7, {})])
def test_the_next_attempt_goes_on_from_the_cursor_that_the_last_reported(
    cursor: Any, known: dict[str, str]
):
    task = running(results={"cursor": cursor})
    [values] = written(endings.requeued(task, "why", NOW)).values()
    assert values["params"] == task.params | known
