"""Retention of snapshots on platforms, by the rules of snapshot policies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from haulback.contract.policies import SnapshotRule
from haulback.inventory.records import PlatformSnapshot
from haulback.units import DAY_MS


def surplus(
    held: Iterable[PlatformSnapshot], rules: Mapping[str, SnapshotRule | None], now: int
) -> list[str]:
    """Guids of an entity's snapshots to remove; each snapshot follows its own rule.

    Snapshots without a rule stay, and the newest snapshot of each rule stays at any age.
    """
    by_rule: dict[str, list[PlatformSnapshot]] = defaultdict(list)
    for item in held:
        by_rule[item.rule or ""].append(item)
    result: list[str] = []
    for guid, snapshots in by_rule.items():
        if (rule := rules.get(guid)) is None:
            continue
        snapshots.sort(key=lambda item: (item.snapshot_time, item.guid), reverse=True)
        for place, snapshot in enumerate(snapshots):
            many = rule.retentionVersions is not None and place >= rule.retentionVersions
            age = now - snapshot.snapshot_time
            old = rule.retentionDays is not None and age > rule.retentionDays * DAY_MS
            if place and (many or old):
                result.append(snapshot.guid)
    return result
