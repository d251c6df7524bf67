"""Requests of /schedules."""

from __future__ import annotations

from enum import Enum

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


class Schedule(PolicyRecord, kw_only=True):
    """A schedule of backups or snapshots; `hour` in ms from midnight UTC, the window in ms.

    No `months`, and no `dayOfWeekOccurrences`, stand for all.  `timeZone` is an IANA name.
    """

    type: Sort = Sort.VM_BACKUP
    active: bool = True
    backupType: BackupType = BackupType.FULL
    executionType: ScheduleExecution = ScheduleExecution.TIME
    hour: int | None = None
    daysOfWeek: list[Day] = []
    months: list[Month] = []
    dayOfWeekOccurrences: list[Occurrence] = []
    timeZone: str = "UTC"
    cron: str | None = None
    interval: dict[str, int] | None = None
    startWindowLength: int | None = None
    rules: list[Ref] = []
