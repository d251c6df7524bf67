"""Reports of backups, and chargeback."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from haulback.contract.reports import (
    BackupCounts,
    FailedBackup,
    FailedBackups,
    GroupSize,
    LateMachine,
    LateMachines,
    MachineCounts,
    Measure,
    PolicyReport,
    Report,
    ReportedSpace,
    SizeFilter,
)
from haulback.errors import Malformed
from haulback.inventory.records import Record
from haulback.server.scope import Scope
from haulback.server.services import protection, report_space
from haulback.server.services.app import App
from haulback.server.services.report_sizes import ReportSpan, SizeReading
from haulback.server.store import report_figures
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.report_figures import PolicyFigures, ReportedBackups
from haulback.units import DAY_MS
from haulback.wire import Ref, Word, label

_MOST_CHARGED = 10_000  # rows of a chargeback; a row for the remainder follows
_MOST_ROWS = 50  # rows of each table of a report
_MOST_POLICIES = 200  # rows of the report's table of policies
_C = TypeVar("_C", MachineCounts, BackupCounts)
_STATES = {
    "SUCCESS": "successful",
    "PARTIAL_SUCCESS": "failed",
    "FAILED": "failed",
    "INPROGRESS": "inProgress",
    "QUEUED": "queued",
    "SUCCESS_REMOVED": "removed",
}


class WantedReport(NamedTuple):
    """A report: its period, the filters of its tables of sizes, and its policy, None for all."""

    span: ReportSpan
    backup_size: SizeFilter
    transfer_size: SizeFilter
    policy: Record | None = None


def span(app: App, start: int | None, end: int | None, entity_type: str = "VM") -> ReportSpan:
    """The period of a report; by default the last day until now.  Raises Malformed."""
    last = app.clock.now_ms() if end is None else end
    first = max(0, last - DAY_MS) if start is None else start
    if first > last:
        raise Malformed("from: is later than `to`; exchange the two values", field="from")
    return ReportSpan(first, last, entity_type)


def chargeback(
    app: App, scope: Scope, span: ReportSpan, wanted: SizeFilter, measure: Measure
) -> list[GroupSize]:
    """Bytes by group, the largest group first.  Raises Malformed."""
    with app.store.read() as sql:
        reading = SizeReading(sql, scope)
        return reading.table(span, wanted, measure, _MOST_CHARGED).groups


def of_policy(policy: Record, span: ReportSpan) -> WantedReport:
    """The daily report of a policy, with the sizes of its machines."""
    chosen = SizeFilter(groupBy=Word("virtual-machine"), backupPolicyGuids=[Ref(policy.guid)])
    return WantedReport(span, chosen, chosen, policy)


def report(app: App, scope: Scope, wanted: WantedReport) -> Report:
    """The backups of a period, and the present protection of machines.  Raises Malformed."""
    protection.before_answer(app)
    with app.store.read() as sql:
        return _Compiler(sql, scope, wanted, app.clock.now_ms()).report(app.time_zone)


class _Compiler:
    """The parts of a report, from the records and figures of one transaction."""

    def __init__(self, sql: Connection, scope: Scope, wanted: WantedReport, now: int) -> None:
        self._sql, self._scope, self._wanted, self._now = sql, scope, wanted, now
        self._sizes = SizeReading(sql, scope)
        records = [wanted.policy] if wanted.policy else _policies(sql, scope)
        self._names = {record.guid: record.name for record in records}
        self._rows = {
            guid: PolicyReport(
                guid=guid, name=name, machines=MachineCounts(), backups=BackupCounts()
            )
            for guid, name in self._names.items()
        }

    def report(self, time_zone: str) -> Report:
        wanted = self._wanted
        tables = [
            self._sizes.table(wanted.span, chosen, measure, _MOST_ROWS, f"{measure.value}.")
            for chosen, measure in (
                (wanted.backup_size, Measure.BACKUP_SIZE),
                (wanted.transfer_size, Measure.TRANSFER_SIZE),
            )
        ]
        self._count()
        rows = list(self._rows.values())
        return Report(
            start=wanted.span.start,
            end=wanted.span.end,
            generated=self._now,
            timeZone=time_zone,
            protectedEntityType=label(wanted.span.entity_type),
            title=wanted.policy.name if wanted.policy else "",
            machines=_added([row.machines for row in rows], MachineCounts()),
            backups=_added([row.backups for row in rows], BackupCounts()),
            policies=_shortened([row for row in rows if row.guid or row.backups != BackupCounts()]),
            failures=self._failures(),
            late=self._late(),
            destinations=self._destinations(),
            backupSize=tables[0],
            transferSize=tables[1],
        )

    @property
    def _backups(self) -> ReportedBackups:
        """The backups that the report counts."""
        policy = self._wanted.policy
        chosen = SizeFilter(backupPolicyGuids=[Ref(policy.guid)] if policy else [])
        return self._sizes.chosen(self._wanted.span, chosen)

    def _row(self, policy: str) -> PolicyReport:
        """The row of a policy; a further row sums up backups and machines without a policy."""
        guid = policy if policy in self._rows else ""
        if guid not in self._rows:
            self._rows[""] = PolicyReport(
                name="without policy", machines=MachineCounts(), backups=BackupCounts()
            )
        return self._rows[guid]

    def _count(self) -> None:
        sql, span = self._sql, self._wanted.span
        for figures in report_figures.by_rule(sql, self._backups):
            _add_backups(self._row(self._sizes.policy_of(figures.rule)).backups, figures)
        entity_type, only = span.entity_type, self._wanted.policy
        for counted in report_figures.protection_by_policy(sql, self._scope, entity_type):
            if only is None or counted.policy == only.guid:
                machines = self._row(counted.policy).machines
                machines.machines += counted.machines
                state = counted.state.lower()
                setattr(machines, state, getattr(machines, state) + counted.machines)
        for policy, count in report_figures.runs(sql, range(span.start, span.end + 1)).items():
            if policy in self._rows:
                self._rows[policy].runs = count

    def _destinations(self) -> list[ReportedSpace]:
        """The destinations of the report's policies; all, for a caller of all projects."""
        is_whole = self._wanted.policy is None and self._scope.listed is None
        return report_space.destinations(self._sql, None if is_whole else self._names, self._now)

    def _failures(self) -> FailedBackups:
        newest = report_figures.failures(self._sql, self._backups, _MOST_ROWS)
        rows = [
            FailedBackup(
                machine=failure.machine,
                time=failure.time,
                reason=failure.reason,
                policy=self._names.get(self._sizes.policy_of(failure.rule)),
            )
            for failure in newest
        ]
        failed = sum(row.backups.failed for row in self._rows.values())
        return FailedBackups(total=failed, rows=rows)

    def _late(self) -> LateMachines:
        only = [self._wanted.policy.guid] if self._wanted.policy else None
        entity_type = self._wanted.span.entity_type
        machines = report_figures.late(self._sql, self._scope, entity_type, only)
        rows = [
            LateMachine(
                machine=row.machine,
                state=row.state if row.last_backup >= 0 else "NEVER",
                lastBackup=row.last_backup if row.last_backup >= 0 else None,
                policy=self._names.get(row.policy),
            )
            for row in machines.rows
        ]
        return LateMachines(total=machines.total, rows=rows)


