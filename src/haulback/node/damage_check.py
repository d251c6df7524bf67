"""Damage report at the end of an attempt: unreadable objects and the affected backups.

Every task type gets this report, whether the attempt succeeded or failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import msgspec

from haulback.contract.damage import DamageReport, Loss
from haulback.errors import HaulbackError, Missing
from haulback.repository.backup_loss import assess
from haulback.repository.damage_report import record_findings
from haulback.repository.repository import Repository
from haulback.wire import JsonObject
from haulback.work.support.damage_report import MOST, as_loss, clipped

log = logging.getLogger(__name__)


def report_damage(
    destination: str,
    repository: Repository,
    backups: Iterable[str],
    sign: Callable[[], tuple[str, int]],
    error: Exception | None = None,
) -> DamageReport | None:
    """Record damage in the repository; returns those of `backups` (guids) that it affects.

    `sign` gives name and time (epoch ms) for the record, `error` is the error that ended the
    attempt. Returns None without damage.
    """
    report = DamageReport(destination)
    if isinstance(error, Missing):
        report.missing, report.unreadable = error.missing[:MOST], sorted(error.unreadable)[:MOST]
    if repository.findings:
        by, now = sign()
        record_findings(repository, by, now)
    [report.unreliable] = clipped([repository.unreliable])
    report.objects = clipped(sorted(map(str, repository.recorded)))
    if report.objects:
        report.losses = [loss for backup in backups for loss in _loss(repository, backup)]
    report.findings = clipped(repository.index_folder.damaged.values())
    empty = report == DamageReport(destination)
    return None if empty else report


def as_results(report: DamageReport) -> JsonObject:
    """Wrap the report as the member `damage` of a task's results."""
    return {"damage": msgspec.to_builtins(report)}


def _loss(repository: Repository, backup: str) -> list[Loss]:
    try:
        found = assess(repository, repository.manifest(backup))
    except HaulbackError as error:
        log.info("backup %s cannot be assessed: %s", backup, error.message)
        return []
    return [as_loss(found)] if found else []
