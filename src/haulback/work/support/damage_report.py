"""The complete report of a repository's damage, as VERIFY and REPAIR send it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from haulback.contract.damage import DamageReport
from haulback.repository.pack import name_of
from haulback.repository.reported_damage import MOST, as_loss, clipped
from haulback.repository.scan import in_turn
from haulback.repository.verify import VerifyReport


class CompletedReport(NamedTuple):
    """The report for the catalogue, and the guids of the backups that it does not know.

    The next report begins after the backup `told`; "" after a complete report.
    """

    report: DamageReport
    unknown: list[str]
    told: str


def complete_report(
    destination: str, report: VerifyReport, expected: Iterable[str], after: str = ""
) -> CompletedReport:
    """The report of VERIFY or REPAIR.

    `expected` are the backups of the catalogue: an expected backup that was not found is missing.
    If there are more backups than a report can hold, it names those that follow the guid `after`.
    """
    unknown = {*report.listed, *report.unreadable}
    known = set(unknown)
    missing: list[str] = []
    for backup in expected:
        unknown.discard(backup)
        if backup not in known:
            missing.append(backup)
    recorded = report.recorded
    losses = {loss.backup: loss for loss in report.losses}
    lacking = in_turn({*losses, *report.unreadable, *missing}, after)
    named = set(lacking[:MOST])
    told = lacking[MOST - 1] if len(lacking) > MOST else ""
    findings = _unsaid(report)
    if told:
        findings.insert(
            0,
            f"{len(lacking)} backups lack data: {MOST} of these backups are marked now, "
            "and the next VERIFY continues with the others",
        )
    whole = DamageReport(
        destination,
        [as_loss(loss) for backup, loss in losses.items() if backup in named],
        [backup for backup in report.unreadable if backup in named],
        [backup for backup in missing if backup in named],
        clipped(sorted(map(str, recorded.damaged))) if recorded else [],
        clipped(findings),
        clipped([recorded.unreliable])[0] if recorded else "",
        not told and not report.unlooked,
    )
    return CompletedReport(whole, sorted(unknown), told or report.looked)


def _unsaid(report: VerifyReport) -> list[str]:
    """Findings that the report does not contain yet as objects or as losses of backups."""
    said = {str(loss) for loss in report.losses}
    packs = {name_of(spot.pack) for spot in report.recorded.damaged} if report.recorded else set()
    return [
        text
        for text in report.findings
        if text not in said and not any(pack in text for pack in packs)
    ]
