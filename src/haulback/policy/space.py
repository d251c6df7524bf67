"""The growth of a destination, the day on which it will be full, and the reason why new backups
wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from haulback.contract.space import SpaceLimits
from haulback.units import DAY_MS, GIB, size

DAYS = 30  # days over which the growth is averaged
_FAR_DAYS = 36_500  # days; a later full day is not reported


class DayUse(NamedTuple):
    """The bytes of a destination at the end of a day; `day` counts from the epoch."""

    day: int
    used: int


class PlaceSpace(NamedTuple):
    """The space of a destination in bytes, None where unknown.

    `total` and `free` are bytes of the file system, `held` is the size of the repository.
    """

    total: int | None = None
    free: int | None = None
    held: int | None = None


def growth(days: Sequence[DayUse]) -> int | None:
    """The mean growth in bytes per day, by least squares; None for fewer than two days."""
    if len(days) < 2:
        return None
    middle = sum(day.day for day in days) / len(days)
    mean = sum(day.used for day in days) / len(days)
    spread = sum((day.day - middle) ** 2 for day in days)
    return round(sum((day.day - middle) * (day.used - mean) for day in days) / spread)


def room(space: PlaceSpace, limits: SpaceLimits) -> int | None:
    """Bytes that can be stored until a limit is reached, 0 or less at a limit; None without a
    limit.
    """
    rooms = []
    if limits.quota is not None and space.held is not None:
        rooms.append(limits.quota - space.held)
    if space.free is not None:
        rooms.append(space.free - minimum_free(space, limits))
    return min(rooms) if rooms else None


def minimum_free(space: PlaceSpace, limits: SpaceLimits) -> int:
    """Bytes that must stay free on the file system."""
    if limits.minimumFree is not None:
        return limits.minimumFree
    return min(GIB, (space.total or 0) // 100)


def full_at(space: PlaceSpace, limits: SpaceLimits, per_day: int | None, now: int) -> int | None:
    """The time (epoch ms) at which a limit is reached; None without growth."""
    left = room(space, limits)
    if left is None or not per_day or per_day <= 0:
        return None
    days = max(0, left) / per_day
    return now + round(days * DAY_MS) if days <= _FAR_DAYS else None


def why_full(space: PlaceSpace, limits: SpaceLimits) -> str:
    """The reason why new backups wait, "" while there is space."""
    if limits.quota is not None and space.held is not None and space.held >= limits.quota:
        return f"holds {size(space.held)} and its quota is {size(limits.quota)}"
    least = minimum_free(space, limits)
    if space.free is not None and space.free < least:
        return f"has {size(space.free)} free and {size(least)} must stay free"
    return ""
