"""Removal of backups from a destination, for BACKUP_CLEANUP and DELETE."""

from __future__ import annotations

from haulback.contract.order_records import BackupDestination
from haulback.repository.garbage_collection import CleanupOrder, CleanupReport, clean_up
from haulback.repository.resources import Resources
from haulback.units import counted
from haulback.work.context import Results, TaskContext
from haulback.work.support.catalogue import write_extract
from haulback.work.support.pause import pause
from haulback.work.support.phases import phase

_SEEN = "every node must see the announcement of the deletion, and the lists of this store may lag"
_REPORTED = 100  # damaged backups in one report; a VERIFY soon reports the others


def remove(
    context: TaskContext, destination: BackupDestination, backups: list[str], given_up: list[str]
) -> tuple[CleanupReport, Results]:
    """Delete backups and reclaim their space; returns figures of the destination, and the report.

    Raises Missing, with nothing deleted, when a backup that the server expects is not there.
    """
    repository = context.repositories.open(destination)
    orders = CleanupOrder(
        backups,
        context.server.expected,
        given_up,
        f"clean-up {context.guid}",
        context.server.now_ms,
        lambda seconds: pause(context, seconds, _SEEN),
    )
    progress = context.progress
    context.log(f"{counted(len(backups), 'backup')} to delete; given up: {len(given_up)}")
    with phase(context, "the repository was cleaned up"):
        cleaned = clean_up(
            repository,
            context.staging.folder,
            lambda: context.server.pins(destination.guid),
            Resources(context.pool, context.disk, progress.meter, progress.confirm),
            orders,
        )
    write_extract(context, repository, destination.owner)
    if not cleaned.held:
        repository.extracts.sweep()
    context.repositories.damaged += cleaned.damaged[:_REPORTED]
    if kept := cleaned.kept_locked:
        context.log(f"{counted(len(kept), 'backup')} not deleted: the object lock has not expired")
    removed = [backup for backup in backups if backup not in set(kept)]
    results: Results = {"removed": removed, "givenUp": cleaned.given_up}
    return cleaned, results | context.repositories.space(destination)
