"""Reports of a node about the task it runs; the calls need that node's token."""

from __future__ import annotations

from haulback.client.api import HttpCall
from haulback.client.calls import Calls
from haulback.contract.backups import BackupType
from haulback.contract.tasks import TaskDetails
from haulback.wire import JsonObject

_SHOW = {"prefer": "return=representation"}


class NodeTasks:
    """Task reports of a node.

    All methods raise Forbidden for a task of another node, Fenced when the attempt has ended, and
    Malformed.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def progress(self, guid: str, percent: float) -> None:
        """Report progress in percent."""
        self._put(guid, "progress", {"value": percent})

    def cloud_progress(self, guid: str, done: int, total: int) -> None:
        """Report progress of cloud work, counted in objects."""
        self._objects(guid, "cloud-progress", done, total)

    def os_progress(self, guid: str, done: int, total: int) -> None:
        """Report progress of an agent's work, counted in objects."""
        self._objects(guid, "os-progress", done, total)

    def backup_type(self, guid: str, kind: BackupType) -> TaskDetails:
        """Report the actual backup type when it differs from the planned one."""
        return self._shown(guid, "backup-type", kind.value)

    def transfer_info(self, guid: str, info: JsonObject) -> TaskDetails:
        """Report the result of the work as an open object; it takes effect when the task is
        FINISHED.
        """
        return self._shown(guid, "transfer-info", info)

    def transfer_rate(
        self, guid: str, per_second: float, done: int | None = None, at: int | None = None
    ) -> None:
        """Report a transfer sample: bytes per second, total bytes so far, time in epoch ms."""
        self._put(guid, "transfer-rate", _sample(per_second, done, at))

    def transfer_more(
        self, guid: str, per_second: float, more: int | None = None, at: int | None = None
    ) -> None:
        """Report a transfer sample whose byte count is added to the total."""
        self._put(guid, "transfer-rate/incremental", _sample(per_second, more, at))

    def cbt_id(self, guid: str, checkpoint: str) -> None:
        """Report the checkpoint on which the next incremental backup may build."""
        self._calls.done("PUT", "/tasks/cbt-id", {"task": {"guid": guid}, "cbtId": checkpoint})

    def inc_snap_required(self, guid: str, required: bool) -> None:
        """Report whether the export must leave a snapshot behind."""
        body = {"task": {"guid": guid}, "incSnapRequired": required}
        self._calls.done("PUT", "/tasks/inc-snap-required", body)

    def restore_host_id(self, guid: str, host: str) -> None:
        """Report the host to which the machine is restored."""
        self._put(guid, "restore-host-id", {"value": host})

    def restore_storage_id(self, guid: str, storage: str) -> None:
        """Report the storage to which the machine is restored."""
        self._put(guid, "restore-storage-id", {"value": storage})

    def files(self, guid: str, files: list[JsonObject]) -> None:
        """Replace the file list of a task (TaskFileDTO)."""
        self._calls.done("POST", f"/tasks/{guid}/task-files", {"taskFiles": files})

    def log(self, guid: str, *lines: str) -> None:
        """Append lines to the task's log."""
        self._calls.done("POST", f"/tasks/{guid}/log", list(lines))

    def inventory(self, seen: JsonObject) -> None:
        """Report the inventory of a whole hypervisor (FullInventoryRequest)."""
        self._calls.done("POST", "/tasks/inventory", seen)

    def instance_inventory(self, seen: JsonObject) -> None:
        """Report the inventory of one machine (InstanceScopedInventoryRequest)."""
        self._calls.done("POST", "/tasks/instance-inventory", seen)

    def tape_inventory(self, seen: JsonObject) -> None:
        """Report the inventory of a tape manager (TapeManagerInventoryRequest)."""
        self._calls.done("POST", "/tasks/tape-manager-inventory", seen)

    def _put(self, guid: str, what: str, body: object) -> None:
        self._calls.done("PUT", f"/tasks/{guid}/{what}", body)

    def _objects(self, guid: str, what: str, done: int, total: int) -> None:
        self._put(guid, what, {"processedObjectCount": done, "totalObjectCount": total})

    def _shown(self, guid: str, what: str, body: object) -> TaskDetails:
        path = f"/tasks/{guid}/{what}"
        return self._calls.fetch(TaskDetails, HttpCall("PUT", path, body, headers=_SHOW))


def _sample(rate: float, count: int | None, at: int | None) -> JsonObject:
    return {"transferRate": rate, "transferredBytes": count, "timestamp": at}
