"""Retention: which backups of a machine on a destination stay and which go, each with the reason.

The decision needs the stored backups of one machine on one destination, the retention terms of
each, and a time.  The clean-up and its preview call the same function.  In doubt a backup stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import NamedTuple

import msgspec

from haulback.policy import keeps
from haulback.units import DAY_MS

_STATES = ("PRESENT", "DAMAGED", "MISSING", "GIVEN_UP")  # states of locations, the best first
_AT_HAND = _STATES[:2]  # states of locations whose data can be deleted
_FULL = "FULL"  # other types count as increments


class RetentionReason(Enum):
    """Reasons why a backup stays or goes."""

    WITHIN_LIMITS = "within the limits of count and age"
    DAILY = "the newest good backup of its day"
    WEEKLY = "the newest good backup of its week"
    MONTHLY = "the newest good backup of its month"
    YEARLY = "the newest good backup of its year"
    LOCKED = "its retention lock has not ended"
    ARCHIVED = "marked as an archive"
    IN_USE = "mounted, or used by a task"
    LAST_GOOD = "the last good backup of a machine that exists"
    ABSENT_MACHINE = "the last backup of a machine that is absent for a short time"
    ONLY_PROVEN = "the only backup that is proved to boot"
    MISSING = "missing from its destination until a user confirms the loss"
    WAITS = "the retention of its rule waits for a confirmation"
    MARKED = "marked for removal"
    COUNT = "more backups are stored than the limit of the count"
    AGE = "older than the limit of age"
    NOT_CHOSEN = "not chosen by a daily, weekly, monthly or yearly keep"


_PERIODS = (
    RetentionReason.DAILY,
    RetentionReason.WEEKLY,
    RetentionReason.MONTHLY,
    RetentionReason.YEARLY,
)


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """The largest number of backups of a type, and their greatest age in ms; None is no limit."""

    count: int | None = None
    age: int | None = None


class Terms(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Retention terms of a backup.

    `keeps` are numbers of days, weeks, months and years with a good backup; `others`: the limits
    decide about backups that no keep chooses; otherwise these backups are removed.  `zone` is the
    calendar of the keeps. `keep_last` is true if the last good backup of a machine that exists
    stays.
    """

    full: Limits = Limits()
    incremental: Limits = Limits()
    keeps: tuple[int, int, int, int] = (0, 0, 0, 0)
    others: bool = True
    zone: str = "UTC"
    keep_last: bool = True


# A run makes thousands of these objects, without reference cycles.
class StoredBackup(msgspec.Struct, gc=False):
    """A stored backup on a destination, as input of retention; times in epoch ms, sizes in bytes.

    `guid` is the backup.  `state` is the location's `damage.LocationStatus`, `level` the highest
    proof, `terms` the key of the terms under which the backup was made, `stored` the bytes that the
    backup added to the destination, `in_use` is true if the backup is mounted or needed by a task.
    """

    destination: str
    entity: str
    guid: str
    location: str
    role: str
    rule: str | None
    type: str
    created: int
    snapshot_time: int | None
    hint: str
    keep_until: int | None
    state: str
    level: str
    terms: str | None
    stored: int
    in_use: bool = False

    @property
    def time(self) -> int:
        """Time of the data, epoch ms."""
        return self.snapshot_time or self.created

    @property
    def counts(self) -> bool:
        """Whether the backup is good and no user marked the backup for removal."""
        return self.state == "PRESENT" and self.hint != "TO_REMOVE"


class BackupSource(NamedTuple):
    """The machine of the backups; `absent_since` (epoch ms) is the time of the first scan that
    missed the machine.

    `spared_days` is the number of days for which the last backup of an absent machine stays.
    """

    present: bool
    absent_since: int | None
    spared_days: int

    def is_spared(self, now: int) -> bool:
        """Whether the machine is absent for less than the spared days."""
        since = self.absent_since
        return since is not None and now - since < self.spared_days * DAY_MS


