"""The content of a report as plain text: headings, figures and tables, the same in every format.

Names of machines and reasons of failures are not trusted.  Control characters in them are
replaced by escapes, so that no name reorders or adds a line; each format escapes the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from haulback import units
from haulback.contract.reports import PolicyReport, Report, SizeTable
from haulback.texts import printable

_LONGEST_REASON = 300  # maximum length of a reason in a table of the report, in characters
_LATE = {"NEVER": "never backed up"}


class DocumentTable(NamedTuple):
    """A table; `numbers` are the right-aligned columns, `note` is printed after the rows."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: frozenset[int] = frozenset()
    note: str = ""


class ReportDocument(NamedTuple):
    """A report for people; `is_good` tells whether no action is needed."""

    title: str
    span: str
    verdict: str
    is_good: bool
    figures: list[tuple[str, str]]
    tables: list[DocumentTable]


def document(report: Report) -> ReportDocument:
    """The texts of a report, with times in the zone of the report."""
    zone = ZoneInfo(report.timeZone)
    title = f"Backup report: {_name(report.title)}" if report.title else "Backup report"
    tables = [_policies(report)] if not report.title else []
    tables += [_failures(report, zone), _late(report, zone), _space(report, zone)]
    tables += [_sizes("Backup size", report.backupSize)]
    tables += [_sizes("Transferred", report.transferSize)]
    return ReportDocument(
        title,
        f"{_time(report.start, zone)} to {_time(report.end, zone)}",
        verdict(report),
        _is_good(report),
        _figures(report),
        [table for table in tables if table.rows],
    )


def verdict(report: Report) -> str:
    """The state of the backups in a few words, for the head of the report and a mail's subject."""
    machines, backups = report.machines, report.backups
    if report.title and not machines.machines:
        return "the policy has no machines"
    trouble = [
        _counted(backups.failed, "backup", "failed"),
        _counted(machines.late, "machine", "late"),
        _counted(machines.failing, "machine", "failing"),
        _counted(machines.never, "machine", "never backed up"),
        _counted(_full(report), "destination", "full"),
    ]
    words = [text for text in trouble if text]
    if backups.successful:
        words.append(_counted(backups.successful, "backup", "good"))
    return ", ".join(words) or "no backup was made"


def _is_good(report: Report) -> bool:
    machines, backups = report.machines, report.backups
    late = machines.late or machines.failing or machines.never
    return not (backups.failed or late or _full(report))


def _full(report: Report) -> int:
    """The number of destinations whose new backups wait for space."""
    return sum(bool(place.waits) for place in report.destinations)


def _figures(report: Report) -> list[tuple[str, str]]:
    machines, backups = report.machines, report.backups
    states = [
        (machines.protected, "protected"),
        (machines.late, "late"),
        (machines.failing, "failing"),
        (machines.never, "never backed up"),
        (machines.unassigned, "without policy"),
    ]
    made = [
        (backups.successful, "successful"),
        (backups.failed, "failed"),
        (backups.inProgress, "running"),
        (backups.queued, "waiting"),
        (backups.removed, "removed since"),
    ]
    return [
        ("Machines", f"{machines.machines}: {_listed(states)}" if machines.machines else "none"),
        ("Backups", _listed(made)),
        ("Backup size", units.size(backups.backupSize)),
        ("Read of machines", units.size(backups.transferSize)),
        ("Written to destinations", units.size(backups.storedSize)),
    ]


def _policies(report: Report) -> DocumentTable:
    states = ("Protected", "Late", "Failing", "Never")
    heads = ("Policy", "Runs", "Machines", *states, "Good", "Failed", "Size")
    rows = [_policy(row) for row in report.policies]
    return DocumentTable("Policies", heads, rows, frozenset(range(1, len(heads))))


def _policy(row: PolicyReport) -> tuple[str, ...]:
    machines, backups = row.machines, row.backups
    states = (machines.protected, machines.late, machines.failing, machines.never)
    counts = (row.runs, machines.machines, *states, backups.successful, backups.failed)
    return (_name(row.name), *map(str, counts), units.size(backups.backupSize))


def _failures(report: Report, zone: ZoneInfo) -> DocumentTable:
    rows = [
        (_time(row.time, zone), _name(row.machine), _reason(row.reason))
        for row in report.failures.rows
    ]
    note = _more(report.failures.total - len(rows))
    return DocumentTable("Failed backups", ("Time", "Machine", "Reason"), rows, note=note)


def _late(report: Report, zone: ZoneInfo) -> DocumentTable:
    rows = [
        (
            _time(row.lastBackup, zone) if row.lastBackup else "never",
            _name(row.machine),
            _LATE.get(row.state, row.state.lower()),
        )
        for row in report.late.rows
    ]
    note = _more(report.late.total - len(rows))
    heads = ("Last good backup", "Machine", "State")
    return DocumentTable("Late machines", heads, rows, note=note)


def _space(report: Report, zone: ZoneInfo) -> DocumentTable:
    rows = [
        (
            _name(place.backupDestination.name),
            _size(place.held),
            _size(place.free),
            _growth(place.growthPerDay),
            "now" if place.waits else day(place.fullAt, zone) if place.fullAt else "",
        )
        for place in report.destinations
    ]
    heads = ("Destination", "Holds", "Free", "Growth per day", "Full on")
    full = [place for place in report.destinations if place.waits]
    note = "; ".join(f"{_name(p.backupDestination.name)} {p.waits}: new backups wait" for p in full)
    return DocumentTable("Space", heads, rows, frozenset({1, 2, 3}), note)


def _size(count: int | None) -> str:
    return "" if count is None else units.size(count)


def _growth(count: int | None) -> str:
    """Growth in bytes per day; negative if clean-ups freed more than backups added."""
    return "" if count is None else f"{'-' if count < 0 else ''}{units.size(abs(count))}"


def _sizes(title: str, table: SizeTable) -> DocumentTable:
    rows = [(_name(group.name), units.size(group.size)) for group in table.groups]
    noun = table.groupBy.description
    note = f"Total: {units.size(table.total)}"
    return DocumentTable(f"{title} by {noun.lower()}", (noun, "Size"), rows, frozenset({1}), note)


def _more(count: int) -> str:
    return f"and {count} more" if count > 0 else ""


def _listed(counts: Sequence[tuple[int, str]]) -> str:
    """The counts that are not zero: `3 protected, 1 late`."""
    return ", ".join(f"{count} {word}" for count, word in counts if count) or "none"


def _counted(count: int, noun: str, state: str) -> str:
    return f"{units.counted(count, noun)} {state}" if count else ""


def _name(text: str) -> str:
    return printable(text) or "(without name)"


def _reason(text: str) -> str:
    plain = printable(" ".join(text.split()))
    return plain if len(plain) <= _LONGEST_REASON else plain[: _LONGEST_REASON - 1] + "…"


def day(ms: int, zone: ZoneInfo) -> str:
    """The date of a time; a time outside the calendar as epoch ms."""
    return _shown(ms, zone, "%Y-%m-%d")


def _time(ms: int, zone: ZoneInfo) -> str:
    return _shown(ms, zone, "%Y-%m-%d %H:%M %Z")


def _shown(ms: int, zone: ZoneInfo, form: str) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, zone).strftime(form)
    except (OverflowError, OSError, ValueError):
        return str(ms)
