"""Answers of /forecast."""

from __future__ import annotations

import msgspec

from haulback.wire import Label, Named


class ForecastRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A fire that is expected.  Times in epoch ms, `expectedDuration` in ms.

    `type` is the type of the schedule, or SYSTEM.  Without history the last three are absent.
    `fitsWindow` is false where tasks are expected not to start within the window, `overlapsNext`
    true where the fire is expected to last beyond the next one.
    """

    schedule: Named
    type: Label
    due: int
    nominal: str
    windowEnd: int
    expectedDuration: int | None = None
    fitsWindow: bool | None = None
    overlapsNext: bool | None = None
