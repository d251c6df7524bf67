"""A task only moves forward, and only callers with the right may move it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.task_states import FINAL, State
from haulback.errors import Conflict, Forbidden
from haulback.tasks.record import Plan, Task
from haulback.tasks.scheduling import (
    HEAD_START_MS,
    back_off,
    entity_slot,
    most,
    node_slot,
    rank,
    source_slot,
)
from haulback.tasks.states import check_move

STATES = st.sampled_from(State)


@given(STATES, STATES)
def test_a_final_state_never_changes(now, to):
    if now in FINAL:
        with pytest.raises((Conflict, Forbidden)):
            check_move(now, to)


@pytest.mark.parametrize("to", [State.RUNNING, State.FINISHED, State.FAILED])
def test_a_user_may_not_do_a_nodes_part(to):
    with pytest.raises(Forbidden):
        check_move(State.QUEUED, to)


def test_a_user_may_cancel_what_is_not_final():
    check_move(State.QUEUED, State.CANCELLED)
    check_move(State.RUNNING, State.CANCELLED)


def test_priority_goes_first_but_waiting_wins_in_the_end():
    assert rank(1000, 60) < rank(1000, 50)
    assert rank(0, 0) < rank(100 * HEAD_START_MS + 1, 100)


def test_an_export_needs_a_place_on_the_node_at_the_source_and_at_the_entity():
    keys = [node_slot("n", "export"), source_slot("export", "hv"), entity_slot("e")]
    assert [most(str(key), {"export": 7}) for key in keys] == [7, 2, 1]
    assert source_slot("store", "hv") is None


@given(st.integers(0, 30), st.integers(0, 30), st.randoms())
def test_retries_wait_longer_each_time_and_never_beyond_the_bound(left, tries, random):
    assert 0 < back_off(left, tries, random) <= 900_000 * 1.25


def test_creators_answer_the_heads_of_a_plan():
    export = Task(type="EXPORT", lane="export")
    plan = Plan([export, Task(type="STORE", lane="store", follows=export.guid)])
    assert plan.heads == [export]
