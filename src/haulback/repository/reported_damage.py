"""Report of damage for the catalogue: unreadable objects and the affected backups.

Every attempt of a task makes this report, whether it succeeded or failed, and every mount.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from haulback.contract.damage import DamageReport, Loss, LostDisk
from haulback.errors import HaulbackError, Missing
from haulback.repository.backup_loss import BackupLoss, assess
from haulback.repository.damage_report import second_look, tell_findings
from haulback.repository.repository import Repository
from haulback.wire import JsonObject

MOST = 1000  # entries of one report
_TEXT = 1900  # maximum length of one entry, in characters

log = logging.getLogger(__name__)


def clipped(texts: Iterable[str]) -> list[str]:
    """The first texts, each shortened, as many and as long as a report may hold."""
    return [text[:_TEXT] for text in islice(texts, MOST)]


def as_loss(loss: BackupLoss) -> Loss:
    """A loss in the form of the report."""
    disks = [LostDisk(disk.name[:400], disk.bytes) for disk in loss.disks]
    return Loss(loss.backup, disks, [text[:_TEXT] for text in loss.objects])


class ReadBackups(NamedTuple):
    """The guids of the backups that an attempt was about, and those whose manifest it could not
    read; `error` is the error that ended the attempt.
    """

    backups: Sequence[str] = ()
    unread: Sequence[str] = ()
    error: Exception | None = None


def report_damage(
    destination: str,
    repository: Repository,
    asked: ReadBackups,
    sign: Callable[[], tuple[str, int]],
) -> DamageReport | None:
    """Record damage in the repository; returns those of the backups that it affects.

    The damage is reported even if the destination takes no record, for example because it is full.
    `sign` gives name and time (epoch ms) for the record. Returns None without damage.
    """
    report = DamageReport(destination)
    if isinstance(asked.error, Missing):
        missing = asked.error
        report.missing, report.unreadable = (
            missing.missing[:MOST],
            sorted(missing.unreadable)[:MOST],
        )
    elif asked.unread:
        report.missing, report.unreadable = second_look(repository, asked.unread[:MOST])
    if repository.findings:
        by, now = sign()
        tell_findings(repository, by, now)
    [report.unreliable] = clipped([repository.unreliable])
    report.objects = clipped(sorted(map(str, repository.recorded)))
    if report.objects:
        report.losses = [loss for backup in asked.backups for loss in _loss(repository, backup)]
    report.findings = clipped([*_unrecorded(repository), *repository.index_folder.damaged.values()])
    empty = report == DamageReport(destination)
    return None if empty else report


def as_results(reports: Sequence[DamageReport]) -> JsonObject:
    """Wrap the reports as the member `damage` of a task's results: one, or a list of several."""
    if not reports:
        return {}
    told = msgspec.to_builtins(list(reports))
    return {"damage": told[0] if len(told) == 1 else told}


def _unrecorded(repository: Repository) -> list[str]:
    why = repository.unrecorded
    return [f"this damage cannot be recorded on the destination: {why}"] if why else []


def _loss(repository: Repository, backup: str) -> list[Loss]:
    try:
        found = assess(repository, repository.manifest(backup))
    except HaulbackError as error:
        log.info("backup %s cannot be assessed: %s", backup, error.message)
        return []
    return [as_loss(found)] if found else []
