"""Times in the headers of a store's answers; a header that cannot be read counts as absent."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]{0,9})?", re.ASCII)


def date_ms(text: str | None) -> int | None:
    """The time of a header such as Date in epoch ms."""
    try:
        return int(parsedate_to_datetime(text or "").timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return None


def pause_of(asked: str | None, date: str | None) -> float:
    """The seconds that a Retry-After demands, as a number or as a time; 0 without a demand.

    A time is compared with `date`, the answer's header Date, because the clocks of store and node
    may differ.
    """
    text = (asked or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until = date_ms(text)
    if until is None:
        return 0.0
    now = date_ms(date)
    return max(0, until - (time.time_ns() // 1_000_000 if now is None else now)) / 1000
