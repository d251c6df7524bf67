"""Snapshots on a platform are removed by the rule that took them, and the newest of each rule
stays.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from haulback.contract.policies import SnapshotRule
from haulback.inventory.records import PlatformSnapshot
from haulback.policy.snapshot_retention import surplus
from haulback.units import DAY_MS

NOW = 1_000 * DAY_MS


def snapshot(days: float, rule: str | None = "r", **more: Any) -> PlatformSnapshot:
    taken = NOW - round(days * DAY_MS)
    usual = {"guid": f"{rule}-{taken:016}", "entity": "e", "uuid": "u", "created": taken}
    return PlatformSnapshot(**{**usual, "snapshot_time": taken, "rule": rule, **more})


def rule(versions: int | None = None, days: int | None = None) -> SnapshotRule:
    return SnapshotRule(retentionVersions=versions, retentionDays=days)


def going(held: list[PlatformSnapshot], **rules: Any) -> list[PlatformSnapshot]:
    guids = surplus(held, rules, NOW)
    return [one for one in held if one.guid in guids]


@given(st.integers(0, 6), st.integers(0, 6))
def test_a_number_of_versions_keeps_the_newest_and_at_least_one(count: int, versions: int):
    held = [snapshot(day) for day in range(count)]
    assert going(held, r=rule(versions)) == held[max(1, versions) :]


def test_an_age_takes_older_snapshots_and_not_those_that_are_exactly_as_old():
    held = [snapshot(0), snapshot(5), snapshot(5 + 1 / DAY_MS)]
    assert going(held, r=rule(days=5)) == held[2:]
    assert going(held[1:], r=rule(days=0)) == held[2:]


def test_either_limit_is_enough():
    held = [snapshot(0), snapshot(1), snapshot(2), snapshot(30)]
    assert going(held, r=rule(versions=3, days=10)) == held[3:]
    assert going(held, r=rule(versions=2, days=10)) == held[2:]
    assert going(held, r=rule(versions=9, days=1)) == held[2:]


def test_a_rule_without_limits_and_a_snapshot_without_a_rule_take_nothing():
    held = [snapshot(day) for day in range(4)] + [snapshot(day, None) for day in range(4)]
    assert going(held, r=rule()) == []
    assert going(held) == []
    assert going(held, r=None) == []


def test_a_rule_that_is_gone_does_not_hide_the_rules_behind_it():
    held = [snapshot(0, "gone"), snapshot(1, "gone"), snapshot(0), snapshot(1)]
    assert going(held, gone=None, r=rule(versions=1)) == held[3:]


def test_each_rule_keeps_a_newest_snapshot_of_its_own():
    held = [snapshot(day, name) for name in ("a", "b") for day in range(3)]
    assert going(held, a=rule(versions=1), b=rule(versions=2)) == [held[1], held[2], held[5]]


def test_snapshots_of_one_moment_are_ordered_by_guid():
    one, other = snapshot(1, guid="a"), snapshot(1, guid="b")
    assert going([one, other], r=rule(versions=1)) == [one]
    assert going([other, one], r=rule(versions=1)) == [one]
