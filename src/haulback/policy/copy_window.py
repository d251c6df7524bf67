"""The daily window in which copies may start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from haulback.contract.copies import Copying
from haulback.policy.local_time import first_instant


def next_opening(copying: Copying, now: int) -> int | None:
    """The next time (epoch ms) at which copies may start; None while they may start.

    A window whose end is before its start extends over midnight.
    """
    start, end = copying.startHour, copying.endHour
    if start is None or end is None or start == end:
        return None
    zone = ZoneInfo(copying.timeZone or "UTC")
    local = datetime.fromtimestamp(now / 1000, UTC).astimezone(zone).replace(tzinfo=None)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    into = (local - midnight) // timedelta(milliseconds=1)
    is_open = start <= into < end if start < end else into >= start or into < end
    if is_open:
        return None
    wall = midnight + timedelta(milliseconds=start)
    opening = first_instant(wall if into < start else wall + timedelta(days=1), zone)
    return max(now, round(opening.timestamp() * 1000))
