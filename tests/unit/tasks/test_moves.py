"""Users cancel and restart tasks; every other change of state belongs to the node."""

from itertools import product

import pytest

from haulback.contract.task_states import State
from haulback.errors import Conflict, Forbidden
from haulback.tasks.states import check_move

ALLOWED = {
    (State.QUEUED, State.CANCELLED),
    (State.QUEUED, State.QUEUED),
    (State.RUNNING, State.CANCELLED),
}
BY_NODES = {State.RUNNING, State.FINISHED, State.FAILED}


@pytest.mark.parametrize(("now", "to"), list(product(State, State)))
def test_a_user_makes_the_allowed_moves_only(now: State, to: State):
    if (now, to) in ALLOWED:
        check_move(now, to)
    elif to in BY_NODES:
        with pytest.raises(Forbidden) as told:
            check_move(now, to)
        assert (
            told.value.message == f"only the node that runs the task may set the state {to.value}"
        )
    else:
        with pytest.raises(Conflict) as told:
            check_move(now, to)
        assert told.value.details == {"state": now.value}


def test_a_refused_move_says_whether_the_state_is_final():
    final = r"^the STORE 7 is FAILED, which is a final state; name a task that waits or runs$"
    with pytest.raises(Conflict, match=final):
        check_move(State.FAILED, State.CANCELLED, "the STORE 7")
    with pytest.raises(Conflict, match=r"^the STORE 7 cannot go from RUNNING to QUEUED$"):
        check_move(State.RUNNING, State.QUEUED, "the STORE 7")
