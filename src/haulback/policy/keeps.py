"""Daily, weekly, monthly and yearly keeps: the newest good backup of each period of a calendar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_LAST_MS = 253_000_000_000_000  # a time in 9987; dates end with 9999
Reason = TypeVar("Reason")


class DatedBackup(Protocol):
    """A backup with its time (epoch ms); `counts` is true if the backup is good and not marked for
    removal.
    """

    guid: str
    state: str

    @property
    def time(self) -> int: ...

    @property
    def counts(self) -> bool: ...


def chosen(
    group: Sequence[DatedBackup], keeps: Sequence[int], zone: str, reasons: Sequence[Reason]
) -> dict[str, Reason]:
    """The backups that keeps choose, by guid, with the first reason that chose each.

    `group` is sorted newest first; `keeps` are the numbers of days, weeks, months and years,
    `reasons` the reason for each.  A keep counts only periods that have a good backup, so that the
    choice does not depend on the time of the clean-up.  A damaged backup is chosen for a period
    without a good backup, but that period is not counted.
    """
    result: dict[str, Reason] = {}
    clocks = _zone(zone)
    for reason, most, key_of in zip(reasons, keeps, _PERIODS, strict=True):
        if most:
            for guid in _newest(group, lambda item: key_of(_date(item.time, clocks)), most):  # noqa: B023
                result.setdefault(guid, reason)
    return result


def _week(day: date) -> int:
    """Number of the week from Monday to Sunday: 1 January of the year 1 was a Monday."""
    return (day.toordinal() - 1) // 7


_PERIODS: tuple[Callable[[date], int], ...] = (
    date.toordinal,
    _week,
    lambda day: day.year * 12 + day.month,
    lambda day: day.year,
)


def _date(moment: int, clocks: ZoneInfo) -> date:
    """The local date of a time (epoch ms)."""
    return datetime.fromtimestamp(min(max(moment, 0), _LAST_MS) / 1000, clocks).date()


def is_zone(name: str) -> bool:
    """Whether an IANA zone exists."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _newest(
    group: Sequence[DatedBackup], key_of: Callable[[DatedBackup], int], most: int
) -> Iterator[str]:
    """The newest good backup of each of the newest `most` periods, and the damaged backups between
    these.
    """
    is_hurt = any(item.state == "DAMAGED" for item in group)
    good = {key_of(item) for item in group if item.counts} if is_hurt else set[int]()
    seen, count = set[int](), 0
    for item in group:
        counts = item.counts
        if not counts and item.state != "DAMAGED":
            continue
        key = key_of(item)
        if key in seen or (not counts and key in good):
            continue
        if count == most:
            return
        seen.add(key)
        count += counts
        yield item.guid


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name; a name that no longer exists is read as UTC."""
    return ZoneInfo(name if is_zone(name) else "UTC")