class AppliedTerms(NamedTuple):
    """The terms that apply to a backup: one or two sets, and the backup stays if either set keeps
    the backup.

    `is_living` is true if the rule of the backup exists.  `waits` is true if the terms await a
    user's confirmation.
    """

    terms: tuple[Terms, ...]
    is_living: bool = False
    waits: bool = False

    @property
    def keep_last(self) -> bool:
        """Whether the last good backup of an existing machine stays."""
        return self.terms[0].keep_last or self.terms[-1].keep_last


class RetentionVerdict(msgspec.Struct, frozen=True, gc=False):
    """The decision about a backup."""

    location: StoredBackup
    goes: bool
    reason: RetentionReason


AppliedTermsOf = Callable[[StoredBackup], AppliedTerms]


def decide(
    stored: Iterable[StoredBackup], ruling_of: AppliedTermsOf, source: BackupSource, now: int
) -> list[RetentionVerdict]:
    """Decide about the stored backups of one machine on one destination at `now` (epoch ms).

    The verdicts are in order of time, newest first.  Backups are counted by role and rule.
    """
    ordered = sorted(stored, key=_age_order, reverse=True)
    applied_terms = {item.guid: ruling_of(item) for item in ordered}
    decided = _by_terms(ordered, applied_terms, now)
    goes = any(reason in _GOING for reason in decided.values())
    protected = _protected(ordered, applied_terms, source, now) if goes else {}
    return [
        RetentionVerdict(item, False, reason)
        if (reason := decided[item.guid]) is RetentionReason.WITHIN_LIMITS
        and item.state in _AT_HAND
        else _final(item, reason, protected.get(item.guid), now)
        for item in ordered
    ]


def _age_order(item: StoredBackup) -> tuple[int, int, str]:
    return item.snapshot_time or item.created, item.created, item.guid


def _final(
    item: StoredBackup, by_terms: RetentionReason, protection: RetentionReason | None, now: int
) -> RetentionVerdict:
    if item.state not in _AT_HAND:
        return RetentionVerdict(item, False, RetentionReason.MISSING)
    if by_terms not in _GOING:
        return RetentionVerdict(item, False, by_terms)
    reason = _held(item, now) or protection
    return RetentionVerdict(item, reason is None, reason or by_terms)


# A tuple: members of an enum are compared faster than hashed.
_GOING = (
    RetentionReason.MARKED,
    RetentionReason.COUNT,
    RetentionReason.AGE,
    RetentionReason.NOT_CHOSEN,
)


def _held(item: StoredBackup, now: int) -> RetentionReason | None:
    """The lock, archive mark or use that keeps a backup; an archive without end stays forever."""
    if item.keep_until is None:
        held = RetentionReason.ARCHIVED if item.hint == "ARCHIVE" else None
    else:
        reason = RetentionReason.ARCHIVED if item.hint == "ARCHIVE" else RetentionReason.LOCKED
        held = reason if now < item.keep_until else None
    return held or (RetentionReason.IN_USE if item.in_use else None)


def _by_terms(
    ordered: Sequence[StoredBackup], applied_terms: Mapping[str, AppliedTerms], now: int
) -> dict[str, RetentionReason]:
    """The reason that the retention terms give for each backup, before locks, marks and uses."""
    groups: dict[tuple[str, str], list[StoredBackup]] = defaultdict(list)
    for item in ordered:
        groups[item.role, item.rule or ""].append(item)
    result: dict[str, RetentionReason] = {}
    for group in groups.values():
        _judge(group, applied_terms, now, result)
    return result


