"""STORE: publishes the export that waits in staging, which makes the backup exist."""

from __future__ import annotations

import msgspec

from haulback.contract.order_records import IncrementBase
from haulback.contract.store import PUBLISHED, StoreOrder, StoreResult
from haulback.contract.task_states import State
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import TaskKind
from haulback.kinds.support.export_report import EXPORT_REPORT, WINDOW, read_results, unreported
from haulback.kinds.support.reports import SPACE, ReportMember, lacking
from haulback.tasks.record import Task

_REPORT = (
    ReportMember("stored", "bytes", "Bytes that the backup takes on the destination.", needed=True),
    ReportMember("parent", "guid", "The backup that an increment builds on."),
    ReportMember(PUBLISHED, "flag", "The backup is stored, even if the task fails later."),
    ReportMember("volumes", "array", "Each file system in the backup: name, type, size (bytes)."),
    *SPACE,
)


def prepare(task: Task, catalogue: Catalogue) -> StoreOrder:
    entity = catalogue.machines.get(task.ref("protectedEntity") or "")
    base = catalogue.bases.find(entity.guid, task.ref("backupDestination") or "")
    return StoreOrder(
        backup=task.ref("backup") or "",
        uuid=entity.uuid,
        staging=task.params["staging"],
        hypervisor=catalogue.places.hypervisor(entity.hypervisor),
        destination=catalogue.places.destination(task.ref("backupDestination") or ""),
        lock=catalogue.backups.lock_of(task.ref("backup") or ""),
        replaces=(base.checkpoint if base else None) or "",
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    backup = task.ref("backup") or ""
    ledger.backups.timed(task)
    if state is not State.FINISHED and not _is_published(task):
        ledger.backups.failed(backup, task.status_info or state.value)
        return
    exported = read_results(task.params.get("before", {}))
    if exported is None or lacking(_REPORT, task.results):
        before = task.params.get("before", {})
        said = ("STORE", _REPORT, task.results) if exported else ("EXPORT", EXPORT_REPORT, before)
        ledger.backups.partial(backup, unreported(*said))
        return
    report = msgspec.convert(task.results, StoreResult)
    entity, destination = task.ref("protectedEntity") or "", task.ref("backupDestination") or ""
    ledger.backups.stored(backup, report.stored, report.parent)
    mark = exported.cbtId or exported.checkpoint
    ledger.bases.promote(IncrementBase(entity, destination, backup, mark))
    if report.volumes is not None:
        ledger.backups.contains(backup, report.volumes)
    ledger.destinations.space(destination, report.totalSpace, report.freeSpace)
    ledger.destinations.stored(destination, report.stored)


def _is_published(task: Task) -> bool:
    """Whether a task that failed or was cancelled, or its failed attempts, stored the backup.

    The node may have dropped the checkpoint of the old base by then, so this backup is the base.
    """
    if task.results.get(PUBLISHED) is not True:
        return False
    try:
        msgspec.convert(task.results, StoreResult)
    except msgspec.ValidationError:
        return False
    return not lacking(_REPORT, task.results)


KIND = TaskKind(
    type="STORE",
    lane="store",
    order=StoreOrder,
    prepare=prepare,
    settle=settle,
    window=WINDOW,
    retries=True,
    lasting=frozenset({"stored", "parent", PUBLISHED}),
    report=_REPORT,
)
