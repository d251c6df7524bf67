"""Retries: a call is repeated with the number, duration and pauses of its back-off."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.errors import Conflict, HaulbackError, Malformed, Unavailable
from haulback.retry import Backoff, is_retryable, retry


class HandClock:
    """Clock that moves only during pauses and calls."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def failing(times: int, error: Exception, clock: HandClock, takes: float = 0) -> Callable[[], int]:
    """A call that fails a number of times and then returns the number of its calls."""
    called = 0

    def call() -> int:
        nonlocal called
        called += 1
        clock.now += takes
        if called <= times:
            raise error
        return called

    return call


def test_a_call_that_succeeds_is_made_once_and_waits_for_nothing() -> None:
    clock = HandClock()
    assert retry(failing(0, Unavailable(""), clock), Backoff(1), wait=clock.wait, clock=clock) == 1
    assert clock.pauses == []


def test_the_result_of_the_first_call_that_succeeds_is_returned() -> None:
    clock = HandClock()
    call = failing(3, Unavailable("away"), clock)
    assert retry(call, Backoff(1, factor=2), wait=clock.wait, clock=clock) == 4
    assert clock.pauses == [1, 2, 4]


def test_pauses_grow_up_to_the_longest() -> None:
    assert list(islice(Backoff(1, factor=3, longest=10).pauses(), 5)) == [1, 3, 9, 10, 10]


def test_the_first_pause_is_no_longer_than_the_longest() -> None:
    assert list(islice(Backoff(99, longest=5).pauses(), 2)) == [5, 5]


def test_attempts_count_calls_and_the_last_error_is_raised() -> None:
    clock = HandClock()
    call = failing(9, Unavailable("away"), clock)
    with pytest.raises(Unavailable, match="away"):
        retry(call, Backoff(1, attempts=3), wait=clock.wait, clock=clock)
    assert clock.pauses == [1, 1]


def test_one_attempt_is_a_call_without_a_retry() -> None:
    clock = HandClock()
    with pytest.raises(Unavailable):
        retry(failing(9, Unavailable(""), clock), Backoff(1, attempts=1), wait=clock.wait)
    assert clock.pauses == []


def test_no_call_begins_after_the_time_is_used_up() -> None:
    clock = HandClock()
    with pytest.raises(Unavailable):
        retry(
            failing(99, Unavailable(""), clock, takes=2),
            Backoff(1, seconds=7),
            wait=clock.wait,
            clock=clock,
        )
    assert clock.pauses == [1, 1]  # calls begin at 0, 3 and 6; the next would begin at 9
    assert clock.now == 8


@pytest.mark.parametrize("error", [Malformed("no"), Conflict("no"), ValueError("no")])
def test_an_error_that_comes_again_is_raised_at_once(error: Exception) -> None:
    clock = HandClock()
    with pytest.raises(type(error)):
        retry(failing(9, error, clock), Backoff(1), wait=clock.wait, clock=clock)
    assert clock.pauses == []


def test_the_caller_decides_which_errors_are_worth_another_call() -> None:
    clock, seen = HandClock(), []

    def again(error: Exception) -> bool:
        seen.append(str(error))
        return isinstance(error, HaulbackError)

    call = failing(2, Conflict("busy"), clock)
    assert retry(call, Backoff(1), again, clock.wait, clock) == 3
    assert seen == ["busy", "busy"]


def test_a_set_stop_event_ends_the_retries_with_the_last_error() -> None:
    clock, stop = HandClock(), Event()
    stop.set()
    with pytest.raises(Unavailable, match="away"):
        retry(failing(9, Unavailable("away"), clock), Backoff(60), wait=stop.wait, clock=clock)


def test_an_interrupt_is_never_retried() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retry(interrupted, Backoff(0), again=lambda error: True)


def test_retryable_is_what_the_error_class_declares() -> None:
    assert is_retryable(Unavailable(""))
    assert not is_retryable(Conflict(""))
    assert not is_retryable(OSError())


@given(
    st.floats(0, 100),
    st.floats(1, 10),
    st.floats(0, 1000),
    st.integers(1, 50),
)
def test_pauses_never_shrink_and_are_one_fewer_than_the_attempts(
    pause: float, factor: float, longest: float, attempts: int
) -> None:
    pauses = list(Backoff(pause, factor, longest, attempts).pauses())
    assert len(pauses) == attempts - 1
    assert pauses == sorted(pauses)
    assert all(one <= longest for one in pauses)


@given(st.integers(0, 20), st.integers(1, 20))
def test_a_call_is_made_until_it_succeeds_or_the_attempts_are_used_up(
    failures: int, attempts: int
) -> None:
    clock = HandClock()
    call = failing(failures, Unavailable(""), clock)
    backoff = Backoff(1, attempts=attempts)
    if failures < attempts:
        assert retry(call, backoff, wait=clock.wait, clock=clock) == failures + 1
    else:
        with pytest.raises(Unavailable):
            retry(call, backoff, wait=clock.wait, clock=clock)
    assert len(clock.pauses) == min(failures, attempts - 1)