def _judge(
    group: Sequence[StoredBackup],
    applied_terms: Mapping[str, AppliedTerms],
    now: int,
    result: dict[str, RetentionReason],
) -> None:
    """Decide about the backups of one role and rule; `result` receives the reasons."""
    ranks = _ranks(group)
    chosen: dict[int, dict[str, RetentionReason]] = {}  # keyed by identity, which needs no hash
    for item in group:
        if item.hint == "TO_REMOVE":
            result[item.guid] = RetentionReason.MARKED
            continue
        applied = applied_terms[item.guid]
        if applied.waits:
            result[item.guid] = RetentionReason.WAITS
            continue
        reason = RetentionReason.WITHIN_LIMITS
        for terms in applied.terms:
            if id(terms) not in chosen:
                chosen[id(terms)] = keeps.chosen(group, terms.keeps, terms.zone, _PERIODS)
            reason = chosen[id(terms)].get(item.guid) or _limited(
                item, ranks[item.guid], terms, now
            )
            if reason not in _GOING:
                break
        result[item.guid] = reason


def _ranks(group: Sequence[StoredBackup]) -> dict[str, int]:
    """The number of newer good backups of the same type, for each backup."""
    full = incremental = 0
    ranks: dict[str, int] = {}
    for item in group:
        counts = item.state == "PRESENT" and item.hint != "TO_REMOVE"
        if item.type == _FULL:
            ranks[item.guid] = full
            full += counts
        else:
            ranks[item.guid] = incremental
            incremental += counts
    return ranks


def _limited(item: StoredBackup, rank: int, terms: Terms, now: int) -> RetentionReason:
    if not terms.others:
        return RetentionReason.NOT_CHOSEN
    limits = terms.full if item.type == _FULL else terms.incremental
    if limits.count is not None and rank >= limits.count:
        return RetentionReason.COUNT
    if limits.age is not None and now - (item.snapshot_time or item.created) > limits.age:
        return RetentionReason.AGE
    return RetentionReason.WITHIN_LIMITS


def _protected(
    ordered: Sequence[StoredBackup],
    applied_terms: Mapping[str, AppliedTerms],
    source: BackupSource,
    now: int,
) -> dict[str, RetentionReason]:
    """Backups that stay against their terms, by role: the last good and the only proven backup.

    Each existing rule keeps its own last good backup.  A machine that exists, or is absent for a
    short time, keeps the best of the backups whose terms keep the last backup.
    """
    result: dict[str, RetentionReason] = {}
    spared = source.is_spared(now)
    for role in {item.role for item in ordered}:
        items = [item for item in ordered if item.role == role]
        if source.present or spared:
            proven = (item.guid for item in items if item.level == "BOOTED" and item.counts)
            result |= dict.fromkeys(islice(proven, 1), RetentionReason.ONLY_PROVEN)
        if spared:
            unmarked = (item for item in items if item.hint != "TO_REMOVE")
            result |= dict.fromkeys(_best(unmarked), RetentionReason.ABSENT_MACHINE)
        if source.present:
            last = _last_of_rules(items, applied_terms)
            last += _best_unmarked([item for item in items if applied_terms[item.guid].keep_last])
            result |= dict.fromkeys(last, RetentionReason.LAST_GOOD)
    return result


def _best_unmarked(items: Sequence[StoredBackup]) -> list[str]:
    """The best backup without a mark for removal, otherwise the best backup."""
    return _best(item for item in items if item.hint != "TO_REMOVE") or _best(items)


def _best(items: Iterable[StoredBackup]) -> list[str]:
    """The newest good backup, or else the newest damaged, missing or given up backup; None for an
    empty list.

    `items` are sorted newest first.
    """
    best, rank = list[str](), len(_STATES)
    for item in items:
        place = _STATES.index(item.state)
        if place < rank:
            best, rank = [item.guid], place
        if rank == 0:
            break
    return best


def _last_of_rules(
    items: Iterable[StoredBackup], applied_terms: Mapping[str, AppliedTerms]
) -> list[str]:
    """The newest good backup of each existing rule that keeps its last backup."""
    last: dict[str, str] = {}
    for item in items:
        if item.rule is None or item.rule in last or not item.counts:
            continue
        applied = applied_terms[item.guid]
        if applied.is_living and applied.keep_last:
            last[item.rule] = item.guid
    return list(last.values())
