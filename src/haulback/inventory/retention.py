"""Retention: decisions about expired backups and snapshots; in doubt a backup stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from haulback.contract.destinations import Retention
from haulback.contract.policies import SnapshotRule
from haulback.inventory.records import Backup, Entity, PlatformSnapshot
from haulback.units import DAY_MS
from haulback.wire import JsonObject

_LAST_CHOICE = {"DAMAGED": 1, "MISSING": 2, "GIVEN_UP": 3}


def of(settings: JsonObject) -> Retention:
    """Read the retention settings of a destination."""
    return msgspec.convert(settings.get("retention") or {}, Retention)


def surplus(
    stored: Iterable[Backup], rules: Retention, now: int, sources: Mapping[str, Entity]
) -> list[str]:
    """Guids of backups to remove at `now` (epoch ms); `sources` are their entities by guid.

    Every backup is complete in itself and is judged alone.  Never removed: a locked backup, an
    archived backup, the last good backup of a present entity, and the last good backup of an entity
    absent for less than `keepLastBackupOfAbsentDays`.  A backup that a user marked TO_REMOVE counts
    as the last backup only if no other is left and the entity is present.  A damaged backup is not
    counted as good.  A missing backup is not removed: a user decides.
    """
    by_entity: dict[str, list[Backup]] = defaultdict(list)
    for item in stored:
        by_entity[item.entity].append(item)
    result: list[str] = []
    for entity, backups in by_entity.items():
        backups.sort(
            key=lambda item: (item.snapshot_time or item.created, item.created, item.guid),
            reverse=True,
        )
        last = _last(backups, sources[entity], rules, now)
        result += [item.guid for item in _expired(backups, rules, now) if item.guid != last]
    return result


def _last(backups: list[Backup], source: Entity, rules: Retention, now: int) -> str | None:
    """Guid of an entity's backup that must stay; `backups` are sorted newest first."""
    unmarked = [backup for backup in backups if backup.hint != "TO_REMOVE"]
    # The sort is stable: intact backups by age, then damaged and missing ones.
    unmarked.sort(key=lambda item: _LAST_CHOICE.get(item.location_status, 0))
    if source.present and rules.keepLastBackupWhenSourceStillExists:
        return (unmarked or backups)[0].guid
    since, spared = source.absent_since, rules.keepLastBackupOfAbsentDays * DAY_MS
    if since is None or now - since >= spared or not unmarked:
        return None
    return unmarked[0].guid


def surplus_snapshots(
    held: Iterable[PlatformSnapshot], rules: Mapping[str, SnapshotRule | None], now: int
) -> list[str]:
    """Guids of an entity's snapshots to remove, judged by the snapshot rule of each.

    Snapshots without a rule stay, and so does the newest snapshot of each rule at any age.
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


def _expired(backups: list[Backup], rules: Retention, now: int) -> Iterable[Backup]:
    seen = {"FULL": 0, "INCREMENTAL": 0}
    limits = {
        "FULL": (rules.keepLastNFull, rules.keepFullNewerThan),
        "INCREMENTAL": (rules.keepLastNIncremental, rules.keepIncrementalNewerThan),
    }
    for backup in backups:
        sort = "FULL" if backup.type == "FULL" else "INCREMENTAL"
        count, age = limits[sort]
        too_many = count is not None and seen[sort] >= count
        seen[sort] += backup.is_whole
        if backup.location_status in ("MISSING", "GIVEN_UP"):
            continue
        too_old = age is not None and now - (backup.snapshot_time or backup.created) > age
        wanted = backup.hint == "TO_REMOVE" or too_many or too_old
        if wanted and not backup.locked(now):
            yield backup
