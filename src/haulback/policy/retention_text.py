"""Keeps of a rule as people write them: `7d,4w,12m,3y`."""

from __future__ import annotations

import re

import msgspec

from haulback.contract.retention import RuleRetention
from haulback.errors import Malformed

_PERIODS = {"d": "keepDaily", "w": "keepWeekly", "m": "keepMonthly", "y": "keepYearly"}
_KEEP = re.compile(r"([0-9]{1,5}) ?(d(?:ays?)?|w(?:eeks?)?|m(?:onths?)?|y(?:ears?)?)")
MOST_KEPT = 36_500  # days of a century


def read_keeps(text: str, field: str = "keep") -> RuleRetention:
    """Settings with numbers of days, weeks, months and years, and without any count or age.

    `7d,4w,12m`, or `7 days, 4 weeks, 12 months`, keeps the newest good backup of each of 7 days,
    4 weeks and 12 months.
    Raises Malformed with `field` for any other text, for a period named twice, and for a text that
    keeps nothing.
    """
    counts: dict[str, int] = {}
    for part in re.split(r" *, *", text.strip().lower()):
        match = _KEEP.fullmatch(part)
        if match is None:
            raise Malformed(
                f"{field}: {part[:20]!r} is not a number with d, w, m or y; write 7d,4w,12m,3y",
                field=field,
            )
        count, period = int(match[1]), match[2][0]
        member = _PERIODS[period]
        if member in counts:
            raise Malformed(f"{field}: {period} is named twice; name each period once", field=field)
        if count > MOST_KEPT:
            raise Malformed(f"{field}: {part}: keep at most {MOST_KEPT}", field=field)
        counts[member] = count
    if not any(counts.values()):
        raise Malformed(f"{field}: {text} keeps nothing; write 7d,4w,12m,3y", field=field)
    return msgspec.convert({**counts, "keepOthers": False}, RuleRetention)


def keeps_text(settings: RuleRetention) -> str:
    """The keeps of settings as people write them, "" without keeps."""
    parts = zip(settings.keeps, _PERIODS, strict=True)
    return ",".join(f"{count}{letter}" for count, letter in parts if count)
