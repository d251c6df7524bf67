"""Retention settings of a rule, as policies and rules send and show them."""

from __future__ import annotations

import msgspec


class RuleRetention(msgspec.Struct, kw_only=True):
    """Retention of a rule's backups on a destination; ages in ms.

    An absent count or age is no limit.  `keepDaily`, `keepWeekly`, `keepMonthly` and `keepYearly`
    are numbers of days, weeks, months and years; the newest good backup of each of these periods
    stays even over the limits, and an absent number is 0.  If `keepOthers` is false, backups that
    no keep chooses are removed; the default is true, but false for a rule with keeps and without
    any limit. `timeZone` (IANA) sets the calendar; the default is the zone of the rule's schedule,
    or UTC.
    """

    keepLastBackupWhenSourceStillExists: bool | None = None
    retentionKeepLastNFull: int | None = None
    retentionKeepFullNewerThan: int | None = None
    retentionKeepLastNIncremental: int | None = None
    retentionKeepIncrementalNewerThan: int | None = None
    keepDaily: int | None = None
    keepWeekly: int | None = None
    keepMonthly: int | None = None
    keepYearly: int | None = None
    keepOthers: bool | None = None
    timeZone: str | None = None

    @property
    def keeps(self) -> tuple[int, int, int, int]:
        """Numbers of days, weeks, months and years whose newest good backup stays."""
        return (
            self.keepDaily or 0,
            self.keepWeekly or 0,
            self.keepMonthly or 0,
            self.keepYearly or 0,
        )

    @property
    def has_limit(self) -> bool:
        """Whether a count or an age is set."""
        limits = (
            self.retentionKeepLastNFull,
            self.retentionKeepFullNewerThan,
            self.retentionKeepLastNIncremental,
            self.retentionKeepIncrementalNewerThan,
        )
        return any(limit is not None for limit in limits)

    @property
    def is_empty(self) -> bool:
        """Whether no member but `keepLastBackupWhenSourceStillExists` is set."""
        return not self.has_limit and not any(self.keeps) and self.keepOthers is not False
