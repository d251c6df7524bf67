"""Restore jobs: their records and their progress."""

from __future__ import annotations

import msgspec

from haulback.contract.task_states import State
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Backup
from haulback.kinds.api import Context
from haulback.tasks.record import NewRestoreJob, Task
from haulback.wire import JsonObject

_LONGEST = 2000  # maximum length of a restore job's status, in characters


def new_job(kind: str, backup: Backup, context: Context, target: JsonObject) -> NewRestoreJob:
    """The restore job of a request."""
    return NewRestoreJob(
        type=kind,
        entity=backup.entity,
        entity_name=backup.entity_name,
        backup=backup.first,
        snapshot_time=backup.snapshot_time,
        size=backup.size,
        project=backup.project or context.project,
        target=target,
    )


def job_begun(task: Task, ledger: Ledger, catalogue: Catalogue) -> None:
    """Set the restore job to INPROGRESS when its task starts."""
    ledger.restores.moved(task.ref("restoreJob") or "", "INPROGRESS", None, task)


def job_goes_on(task: Task, ledger: Ledger) -> None:
    """Keep the restore job INPROGRESS, because another task follows."""
    ledger.restores.moved(task.ref("restoreJob") or "", "INPROGRESS", task.status_info, task)


def job_ended(task: Task, state: State, ledger: Ledger, more: str = "") -> None:
    """End the restore job with its last task; `more` is a sentence about a restored machine."""
    status = {State.FINISHED: "SUCCESS", State.CANCELLED: "CANCELLED"}.get(state, "FAILED")
    info = task.status_info or (_warnings(task, more) if state is State.FINISHED else None)
    ledger.restores.moved(task.ref("restoreJob") or "", status, info, task)


def _warnings(task: Task, more: str) -> str | None:
    """Sentences about parts that the restored machine lacks, as a node reports them."""
    said = msgspec.convert(task.results.get("warnings", []), list[str])
    return "; ".join([*([more] if more else []), *said]).replace("\0", "")[:_LONGEST] or None
