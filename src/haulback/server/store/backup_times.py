"""Waiting and run times of the tasks of a backup or a restore job."""

from __future__ import annotations

import msgspec

from haulback.server.store.rows import json_text
from haulback.tasks.record import Task

_QUEUED = {"EXPORT": "queuedExportTime", "STORE": "queuedStoreTime", "RESTORE": "queuedRestoreTime"}
_RAN = {"EXPORT": "exportTime", "STORE": "storeTime", "RESTORE": "restoreTime"}
_QUEUED |= {"IMPORT": "queuedImportTime", "MOUNT": "queuedMountTime"}
_RAN |= {"IMPORT": "importTime", "MOUNT": "mountTime"}


def with_times(text: str | None, task: Task) -> str:
    """The times of a JSON text with the waiting and run time of a task added; milliseconds."""
    times: dict[str, int] = msgspec.json.decode(text or "{}")
    if task.started is not None:
        times[_QUEUED[task.type]] = max(0, task.started - max(task.created, task.window_start))
        if task.finished is not None:
            times[_RAN[task.type]] = max(0, task.finished - task.started)
    return json_text(times)
