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
