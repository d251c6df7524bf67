"""The times of attempts to deliver a message."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from haulback.policy.delivery_times import DELAYS, next_attempt
from haulback.units import DAY_MS


def test_attempts_begin_soon_and_end_after_three_days() -> None:
    assert DELAYS[0] == 5000
    assert list(DELAYS) == sorted(DELAYS)
    assert 3 * DAY_MS < sum(DELAYS) < 3.5 * DAY_MS
    assert next_attempt(len(DELAYS) + 1, 0, Random(1)) is None


@given(st.integers(1, len(DELAYS)), st.integers(0, 10**13), st.integers(0, 10**9), st.integers())
def test_a_delay_varies_by_a_tenth_and_is_never_shorter_than_asked(
    attempts: int, now: int, asked: int, seed: int
) -> None:
    due = next_attempt(attempts, now, Random(seed), asked)
    assert due is not None
    usual = DELAYS[attempts - 1]
    least = max(int(usual * 0.9) - 1, min(asked, DAY_MS // 2))
    assert least <= due - now <= max(usual * 1.1 + 1, min(asked, DAY_MS // 2))


def test_a_receiver_may_ask_for_half_a_day_at_most_and_for_no_shorter_delay() -> None:
    half = DAY_MS // 2
    assert next_attempt(1, 7, Random(1), half) == 7 + half
    assert next_attempt(1, 7, Random(1), half + 1) == 7 + half
    assert next_attempt(1, 7, Random(1), 1) == next_attempt(1, 7, Random(1))
    assert next_attempt(len(DELAYS), 0, Random(1)) is not None


def test_the_delays_are_those_of_the_documentation() -> None:
    minute, hour = 60_000, 3_600_000
    first = (5_000, 30_000, 2 * minute, 10 * minute, 30 * minute)
    assert (*first, hour, 2 * hour, 4 * hour, 8 * hour, *(12 * hour,) * 5) == DELAYS


def test_attempts_spread_over_a_tenth_to_either_side() -> None:
    delays = [next_attempt(6, 0, Random(seed)) or 0 for seed in range(200)]
    assert min(delays) >= 3_240_000
    assert max(delays) <= 3_960_000
    assert min(delays) < 3_290_000
    assert max(delays) > 3_910_000
