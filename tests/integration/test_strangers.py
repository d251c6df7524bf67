"""Unauthenticated clients that guess passwords, send large bodies and stall requests, besides real
work.
"""

from __future__ import annotations

from benchmarks.strangers import Storm, measure

from tests import shares

_WHOLE = Storm()
_SHARE = Storm(guessers=6, halves=30, seconds=11.0)


def test_strangers_cost_the_others_little():
    """`scripts/soak strangers` measures the whole load; the ordinary run checks only bounds."""
    whole = shares.cases("strangers").whole
    result = measure(_WHOLE if whole else _SHARE, 10.0 if whole else 1.0)
    print(f"STRANGERS={result}")
    assert result["lease kept"], result
    assert result["server, MiB"] <= 300, result
    assert 0 < result["half-open for, s"] <= 15, result
    assert result["statuses"].keys() <= {"401", "429", "closed"}, result
    if whole:
        assert result["storm p99, ms"] <= 5 * result["quiet p99, ms"], result
