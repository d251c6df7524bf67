"""Task submissions: one method for each request that creates tasks."""

from __future__ import annotations

from typing import TypedDict, TypeVar, Unpack

from haulback.client.api import HttpCall
from haulback.client.calls import Calls
from haulback.client.projects import project_uuid
from haulback.client.records import RecordCollection
from haulback.contract import unavailable
from haulback.contract.backup_cleanup import BackupCleanupRequest as Cleanup
from haulback.contract.connectivity_test import ConnectivityTestRequest as Test
from haulback.contract.export import ExportRequest as Export
from haulback.contract.import_machine import ImportMachineRequest as Import
from haulback.contract.instant_restore import InstantRestoreRequest as Instant
from haulback.contract.inventory_sync import InventorySyncRequest as Sync
from haulback.contract.inventory_sync import InventorySyncWizardRequest
from haulback.contract.live_migration import LiveMigrationRequest as Migration
from haulback.contract.mount import MountRequest as Share
from haulback.contract.mount import RemountRequest
from haulback.contract.projects import Project
from haulback.contract.prove import ProveRequest as Prove
from haulback.contract.repair import RepairRequest as Repair
from haulback.contract.restore import RestoreRequest as Restore
from haulback.contract.snapshot import SnapshotRequest as Snapshot
from haulback.contract.snapshot_cleanup import ReleaseRequest as Release
from haulback.contract.snapshot_cleanup import SnapshotCleanupRequest as SnapshotCleanup
from haulback.contract.snapshot_reversion import SnapshotReversionRequest as Reversion
from haulback.contract.tasks import TaskBatchResponse, TaskDetails, TaskListRecord
from haulback.contract.unmount import UnmountRequest as Unmount
from haulback.contract.upload import UploadRequest as Upload
from haulback.contract.verify import VerifyRequest as Verify

T = TypeVar("T")


class SubmissionResult(TypedDict, total=False):
    """Options of a submission.

    `key` is an idempotency key: repeating a request with the same key returns the same tasks and
    creates no others. `project` is the project that owns the tasks, by its
    uuid, or by the name or guid of its record.
    """

    key: str
    project: str


