"""Daily, weekly, monthly and yearly keeps: the newest good backup of each period of a calendar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_LAST_MS = 253_000_000_000_000  # in the year 9987; dates end with the year 9999
Reason = TypeVar("Reason")


class Dated(Protocol):
    """A backup with its time (epoch ms); `counts`: good, and not marked for removal."""

    guid: str
    state: str

    @property
    def time(self) -> int: ...

    @property
    def counts(self) -> bool: ...


def chosen(
    group: Sequence[Dated], keeps: Sequence[int], zone: str, reasons: Sequence[Reason]
) -> dict[str, Reason]:
    """The backups that keeps choose, by guid, with the first reason that chose each.

    `group` is sorted newest first; `keeps` are numbers of days, weeks, months and years, `reasons`
    the reason of each.  A keep counts only periods that have a good backup, so that the choice does
    not depend on the time of the clean-up.  A damaged backup is chosen for a period without a good
    backup, and takes no place.
    """
    result: dict[str, Reason] = {}
    dates = dates_of(group, zone) if any(keeps) else []
    for reason, most, key_of in zip(reasons, keeps, _PERIODS, strict=True):
        if most:
            for guid in _newest(group, [key_of(day) for day in dates], most):
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


def dates_of(group: Sequence[Dated], zone: str) -> list[date]:
    """The local dates of backups in an IANA zone; a zone that no longer exists reads as UTC."""
    clocks = _zone(zone)
    return [
        datetime.fromtimestamp(min(max(item.time, 0), _LAST_MS) / 1000, clocks).date()
        for item in group
    ]


def is_zone(name: str) -> bool:
    """Whether an IANA zone exists."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name if is_zone(name) else "UTC")


def _newest(group: Sequence[Dated], keys: Sequence[int], most: int) -> Iterator[str]:
    """The newest good backup of each of the last `most` periods, and damaged backups between."""
    good = {key for item, key in zip(group, keys, strict=True) if item.counts}
    seen: set[int] = set()
    for item, key in zip(group, keys, strict=True):
        is_first = key not in seen and (
            item.counts or (item.state == "DAMAGED" and key not in good)
        )
        if not is_first:
            continue
        if len(seen & good) == most:
            return
        seen.add(key)
        yield item.guid
