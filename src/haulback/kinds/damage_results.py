"""The complete report of a repository's damage, as VERIFY and REPAIR send it."""

from __future__ import annotations

from collections.abc import Iterable

from haulback.inventory.damage import DamageReport, DiskLoss, Loss
from haulback.repository.assess import BackupLoss
from haulback.repository.pack import name_of
from haulback.repository.verify import Report

_MOST, _TEXT = 1000, 1900  # entries, and characters of one


def complete_report(
    destination: str, report: Report, expected: Iterable[str]
) -> tuple[DamageReport, int]:
    """The report for the catalogue, and how many backups the catalogue does not know.

    `expected` are the backups that it knows: those that were not found are missing.
    """
    unknown = {*report.listed, *report.unreadable}
    known = set(unknown)
    missing: list[str] = []
    for backup in expected:
        unknown.discard(backup)
        if backup not in known:
            missing.append(backup)
    recorded = report.recorded
    losses = [as_loss(loss) for loss in report.losses]
    damaged = recorded.damaged if recorded else {}
    named = {str(spot)[:_TEXT] for spot in damaged}
    # Said already, as objects or as losses of backups.
    said = {str(loss) for loss in report.losses}
    packs = {name_of(spot.pack) for spot in damaged}
    findings = [
        text
        for text in report.findings
        if text not in said and not any(pack in text for pack in packs)
    ]
    return DamageReport(
        destination,
        losses[:_MOST],
        report.unreadable[:_MOST],
        missing[:_MOST],
        sorted(named)[:_MOST],
        [text[:_TEXT] for text in findings][:_MOST],
        recorded.unreliable[:_TEXT] if recorded else "",
        max(len(losses), len(report.unreadable), len(missing)) <= _MOST,
    ), len(unknown)


def as_loss(loss: BackupLoss) -> Loss:
    """A loss as it crosses the wire."""
    disks = [DiskLoss(disk.name[:400], disk.bytes) for disk in loss.disks]
    return Loss(loss.backup, disks, [text[:_TEXT] for text in loss.objects])