def _policies(sql: Connection, scope: Scope) -> list[Record]:
    records = SqlCatalogue(sql, scope).records.of_kind("vm-backup")
    return [record for record in records if scope.shares(record.project)]


def _add_backups(counts: BackupCounts, figures: PolicyFigures) -> None:
    state = _STATES[figures.status]
    setattr(counts, state, getattr(counts, state) + figures.backups)
    counts.transferSize += figures.read
    if state in ("successful", "removed"):
        counts.backupSize += figures.size
        counts.storedSize += figures.stored


def _added(rows: Iterable[_C], total: _C) -> _C:
    """The sum of each member over all rows, added to `total`."""
    for row in rows:
        for name in row.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(row, name))
    return total


def _shortened(rows: list[PolicyReport]) -> list[PolicyReport]:
    """Policies with problems first, then by name; the last row sums up those beyond the limit."""
    rows.sort(key=lambda row: (-row.backups.failed - row.machines.late, row.name))
    kept, rest = rows[:_MOST_POLICIES], rows[_MOST_POLICIES:]
    if rest:
        kept.append(
            PolicyReport(
                name=f"{len(rest)} others",
                runs=sum(row.runs for row in rest),
                machines=_added([row.machines for row in rest], MachineCounts()),
                backups=_added([row.backups for row in rest], BackupCounts()),
            )
        )
    return kept
