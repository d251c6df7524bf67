"""Dates and times on a command line, in this machine's zone."""

from __future__ import annotations

from datetime import datetime

from haulback.errors import Malformed

_DIGITS = 19  # of the first number that is no time of the database
FORMS = "2026-11-27, 2026-11-27T07:00, or epoch ms"


def epoch_ms(words: str | None, option: str) -> int | None:
    """Epoch ms of a date, a time or a number; None without words.  Raises Malformed."""
    if words is None:
        return None
    if words.isdecimal() and len(words) < _DIGITS:
        return int(words)
    try:
        if words.isdecimal():  # Python reads a long row of digits as a date
            raise ValueError(words)
        return int(datetime.fromisoformat(words).timestamp() * 1000)
    except (ValueError, OverflowError):
        shown = words[:60] or "''"
        raise Malformed(
            f"{option} {shown}: write 2026-11-27T07:00, or 2026-11-27 for midnight", field=option
        ) from None
