"""BACKUP_DESTINATION_SYNC: copies backups to a second destination, or reads the catalogue of one.

The order decides: with a source destination the task copies, otherwise it reads the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from haulback.contract.backup_destination_sync import (
    DestinationSyncOrder,
    DestinationSyncResult,
    WantedCopy,
)
from haulback.contract.order_records import BackupDestination
from haulback.contract.task_states import State
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Backup
from haulback.kinds.api import Context, TaskKind
from haulback.kinds.support import catalogue_orders, planning
from haulback.kinds.support.reports import SPACE, ReportMember
from haulback.kinds.support.second_copies import (
    COPIES,
    HEALS,
    LANE,
    SOURCE,
    TYPE,
    WINDOW,
    copying_of,
    family_of,
)
from haulback.tasks.record import Task

_GONE = "the backup was removed before it was copied"


def reading(to: BackupDestination, context: Context) -> Task:
    """The task that reads the catalogue of a destination."""
    spec = planning.TaskSpec(
        refs={"backupDestination": planning.named(to)}, pinned=reach.pin(to), window=WINDOW
    )
    return planning.task(TYPE, "verify", context, None, spec)


def start(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    if SOURCE not in task.params:
        catalogue_orders.start(task, ledger)
    for copy in task.params.get(COPIES, []):
        ledger.backups.started(copy)


def prepare(task: Task, catalogue: Catalogue) -> DestinationSyncOrder:
    to = catalogue.places.destination(task.ref("backupDestination") or "")
    source = task.params.get(SOURCE)
    if source is None:
        return catalogue_orders.order(task, to)
    origin = catalogue.places.destination(source)
    wanted = list(_wanted(task, origin.guid, catalogue))
    family = family_of(catalogue, to)
    return DestinationSyncOrder(to, origin, wanted, copying_of(to).rate, family=family)


def _wanted(task: Task, origin: str, catalogue: Catalogue) -> Iterator[WantedCopy]:
    """The copies whose backup can still be read at its source."""
    heals = bool(task.params.get(HEALS))
    for copy in catalogue.backups.copies(task.params[COPIES]):
        for source in catalogue.backups.locations(copy.guid):
            if source.destination == origin and _is_readable(source):
                older = catalogue.backups.newest_before(copy, source.snapshot_time or 0)
                lock = catalogue.backups.lock_of(copy.guid)
                yield WantedCopy(copy.guid, source.guid, None if heals else older, heals, lock)
                break


def _is_readable(backup: Backup) -> bool:
    return backup.status == "SUCCESS" and backup.location_status in ("PRESENT", "DAMAGED")


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record the finished copies, also of a task that failed later."""
    if SOURCE not in task.params:
        catalogue_orders.settle(task, state, ledger)
        return
    destination = task.ref("backupDestination") or ""
    report = _report(task, state)
    done = {copy.backup: copy for copy in report.copied}
    reason = _GONE if state is State.FINISHED else task.status_info or state.value
    # A task whose window closed before it could start also ends as CANCELLED.
    cancelled = state is State.CANCELLED and ledger.now < task.window_end
    for guid in task.params[COPIES]:
        copy = done.get(guid)
        if task.params.get(HEALS):
            ledger.damage.healed(task, guid, is_whole=copy is not None and not copy.lacks)
        elif copy:
            ledger.backups.copied(guid, copy.stored, copy.parent)
        else:
            source = task.params[SOURCE]
            ledger.backups.copy_failed(guid, source, reason, cancelled=cancelled)
    ledger.destinations.space(destination, report.totalSpace, report.freeSpace)
    new = [] if task.params.get(HEALS) else task.params[COPIES]
    if stored := sum(done[guid].stored for guid in new if guid in done):
        ledger.destinations.stored(destination, stored)


def _report(task: Task, state: State) -> DestinationSyncResult:
    try:
        return msgspec.convert(task.results, DestinationSyncResult)
    except msgspec.ValidationError:
        if state is State.FINISHED:
            raise
        return DestinationSyncResult()


KIND = TaskKind(
    type=TYPE,
    lane=LANE,
    order=DestinationSyncOrder,
    prepare=prepare,
    start=start,
    settle=settle,
    report=(
        ReportMember(
            "copied", "array", "Each finished copy: backup, stored (bytes), parent, lacks."
        ),
        ReportMember("sealedAnew", "flag", "The data was sealed with the key of the destination."),
        ReportMember("repository", "guid", "The guid of the repository whose catalogue was read."),
        ReportMember("backups", "count", "Number of backups that are stored there."),
        ReportMember("added", "count", "Number of backups that were new to the catalogue."),
        ReportMember(
            "lost", "count", "Number of backups that an extract names and that are not there."
        ),
        ReportMember("extractTime", "time", "Time of the newest extract, epoch ms; 0 without one."),
        *SPACE,
    ),
    window=WINDOW,
    retries=True,
)
