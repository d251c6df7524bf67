"""Checks of a schedule before it is stored."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from haulback.contract.backups import BackupType
from haulback.contract.schedules import Repetition, Schedule, ScheduleExecution, Sort
from haulback.errors import Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Record
from haulback.policy.schedule_times import timetable
from haulback.policy.timetable import next_due
from haulback.units import DAY_MS

_SHORTEST_MS = 60_000  # shortest interval, because the scheduler runs once a second
_LONGEST_WINDOW = 31 * DAY_MS
_LONGEST_CRON = 200  # maximum length of an expression, in characters
_START = datetime(2026, 1, 1)  # start of the eight years in which a schedule must fire
_FROM = 1_767_225_600_000  # `_START` in epoch ms
_RULES = {
    Sort.VM_BACKUP: "rule",
    Sort.VM_SNAPSHOT: "snapshot-rule",
    Sort.VM_RESTORE: "recovery-plan",
}


def rule_kind(schedule: Record) -> str:
    """The kind of the records that a stored schedule fires."""
    return _RULES.get(Sort(schedule.body.get("type", Sort.VM_BACKUP.value)), "rule")


def check_schedule(wanted: Schedule, known: Catalogue) -> None:
    """Raises Malformed for times that never come; raises NotFound or Forbidden for its rules."""
    _check_type(wanted)
    for ref in wanted.rules:
        # A schedule starts its rules for all machines of the rules.
        known.records.changeable(_RULES[wanted.type], ref.guid)
    check_times(wanted)


def check_times(wanted: Schedule) -> None:
    """Raises Malformed for a zone, a window or times that are invalid or never come."""
    _check_zone(wanted.timeZone)
    _check_window(wanted.startWindowLength)
    _check_times(wanted)
    if next_due(timetable(wanted), _FROM) is None:
        member = "cron" if wanted.cron is not None else "daysOfWeek"
        raise Malformed(
            f"{member}: the schedule never fires within eight years; choose other days",
            field=member,
        )


def _check_type(wanted: Schedule) -> None:
    if wanted.type not in _RULES:
        served = ", ".join(sort.value for sort in _RULES)
        raise Malformed(
            f"type: no task serves {wanted.type.value} schedules; choose one of {served}",
            field="type",
        )
    kinds = {BackupType.FULL, BackupType.INCREMENTAL}
    kinds |= {BackupType.SYNCHRONIZATION} if wanted.type is Sort.VM_BACKUP else set()
    if wanted.backupType not in kinds:
        raise Malformed(
            f"backupType: {wanted.backupType.value} is not available in schedules; choose "
            f"one of {', '.join(sorted(kind.value for kind in kinds))}",
            field="backupType",
        )


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Malformed(
            f"timeZone: there is no zone {name[:60]!r}; name an IANA time zone, like Europe/Berlin",
            field="timeZone",
        ) from None


def _check_window(length: int | None) -> None:
    if length is not None and not 1000 <= length <= _LONGEST_WINDOW:
        raise Malformed(
            "startWindowLength: send ms, from 1000 to 31 days", field="startWindowLength"
        )


def _check_times(wanted: Schedule) -> None:
    """Check that exactly one of hour, interval and cron is set, with a valid value."""
    if wanted.cron is not None:
        _refuse(wanted, ("hour", "interval"), "cron sets the times")
        _check_cron(wanted.cron)
    elif wanted.executionType is ScheduleExecution.INTERVAL:
        _refuse(
            wanted,
            ("hour",),
            "the member interval sets the times of a schedule of the type INTERVAL",
        )
        _check_interval(wanted.interval)
    else:
        _refuse(
            wanted, ("interval",), "the member hour sets the time of a schedule of the type TIME"
        )
        if wanted.hour is None:
            raise Malformed("hour: a schedule of the type TIME needs its hour", field="hour")
        if not 0 <= wanted.hour < DAY_MS:
            raise Malformed("hour: send ms from midnight in timeZone, 0 to 86399999", field="hour")


def _refuse(wanted: Schedule, members: tuple[str, ...], why: str) -> None:
    for member in members:
        if getattr(wanted, member) is not None:
            raise Malformed(f"{member}: {why}; leave {member} out", field=member)


def _check_interval(interval: Repetition | None) -> None:
    if interval is None:
        raise Malformed(
            "interval: a schedule of the type INTERVAL needs startHour, endHour and frequency",
            field="interval",
        )
    for member, last in (("startHour", DAY_MS - 1), ("endHour", DAY_MS)):
        field = f"interval.{member}"
        if not 0 <= getattr(interval, member) <= last:
            raise Malformed(f"{field}: send ms from midnight, 0 to {last}", field=field)
    if not _SHORTEST_MS <= interval.frequency <= DAY_MS:
        field = "interval.frequency"
        raise Malformed(f"{field}: send ms, from one minute (60000) to one day", field=field)


def _check_cron(expression: str) -> None:
    if len(expression) > _LONGEST_CRON or len(expression.split()) != 5:
        raise Malformed(
            "cron: five fields are required: minute, hour, day of month, month, day of week",
            field="cron",
        )
    try:
        next(CronSim(expression, _START))
    # The parser's own sets raise other errors for some unusual fields.
    except (CronSimError, StopIteration, ValueError, TypeError, AssertionError) as error:
        why = str(error) or "it never falls due"
        raise Malformed(f"cron: {expression!r} cannot be used: {why}", field="cron") from None
