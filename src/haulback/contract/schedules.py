"""Requests of /schedules."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.contract.backups import BackupType
from haulback.contract.records import PolicyRecord
from haulback.wire import Ref


class ScheduleExecution(Enum):
    """Trigger type of a schedule."""

    TIME = "TIME"
    INTERVAL = "INTERVAL"


class Day(Enum):
    """A day of the week."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"


class Month(Enum):
    """A month."""

    JANUARY = "JANUARY"
    FEBRUARY = "FEBRUARY"
    MARCH = "MARCH"
    APRIL = "APRIL"
    MAY = "MAY"
    JUNE = "JUNE"
    JULY = "JULY"
    AUGUST = "AUGUST"
    SEPTEMBER = "SEPTEMBER"
    OCTOBER = "OCTOBER"
    NOVEMBER = "NOVEMBER"
    DECEMBER = "DECEMBER"


class Occurrence(Enum):
    """An occurrence of a day of the week in a month."""

    FIRST_IN_MONTH = "FIRST_IN_MONTH"
    SECOND_IN_MONTH = "SECOND_IN_MONTH"
    THIRD_IN_MONTH = "THIRD_IN_MONTH"
    FOURTH_IN_MONTH = "FOURTH_IN_MONTH"
    LAST_IN_MONTH = "LAST_IN_MONTH"


class Sort(Enum):
    """Purpose of a schedule."""

    APP_BACKUP = "APP_BACKUP"
    CLOUD_BACKUP = "CLOUD_BACKUP"
    OS_BACKUP = "OS_BACKUP"
    STORAGE_BACKUP = "STORAGE_BACKUP"
    STORAGE_SNAPSHOT = "STORAGE_SNAPSHOT"
    VM_BACKUP = "VM_BACKUP"
    VM_RESTORE = "VM_RESTORE"
    VM_SNAPSHOT = "VM_SNAPSHOT"


class Repetition(msgspec.Struct, kw_only=True):
    """Times of an interval: the first and the last (ms from midnight), and the distance of two
    times in ms.
    """

    startHour: int = 0
    endHour: int = 86_400_000
    frequency: int


class ScheduledRecord(PolicyRecord, kw_only=True):
    """A record that fires at its times while it is `active`.

    TIME fires at `hour` (ms from midnight), INTERVAL as `interval` says, a `cron` expression of
    five fields replaces both; all times are local times of `timeZone`, an IANA name.  Absent
    `daysOfWeek`, `months` or `dayOfWeekOccurrences` mean all.  The tasks of a fire start within
    `startWindowLength` ms, by default within six hours.
    """

    active: bool = True
    executionType: ScheduleExecution = ScheduleExecution.TIME
    hour: int | None = None
    daysOfWeek: list[Day] = []
    months: list[Month] = []
    dayOfWeekOccurrences: list[Occurrence] = []
    timeZone: str = "UTC"
    cron: str | None = None
    interval: Repetition | None = None
    startWindowLength: int | None = None


class Schedule(ScheduledRecord, kw_only=True):
    """A schedule of backups, snapshots or runs of recovery plans, with the times of its fires.

    `rules` are rules of policies of the schedule's type; of a VM_RESTORE they are recovery plans.
    """

    type: Sort = Sort.VM_BACKUP
    backupType: BackupType = BackupType.FULL
    rules: list[Ref] = []
