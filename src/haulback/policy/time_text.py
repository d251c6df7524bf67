"""Times, days and durations as people write them: `22:00 Europe/Berlin`, `mon-fri`, `36h`."""

from __future__ import annotations

import re
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from haulback.contract.schedules import Day
from haulback.errors import Malformed
from haulback.units import DAY_MS

_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS, "y": 365 * DAY_MS}
# a number with a unit: 36h, 36hrs, 36hours; white space is left out before
_PART = re.compile(
    r"([0-9]{1,6})(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?|w(?:eeks?)?"
    r"|y(?:ears?)?)"
)
_TIME = re.compile(r"([01]?[0-9]|2[0-3])(?::([0-5][0-9]))?(?:\s*([ap]m)\b)?(?:\s+(\S+))?", re.I)
_NOON = 12  # hours
_WEEK = list(Day)
_SETS = {"daily": _WEEK, "weekdays": _WEEK[:5], "weekend": _WEEK[5:], "weekends": _WEEK[5:]}
_LONGEST_MS = 3_650 * DAY_MS


class TimeOfDay(NamedTuple):
    """A time of the day in ms from midnight, and an IANA zone, "" if the text names none."""

    hour: int
    zone: str


def read_duration(text: str, field: str) -> int:
    """A duration in ms: `36h`, `7 days`, `1h30m`; y stands for 365 days, m for minutes.

    Raises Malformed with `field` for other texts, for a zero duration and for more than ten years.
    """
    plain = "".join(text.split()).lower()
    parts = _PART.findall(plain)
    length = sum(int(count) * _UNITS[unit[0]] for count, unit in parts)
    if "".join(count + unit for count, unit in parts) != plain or not 0 < length <= _LONGEST_MS:
        raise Malformed(
            f"{field}: {text[:40]!r} is not a duration; write a duration like 36h, 7d or 1h30m",
            field=field,
        )
    return length


def is_duration(text: str) -> bool:
    """Whether a text is written like a duration."""
    return _PART.match("".join(text.split()).lower()) is not None


def read_time(text: str, field: str) -> TimeOfDay:
    """A time of the day: `22:00`, `10pm`, `6:30 Europe/Berlin`.  Raises Malformed with `field`."""
    match = _TIME.fullmatch(text.strip())
    hour = _hour(match) if match else None
    if match is None or hour is None:
        raise Malformed(
            f"{field}: {text[:40]!r} is not a time; write a time like 22:00 or 22:00 Europe/Berlin",
            field=field,
        )
    zone = match[4] or ""
    if zone:
        _check_zone(zone, field)
    return TimeOfDay((hour * 60 + int(match[2] or 0)) * 60_000, zone)


def _hour(match: re.Match[str]) -> int | None:
    """The hour of a time; None for 13pm, and for a bare number, whose meaning is unclear."""
    hour, half = int(match[1]), (match[3] or "").lower()
    if not half:
        return hour if match[2] else None
    return hour % _NOON + (_NOON if half == "pm" else 0) if 1 <= hour <= _NOON else None


def _check_zone(name: str, field: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Malformed(
            f"{field}: there is no time zone {name[:60]!r}; name an IANA time zone like "
            "Europe/Berlin",
            field=field,
        ) from None


def read_days(text: str, field: str) -> list[Day]:
    """Days of the week: `mon-fri`, `sat,sun`, `fri-mon`, `weekdays`, `daily` for all.

    Raises Malformed with `field`.
    """
    days: set[Day] = set()
    for part in re.split(r"[,\s]+", text.strip().lower()):
        if part in _SETS:
            days.update(_SETS[part])
            continue
        first, dash, last = part.partition("-")
        start = _day(first, field)
        end = _day(last, field) if dash else start
        count = (end - start) % len(_WEEK) + 1
        days.update(_WEEK[(start + step) % len(_WEEK)] for step in range(count))
    return [day for day in _WEEK if day in days]


def _day(text: str, field: str) -> int:
    for place, day in enumerate(_WEEK):
        if len(text) >= 2 and day.value.lower().startswith(text):
            return place
    raise Malformed(
        f"{field}: {text[:20]!r} is not a day; write mon-fri, sat,sun or daily", field=field
    )
