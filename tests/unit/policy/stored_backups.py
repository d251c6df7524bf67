"""Stored backups, as retention judges them, and those that a destination removes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from haulback.contract.destinations import Retention
from haulback.policy.retention import AppliedTerms, BackupSource, StoredBackup, decide
from haulback.policy.terms import of_destination
from haulback.units import DAY_MS

NOW = 1_000 * DAY_MS


def location(guid: str, **more: Any) -> StoredBackup:
    """A good full backup of machine `e` on destination `d`, without a rule."""
    usual: dict[str, Any] = {"destination": "d", "entity": "e", "location": f"l{guid}"}
    usual |= {"role": "PRIMARY", "rule": None, "type": "FULL", "created": NOW}
    usual |= {"snapshot_time": NOW, "hint": "STANDARD_RETENTION", "keep_until": None}
    usual |= {"state": "PRESENT", "level": "STORED", "terms": None, "stored": 1}
    return StoredBackup(guid=guid, **{**usual, **more})


def source(*, present: bool = False, missed_days: float | None = None) -> BackupSource:
    """A machine that has been absent for this number of days."""
    since = None if missed_days is None else int(NOW - missed_days * DAY_MS)
    return BackupSource(present, since, 30)


def surplus(
    stored: Iterable[StoredBackup],
    settings: Retention,
    now: int,
    sources: Mapping[str, BackupSource],
) -> list[str]:
    """The backups that the retention of their destination removes."""
    by_entity: dict[str, list[StoredBackup]] = defaultdict(list)
    for item in stored:
        by_entity[item.entity].append(item)
    applied = AppliedTerms((of_destination(settings),))
    result: list[str] = []
    days = settings.keepLastBackupOfAbsentDays
    for entity, items in by_entity.items():
        machine = sources[entity]._replace(spared_days=days)
        verdicts = decide(items, lambda _: applied, machine, now)
        result += [verdict.location.guid for verdict in verdicts if verdict.goes]
    return result