class Submissions:
    """Submissions of work; requests are the request structs of the task kinds.

    All methods raise Malformed, NotFound, Conflict, and KindUnavailable for kinds that are not
    implemented yet.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def submit(
        self, path: str, request: object, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Submit work under `/tasks/{path}`, also of kinds that have no method here."""
        return self._post(list[TaskDetails], path, request, how)

    def export(self, request: Export, **how: Unpack[SubmissionResult]) -> list[TaskDetails]:
        """Back up machines; one task for each machine and rule."""
        return self.submit("export", request, **how)

    def restore(self, request: Restore, **how: Unpack[SubmissionResult]) -> TaskDetails:
        """Write the disks of a backup as files on a node."""
        return self._one("restore", request, how)

    def restore_and_import(self, request: Import, **how: Unpack[SubmissionResult]) -> TaskDetails:
        """Restore a backup as a machine; an IMPORT task follows the returned task."""
        return self._one("restore-and-import", request, how)

    def verify(self, request: Verify, **how: Unpack[SubmissionResult]) -> list[TaskDetails]:
        """Verify the data in destinations; one task for each destination."""
        return self.submit("verify", request, **how)

    def repair(self, request: Repair, **how: Unpack[SubmissionResult]) -> list[TaskDetails]:
        """Report possible repairs in destinations, or carry them out; one task for each
        destination.
        """
        return self.submit("repair", request, **how)

    def prove(self, request: Prove, **how: Unpack[SubmissionResult]) -> TaskDetails:
        """Prove a backup: boot it in isolation and wait for a sign of life."""
        return self._one("prove", request, how)

    def restore_and_mount(self, request: Share, **how: Unpack[SubmissionResult]) -> TaskDetails:
        """Mount a backup: share its disks or file systems on a node."""
        return self._one("restore-and-mount", request, how)

    def instant_restore(self, request: Instant, **how: Unpack[SubmissionResult]) -> TaskDetails:
        """Start a machine directly from its backup."""
        return self._one("instant-restore", request, how)

    def live_migration(self, request: Migration, **how: Unpack[SubmissionResult]) -> TaskDetails:
        """Move a running machine: from its backup to permanent storage, or to another host."""
        return self._one("live-migration", request, how)

    def mount(self, request: RemountRequest, **how: Unpack[SubmissionResult]) -> TaskDetails:
        """Mount an unmounted backup again."""
        return self._one("mount", request, how)

    def unmount(self, request: Unmount, **how: Unpack[SubmissionResult]) -> TaskDetails:
        """Unmount a backup."""
        return self._one("unmount", request, how)

    def upload(self, request: Upload, **how: Unpack[SubmissionResult]) -> TaskDetails:
        """Upload files of a mounted backup."""
        return self._one("upload", request, how)

    def snapshot(self, request: Snapshot, **how: Unpack[SubmissionResult]) -> list[TaskDetails]:
        """Take snapshots that stay on the hypervisor."""
        return self.submit("snapshot", request, **how)

    def vm_snapshot(self, request: Snapshot, **how: Unpack[SubmissionResult]) -> list[TaskDetails]:
        """Alias of `snapshot` under its other path."""
        return self.submit("vm-snapshot", request, **how)

    def revert(self, request: Reversion, **how: Unpack[SubmissionResult]) -> TaskDetails:
        """Revert a machine to a snapshot."""
        return self._one("revert", request, how)

    def remove_old_snapshots(
        self, request: SnapshotCleanup, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Remove expired snapshots."""
        return self.submit("remove-old-snapshots", request, **how)

    def release(self, request: Release, **how: Unpack[SubmissionResult]) -> list[TaskDetails]:
        """Release the checkpoints of machines; the next backup of each is a full one."""
        return self.submit("release", request, **how)

    def remove_old_backups(
        self, request: Cleanup, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Remove expired backups and reclaim their space."""
        return self.submit("remove-old-backups", request, **how)

    def delete(self, machine: str, **how: Unpack[SubmissionResult]) -> list[TaskDetails]:
        """Delete a machine's backups and then its record; the hypervisor is left untouched."""
        return self.submit("delete", {"value": machine}, **how)

    def batch_delete(
        self, machines: list[str], **how: Unpack[SubmissionResult]
    ) -> TaskBatchResponse:
        """Delete machines as `delete` does; the response names each refused machine."""
        body = [{"value": guid} for guid in machines]
        return self._post(TaskBatchResponse, "batch-delete", body, how)

    def inventory_sync(self, request: Sync, **how: Unpack[SubmissionResult]) -> list[TaskDetails]:
        """Scan hypervisors for their machines."""
        return self.submit("inventory-sync", request, **how)

    def try_hypervisors(
        self, request: InventorySyncWizardRequest, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Scan new hypervisors; those that respond are saved."""
        return self.submit("wizard/inventory-sync", request, **how)

    def connectivity_test(
        self, request: Test, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Test whether nodes reach hypervisors and can use destinations."""
        return self.submit("connectivity-test", request, **how)

    def eject_tape(
        self, request: unavailable.Tapes, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Eject tapes."""
        return self.submit("eject-tape", request, **how)

    def import_tape(
        self, request: unavailable.Tapes, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Import tapes into the library."""
        return self.submit("import-tape", request, **how)

    def tape_inventory_sync(
        self, request: unavailable.TapeManagers, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Scan tape managers for their tapes."""
        return self.submit("tape-manager-inventory-sync", request, **how)

    def import_for_cloud(
        self, request: unavailable.CloudImportRequest, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Restore objects to a cloud account."""
        return self.submit("import-for-cloud", request, **how)

    def import_for_cloud_per_feature(
        self, request: unavailable.CloudFeatureRequest, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Restore objects to a cloud account with options for each feature of the account."""
        return self.submit("import-for-cloud/per-feature", request, **how)

    def import_for_agent(
        self, request: unavailable.AgentImportRequest, **how: Unpack[SubmissionResult]
    ) -> list[TaskDetails]:
        """Restore files to a machine through its agent."""
        return self.submit("import-for-os-agent", request, **how)

    def recover(self, plan: str, **how: Unpack[SubmissionResult]) -> list[TaskListRecord]:
        """Run the recovery plan `plan` (guid): a restore for each machine of its active rules."""
        return self._post(list[TaskListRecord], plan, None, how)

    def _one(self, way: str, request: object, how: SubmissionResult) -> TaskDetails:
        return self._post(TaskDetails, way, request, how)

    def _post(self, kind: type[T], way: str, request: object, how: SubmissionResult) -> T:
        headers = {"idempotency-key": key} if (key := how.get("key")) else {}
        projects = RecordCollection(self._calls, "/projects", Project)
        query = {"project_uuid": project_uuid(projects, how.get("project", ""))}
        return self._calls.fetch(kind, HttpCall("POST", f"/tasks/{way}", request, query, headers))
