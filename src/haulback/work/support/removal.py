"""Removal of backups from a destination, as BACKUP_CLEANUP and DELETE do it."""

from __future__ import annotations

from haulback.inventory.records import BackupDestination
from haulback.repository.garbage_collection import CleanupOrder, CleanupReport, clean_up
from haulback.work.context import Results, TaskContext

_REPORTED = 100  # damaged backups; a VERIFY soon names the others


def remove(
    job: TaskContext, destination: BackupDestination, backups: list[str], given_up: list[str]
) -> tuple[CleanupReport, Results]:
    """Forget backups and clean up after them: figures of the whole destination, and the report.

    Raises Missing, with nothing deleted, when a backup that the server expects is not there.
    """
    repository = job.repository(destination)
    orders = CleanupOrder(backups, job.expected, given_up, f"clean-up {job.guid}", job.now_ms)
    cleaned = clean_up(
        repository,
        job.folder,
        lambda: job.pins(destination.guid),
        job.pool,
        disk=job.disk,
        meter=job.meter,
        confirm=job.confirm,
        orders=orders,
    )
    job.lacking += cleaned.damaged[:_REPORTED]
    found: Results = {"removed": backups, "givenUp": cleaned.given_up}
    return cleaned, found | job.space(destination)
