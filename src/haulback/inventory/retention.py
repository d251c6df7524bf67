"""Which backups of one destination have had their time: pure decisions, erring to keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from haulback.inventory.kept import SnapshotRule
from haulback.inventory.records import Backup, Entity, Snapshot

DAY_MS = 86_400_000


class Retention(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a destination keeps; absent counts and ages keep everything.  Ages in ms.

    Whichever limit is met first removes a backup, as the field is used to.  The last backup of a
    machine that looks no longer show stays for `keepLastBackupOfAbsentDays` after the first look
    that missed it, whatever the limits; 0 gives it no such time.
    """

    keepLastNFull: int | None = None
    keepFullNewerThan: int | None = None
    keepLastNIncremental: int | None = None
    keepIncrementalNewerThan: int | None = None
    keepLastBackupWhenSourceStillExists: bool = True
    keepLastBackupOfAbsentDays: int = 30
    daysToKeepRetentionLock: int | None = None

    @property
    def lock_ms(self) -> int:
        """How long a stored backup is locked."""
        return (self.daysToKeepRetentionLock or 0) * DAY_MS


_LAST_CHOICE = {"DAMAGED": 1, "MISSING": 2, "GIVEN_UP": 3}


def of(settings: dict[str, Any]) -> Retention:
    """The retention in a destination's settings."""
    return msgspec.convert(settings.get("retention") or {}, Retention)


def surplus(
    stored: Iterable[Backup], rules: Retention, now: int, sources: Mapping[str, Entity]
) -> list[str]:
    """Guids of backups to remove at `now` (epoch ms); `sources` are their entities by guid.

    Every backup is complete in itself, so each is judged alone.  Never removed: one that is locked,
    one kept by its ARCHIVE hint, the last good one of an entity that still exists, and the last
    good one of an entity that is missed since less than `keepLastBackupOfAbsentDays`.  A backup
    that a person marked TO_REMOVE is the last one only where no other is left and its source
    exists.  A damaged backup is not counted as a good one; a missing one is not removed: a person
    decides.
    """
    by_entity: dict[str, list[Backup]] = defaultdict(list)
    for one in stored:
        by_entity[one.entity].append(one)
    found: list[str] = []
    for entity, backups in by_entity.items():
        backups.sort(
            key=lambda one: (one.snapshot_time or one.created, one.created, one.guid), reverse=True
        )
        last = _last(backups, sources[entity], rules, now)
        found += [one.guid for one in _expired(backups, rules, now) if one.guid != last]
    return found


def _last(backups: list[Backup], source: Entity, rules: Retention, now: int) -> str | None:
    """The guid of the backup, of those of one entity from the newest, that must stay."""
    unmarked = [one for one in backups if one.hint != "TO_REMOVE"]
    # Stable: the newest whole one comes first, then damaged ones, and missing ones last.
    unmarked.sort(key=lambda one: _LAST_CHOICE.get(one.location_status, 0))
    if source.present and rules.keepLastBackupWhenSourceStillExists:
        return (unmarked or backups)[0].guid
    since, spared = source.absent_since, rules.keepLastBackupOfAbsentDays * DAY_MS
    if since is None or now - since >= spared or not unmarked:
        return None
    return unmarked[0].guid


def surplus_snapshots(
    held: Iterable[Snapshot], rules: Mapping[str, SnapshotRule | None], now: int
) -> list[str]:
    """Guids of an entity's snapshots to remove, each judged among those of its own rule.

    What has no rule stays, and so does the newest of each rule, whatever its age.
    """
    by_rule: dict[str, list[Snapshot]] = defaultdict(list)
    for one in held:
        by_rule[one.rule or ""].append(one)
    found: list[str] = []
    for guid, snapshots in by_rule.items():
        if (rule := rules.get(guid)) is None:
            continue
        snapshots.sort(key=lambda one: (one.snapshot_time, one.guid), reverse=True)
        for place, one in enumerate(snapshots):
            many = rule.retentionVersions is not None and place >= rule.retentionVersions
            age = now - one.snapshot_time
            old = rule.retentionDays is not None and age > rule.retentionDays * DAY_MS
            if place and (many or old):
                found.append(one.guid)
    return found


def _expired(backups: list[Backup], rules: Retention, now: int) -> Iterable[Backup]:
    seen = {"FULL": 0, "INCREMENTAL": 0}
    limits = {
        "FULL": (rules.keepLastNFull, rules.keepFullNewerThan),
        "INCREMENTAL": (rules.keepLastNIncremental, rules.keepIncrementalNewerThan),
    }
    for one in backups:
        sort = "FULL" if one.type == "FULL" else "INCREMENTAL"
        count, age = limits[sort]
        too_many = count is not None and seen[sort] >= count
        seen[sort] += one.is_whole
        if one.location_status in ("MISSING", "GIVEN_UP"):
            continue
        too_old = age is not None and now - (one.snapshot_time or one.created) > age
        wanted = one.hint == "TO_REMOVE" or too_many or too_old
        if wanted and not one.locked(now):
            yield one
