"""Answers of /forecast."""

from __future__ import annotations

import msgspec

from haulback.wire import Label, Named


class ForecastRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An expected fire.  Times in epoch ms, `expectedDuration` in ms.

    `type` is the type of the schedule, or SYSTEM.  Without history the last three members are
    absent. `fitsWindow` is false if some tasks are expected to start after the window,
    `overlapsNext` is true if the fire is expected to last beyond the next fire.
    """

    schedule: Named
    type: Label
    due: int
    nominal: str
    windowEnd: int
    expectedDuration: int | None = None
    fitsWindow: bool | None = None
    overlapsNext: bool | None = None
