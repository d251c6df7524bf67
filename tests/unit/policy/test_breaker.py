"""A breaker opens after three failures, waits longer after each failed test, and closes again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from haulback.policy.breaker import (
    FAILURES,
    FIRST_PAUSE_MS,
    LONGEST_PAUSE_MS,
    WITHIN_MS,
    Breaker,
    failed,
    is_due,
)
from haulback.policy.breaker import (
    tested as after_test,
)

NOW = 1_800_000_000_000


def opened(now: int = NOW) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker = failed(breaker, now, "no answer", is_test=False)
    return breaker


def test_the_third_failure_within_a_quarter_of_an_hour_opens_a_breaker():
    breaker = failed(Breaker(), NOW, "a", is_test=False)
    breaker = failed(breaker, NOW + 1, "b", is_test=False)
    assert not breaker.is_open
    breaker = failed(breaker, NOW + WITHIN_MS, "c", is_test=False)
    assert (breaker.opened, breaker.reason) == (NOW + WITHIN_MS, "c")
    assert breaker.next_try == NOW + WITHIN_MS + FIRST_PAUSE_MS


def test_failures_that_lie_further_apart_open_nothing():
    breaker = Breaker()
    for number in range(10):
        breaker = failed(breaker, NOW + number * (WITHIN_MS // 2 + 1), "late", is_test=False)
        assert not breaker.is_open


def test_each_failed_test_doubles_the_wait_up_to_a_quarter_of_an_hour():
    breaker, pauses = opened(), []
    for _ in range(6):
        pauses.append(breaker.pause // 60_000)
        breaker = failed(breaker, breaker.next_try or 0, "still", is_test=True)
    assert pauses == [1, 2, 4, 8, 15, 15]


def test_a_breaker_shows_the_reason_of_the_last_failed_test():
    breaker = failed(opened(), NOW + 1, "permission denied", is_test=True)
    assert breaker.reason == "permission denied"


def test_tasks_that_began_before_the_opening_do_not_lengthen_the_wait():
    breaker = opened()
    assert failed(breaker, NOW + 5, "old", is_test=False) == breaker


def test_after_a_successful_test_one_failure_opens_again_with_a_longer_wait():
    breaker = after_test(opened(), NOW + 60_000)
    assert not breaker.is_open
    again = failed(breaker, NOW + 70_000, "again", is_test=False)
    assert again.is_open
    assert again.pause == 2 * FIRST_PAUSE_MS
    late = failed(breaker, NOW + 60_001 + WITHIN_MS, "much later", is_test=False)
    assert (late.is_open, late.failures, late.pause) == (False, 1, 0)


def test_a_next_try_that_the_clock_left_far_ahead_is_due():
    assert is_due(NOW, NOW)
    assert not is_due(NOW + 1, NOW)
    assert is_due(NOW + LONGEST_PAUSE_MS + 1, NOW)


STEPS = st.lists(
    st.tuples(st.sampled_from(["fail", "test fails", "test succeeds"]), st.integers(0, 2_000_000)),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_in_any_history_an_open_breaker_has_a_next_try_within_the_longest_pause(steps):
    breaker, now, recent = Breaker(), NOW, []
    for step, passed in steps:
        now += passed
        before = breaker
        if step == "test succeeds":
            breaker = after_test(breaker, now)
            assert not breaker.is_open
        else:
            breaker = failed(breaker, now, step, is_test=step == "test fails" and before.is_open)
            recent.append(now)
        if breaker.is_open:
            assert breaker.next_try is not None
            assert breaker.next_try <= now + LONGEST_PAUSE_MS
        if breaker.is_open and not before.is_open and not before.pause:
            assert now - recent[-FAILURES] <= WITHIN_MS, "opened by old failures"
