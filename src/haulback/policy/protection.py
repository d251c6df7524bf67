"""Protection of a machine: its state by the RPO of its policy, and the RPO that schedules imply."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import merge
from itertools import islice, pairwise
from typing import NamedTuple

from haulback.contract.protection import ProtectionState
from haulback.policy.timetable import Cron, Timetable, due_times
from haulback.units import DAY_MS

_AHEAD_MS = 14 * DAY_MS  # two weeks show every gap of a weekly timetable
# The period of timetables that restrict months or weekdays of a month, or have a cron expression.
_YEAR_MS = 400 * DAY_MS
_LONGEST_MS = 3_000 * DAY_MS  # 29 February is at most eight years away
_MOST = 25_000  # due times of a timetable that are read: more than the minutes of two weeks


class BackupTimetable(NamedTuple):
    """A timetable that backs up a machine, with the length of its start window in ms."""

    table: Timetable
    window: int


class MachineCase(NamedTuple):
    """A machine to evaluate.  Times in epoch ms; `rpo` in ms, None for no limit.

    `governed` is true if the machine has an active backup policy.  `failed` is true if its last
    ended backup has failed. `pending` is true if a newer backup waits or runs.  `before` is the
    previous state.
    """

    governed: bool
    rpo: int | None
    last_good: int | None
    failed: bool
    pending: bool
    before: ProtectionState


class Judgement(NamedTuple):
    """The state of a machine, and the time (epoch ms) at which the state changes by itself."""

    state: ProtectionState
    due: int | None = None


def judge(case: MachineCase, now: int) -> Judgement:
    """The state of a machine at the time `now` (epoch ms).

    A backup that is retried does not make its machine FAILING before the last attempt has ended; a
    machine stays FAILING until a backup succeeds.
    """
    if not case.governed:
        return Judgement(ProtectionState.UNASSIGNED)
    if case.last_good is None:
        return Judgement(ProtectionState.NEVER)
    due = case.last_good + case.rpo if case.rpo is not None else None
    if due is not None and now > due:
        return Judgement(ProtectionState.LATE)
    waits = case.pending and case.before is not ProtectionState.FAILING
    failing = case.failed and not waits
    return Judgement(ProtectionState.FAILING if failing else ProtectionState.PROTECTED, due)


def rpo_of(timetables: Sequence[BackupTimetable], now: int) -> int | None:
    """The RPO in ms that timetables imply: their largest future gap plus a start window.

    None without a due time.  For a timetable with a single future due time the RPO is the time
    until then.
    """
    if not timetables:
        return None
    # Gaps are measured from the first due time: for backups only in March, the gap begins after the
    # next March.
    first = min((_first(item.table, now) for item in timetables), default=now)
    dues = _dues(timetables, now, first + max(_horizon(item.table) for item in timetables))
    if len(dues) < 2:
        dues = _dues(timetables, now, now + _LONGEST_MS)
    if not dues:
        return None
    gap = max((later - due for due, later in pairwise(dues)), default=dues[0] - now)
    return gap + max(item.window for item in timetables)


def _dues(timetables: Sequence[BackupTimetable], now: int, until: int) -> list[int]:
    return list(merge(*(_of_table(item.table, now, until) for item in timetables)))


def _first(table: Timetable, now: int) -> int:
    """The first due time; without a due time, the end of the period that is searched."""
    end = now + _LONGEST_MS
    return next((due.at for due in due_times(table, now, end)), end)


def _of_table(table: Timetable, now: int, until: int) -> list[int]:
    # Some timetables yield the two times of a day with a clock change out of order.
    return sorted(due.at for due in islice(due_times(table, now, until), _MOST))


def _horizon(table: Timetable) -> int:
    is_rare = table.days.months or table.days.occurrences or isinstance(table.times, Cron)
    return _YEAR_MS if is_rare else _AHEAD_MS
