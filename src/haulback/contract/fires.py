"""Answers about the fires of schedules."""

from __future__ import annotations

import msgspec

from haulback.wire import Label, Named


class FireSkip(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A rule, or a machine of a rule, for which a fire planned no task, with the reason."""

    rule: Named
    protectedEntity: Named | None = None
    reason: str


class FireRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A fire of a schedule.  Times in epoch ms; `nominal` is the local time in the schedule's zone.

    `workflows` counts the workflows planned, `skippedCount` the rules and machines without a plan;
    `skipped` names the first hundred of these.
    """

    guid: str
    schedule: Named
    state: Label
    nominal: str
    due: int
    windowEnd: int
    created: int
    finished: int | None = None
    manual: bool = False
    workflows: int
    skippedCount: int
    skipped: list[FireSkip] = []
    reason: str | None = None


class DueTime(msgspec.Struct, kw_only=True):
    """A future due time, and the end of its start window (epoch ms)."""

    due: int
    nominal: str
    windowEnd: int


class Fires(msgspec.Struct, kw_only=True):
    """Fires of a schedule: the newest past fires, and the next due times."""

    past: list[FireRecord]
    next: list[DueTime]


class ResumedSchedules(msgspec.Struct, kw_only=True):
    """The schedules that were resumed, and those that cannot fire, with the reasons."""

    resumed: list[Named]
    refused: list[RefusedSchedule]


class RefusedSchedule(msgspec.Struct, kw_only=True):
    """A schedule that stays paused, with the reason."""

    schedule: Named
    message: str
