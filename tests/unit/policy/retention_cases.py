"""Seeded histories of one machine's backups on one destination, with their retention terms."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime

from haulback.policy.retention import AppliedTerms, BackupSource, Limits, StoredBackup, Terms
from haulback.units import DAY_MS
from tests.unit.policy.stored_backups import location

RULES = ("a", "b", "removed", None)  # two living rules, a removed rule, and backups without a rule
ZONES = ("UTC", "Europe/Berlin", "Pacific/Apia", "Asia/Kathmandu", "America/St_Johns")
STATES = ("PRESENT",) * 6 + ("DAMAGED", "MISSING", "GIVEN_UP")
HINTS = ("STANDARD_RETENTION",) * 8 + ("TO_REMOVE", "ARCHIVE")
_HOUR = 3_600_000


@dataclass
class History:
    """Backups, the terms of each rule, the machine, and a time (epoch ms)."""

    backups: list[StoredBackup]
    terms: dict[str | None, Terms]
    source: BackupSource
    now: int

    def applied(self, item: StoredBackup) -> AppliedTerms:
        return AppliedTerms((self.terms[item.rule],), is_living=item.rule in ("a", "b"))


def history(seed: int) -> History:
    """The history of a seed."""
    chance = random.Random(seed)
    start = datetime(chance.randint(2000, 2040), chance.choice((1, 3, 10, 12)), 20, tzinfo=UTC)
    now = int(start.timestamp() * 1000) + chance.randrange(DAY_MS)
    # Backups lie close together or far apart, so that both limits and calendars matter.
    step = chance.choice((_HOUR, 6 * _HOUR, DAY_MS, 9 * DAY_MS, 60 * DAY_MS))
    backups = [_backup(chance, number, now, step) for number in range(chance.randint(1, 14))]
    terms = {rule: _terms(chance, step) for rule in RULES}
    missed = chance.choice((None, None, now - chance.randint(0, 60) * DAY_MS))
    source = BackupSource(chance.random() < 0.7, missed, chance.choice((0, 30)))
    return History(backups, terms, source, now)


def _backup(chance: random.Random, number: int, now: int, step: int) -> StoredBackup:
    taken = now - chance.randint(0, 20 * step)
    return location(
        f"g{number:02}",
        rule=chance.choice(RULES),
        role=chance.choice(("PRIMARY",) * 5 + ("SECONDARY",)),
        type=chance.choice(("FULL", "FULL", "INCREMENTAL")),
        created=taken + chance.randint(0, 3),
        snapshot_time=chance.choice((taken, taken, None)),
        hint=chance.choice(HINTS),
        keep_until=chance.choice((None,) * 5 + (now, now + 1, now - DAY_MS)),
        state=chance.choice(STATES),
        level=chance.choice(("STORED", "VERIFIED", "BOOTED")),
        in_use=chance.random() < 0.1,
    )


def _terms(chance: random.Random, step: int) -> Terms:
    def limits() -> Limits:
        count = chance.choice((None, 0, 1, 2, 5))
        return Limits(count, chance.choice((None, 0, step, 5 * step)))

    keeps = tuple(chance.choice((0, 0, 0, 1, 2, 4)) for _ in range(4))
    others = not any(keeps) or chance.random() < 0.5
    return Terms(
        full=limits(),
        incremental=limits(),
        keeps=(keeps[0], keeps[1], keeps[2], keeps[3]),
        others=others,
        zone=chance.choice(ZONES),
        keep_last=chance.random() < 0.7,
    )
