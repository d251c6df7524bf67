"""The times of attempts to deliver a message: short delays first, then longer ones, for three
days.
"""

from __future__ import annotations

from random import Random

_SECOND, _MINUTE, _HOUR = 1000, 60_000, 3_600_000
# Delays after each failed attempt, ms; together a little more than three days.
DELAYS = (
    5 * _SECOND,
    30 * _SECOND,
    2 * _MINUTE,
    10 * _MINUTE,
    30 * _MINUTE,
    _HOUR,
    2 * _HOUR,
    4 * _HOUR,
    8 * _HOUR,
    *(12 * _HOUR,) * 5,
)
_SPREAD = 0.1  # share by which the delays of messages vary, so that they do not arrive at once


def next_attempt(attempts: int, now: int, chance: Random, asked: int = 0) -> int | None:
    """The time (epoch ms) of the next attempt after `attempts` failed attempts, None if there is
    none.

    The delay varies by a tenth, so that messages to a receiver that was down do not arrive at once.
    `asked` is the delay in ms that the receiver asked for; half a day at most counts.
    """
    if attempts > len(DELAYS):
        return None
    delay = DELAYS[attempts - 1] * chance.uniform(1 - _SPREAD, 1 + _SPREAD)
    return now + max(int(delay), min(asked, 12 * _HOUR))
