"""Local times of a zone as instants, across changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)


def instants(local: datetime, zone: ZoneInfo) -> list[datetime]:
    """UTC instants at which local clocks in `zone` show `local` (naive): none, one or two."""
    found = []
    for fold in (0, 1):
        instant = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        shown = instant.astimezone(zone).replace(tzinfo=None)
        if shown == local and instant not in found:
            found.append(instant)
    return found


def first_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The UTC instant of `local` (naive): the first if there are two, the end of the gap for a
    skipped time.
    """
    first = local.replace(tzinfo=zone)
    if first.utcoffset() == first.replace(fold=1).utcoffset():
        return first.astimezone(UTC)  # no change of the clock is near: the usual and faster case
    existing = instants(local, zone)
    return existing[0] if existing else _end_of_gap(local, zone)


def _end_of_gap(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which the clocks were put forward across `local`."""
    # PEP 495: in a gap, fold 1 reads the offset after the change, which gives the earlier instant.
    before = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    offset = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after.replace(microsecond=0)
