"""Options of `haulback destination set` about retention and verification."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import msgspec
from cyclopts import Parameter

from haulback.contract.destinations import Retention, Verification
from haulback.errors import Malformed
from haulback.units import DAY_MS

_LEAST_HOURS, _MOST_HOURS = 0.02, 24  # about a minute; a day
_LEAST_MIB = 0.01  # a second, of copies


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DestinationLimits:
    """Limits of retention, and times of verification; None keeps a value."""

    keep_full: Annotated[int | None, Parameter(help="Full backups to keep of each machine.")] = None
    keep_full_days: Annotated[float | None, Parameter(help="Days to keep full backups.")] = None
    keep_incremental: Annotated[
        int | None, Parameter(help="Increments to keep of each machine.")
    ] = None
    keep_incremental_days: Annotated[float | None, Parameter(help="Days to keep increments.")] = (
        None
    )
    lock_days: Annotated[
        int | None, Parameter(help="Days in which a backup cannot be removed.")
    ] = None
    keep_last: Annotated[
        bool | None, Parameter(help="Keep the last backup of a machine that still exists.")
    ] = None
    verify_days: Annotated[
        int | None, Parameter(help="Days in which VERIFY reads the whole destination once.")
    ] = None
    verify_hours: Annotated[float | None, Parameter(help="Hours that VERIFY runs in a night.")] = (
        None
    )
    verify: Annotated[bool | None, Parameter(help="Verify the destination at night.")] = None
    keep_absent_days: Annotated[
        int | None, Parameter(help="Days to keep the backups of a machine that no longer exists.")
    ] = None
    keep_all: Annotated[bool, Parameter(negative="", help="Remove all limits first.")] = False

    def check(self) -> None:
        """Raise Malformed for a number of night hours that is too small or too large."""
        hours = self.verify_hours
        if hours is not None and not _LEAST_HOURS <= hours <= _MOST_HOURS:
            raise Malformed(
                f"--verify-hours: {hours:g} is not between {_LEAST_HOURS} and {_MOST_HOURS}"
            )

    def retention(self, present: Retention) -> Retention:
        """The retention of a destination with these options."""
        said = _given(
            keepLastNFull=self.keep_full,
            keepFullNewerThan=_age(self.keep_full_days),
            keepLastNIncremental=self.keep_incremental,
            keepIncrementalNewerThan=_age(self.keep_incremental_days),
            daysToKeepRetentionLock=self.lock_days,
            keepLastBackupWhenSourceStillExists=self.keep_last,
            keepLastBackupOfAbsentDays=self.keep_absent_days,
        )
        return msgspec.structs.replace(Retention() if self.keep_all else present, **said)

    def verification(self, present: Verification) -> Verification | None:
        """The verification of a destination with these options; None without such an option."""
        hours = self.verify_hours
        seconds = None if hours is None else round(hours * 3600)
        wanted = _given(days=self.verify_days, seconds=seconds, active=self.verify)
        return msgspec.structs.replace(present, **wanted) if wanted else None


UNLIMITED = DestinationLimits()


def check_copying(rate: float | None, start: float | None, end: float | None) -> None:
    """Raises Malformed for a rate or an hour that cannot be, in the units of the command."""
    if rate and not _LEAST_MIB <= rate < math.inf:
        raise Malformed(
            f"--mib-per-second: {rate:g} is not 0 (no limit), nor at least {_LEAST_MIB}"
        )
    for option, hour in (("--start", start), ("--end", end)):
        if hour is not None and not 0 <= hour <= _MOST_HOURS:
            raise Malformed(f"{option}: {hour:g} is not an hour from 0 to {_MOST_HOURS}")
    if (start is None) != (end is None):
        raise Malformed("--start, --end: name both hours, or neither")


def _given(**options: object) -> dict[str, object]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _age(days: float | None) -> int | None:
    return None if days is None else round(days * DAY_MS)
