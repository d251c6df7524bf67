"""Hypervisors, machines, destinations, backups, mounts, restores and workflows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Unpack
from urllib.parse import unquote

import msgspec

from haulback.client import record_names
from haulback.client.api import HttpCall
from haulback.client.archive import followed
from haulback.client.calls import (
    Collection,
    DatedCollection,
    ListFilters,
    Page,
    PerishableCollection,
    UuidCollection,
)
from haulback.contract.backups import BackupRecord, File, Hint, Location, MarkPreview, Proof
from haulback.contract.catalogue import AttachedDestination, TakeOver
from haulback.contract.copies import CopyLinkRecord, NewCopyLink
from haulback.contract.destination_move import MovedDestination
from haulback.contract.destinations import ChangedDestination, DestinationRecord, NewDestination
from haulback.contract.hypervisors import ChangedHypervisor, HypervisorRecord, NewHypervisor
from haulback.contract.machines import DiskRecord, MachineSettings, NotIncremental, VirtualMachine
from haulback.contract.mounts import (
    BackupFileSystem,
    FileDetails,
    FileRow,
    IscsiTarget,
    MountedBackup,
    MountedFile,
    MountedFileSystem,
)
from haulback.contract.restores import RestoreJobRecord
from haulback.contract.snapshots import SnapshotRecord
from haulback.contract.space import MachineShare
from haulback.contract.workflows import WorkflowExecution
from haulback.errors import Incomplete, NotFound, Unavailable
from haulback.ids import is_guid
from haulback.texts import printable
from haulback.wire import JsonObject, Named


class Hypervisors(PerishableCollection[HypervisorRecord]):
    """Hypervisors, on which machines run."""

    path, kind = "/hypervisors", HypervisorRecord

    def add(self, new: NewHypervisor) -> HypervisorRecord:
        """Add a hypervisor; the task in the response scans its machines."""
        return self._calls.one(HypervisorRecord, "POST", self.path, new)

    def change(self, guid: str, wanted: ChangedHypervisor) -> HypervisorRecord:
        """Rename a hypervisor, or assign it to a manager."""
        return self._calls.one(HypervisorRecord, "PUT", f"{self.path}/{guid}", wanted)

    def confirm_absent(self, guid: str) -> list[Named]:
        """Mark machines as absent that recent scans did not find; returns those machines.

        Raises Conflict when no machine is missing.
        """
        return self._calls.one(list[Named], "POST", f"{self.path}/{guid}/confirm-absent")


class Destinations(PerishableCollection[DestinationRecord]):
    """Backup destinations."""

    path, kind = "/backup-destinations", DestinationRecord

    def add(self, new: NewDestination) -> DestinationRecord:
        """Add a destination; the task in the response creates its repository."""
        return self._calls.one(DestinationRecord, "POST", self.path, new)

    def init(self, guid: str) -> DestinationRecord:
        """Create the repository of a destination again, by the task in the response."""
        return self._calls.one(DestinationRecord, "POST", f"{self.path}/{guid}/init")

    def change(self, guid: str, wanted: ChangedDestination) -> DestinationRecord:
        """Set a destination's name, retention or verification; missing members stay."""
        return self._calls.one(DestinationRecord, "PUT", f"{self.path}/{guid}", wanted)

    def attach(self, wanted: AttachedDestination) -> DestinationRecord:
        """Add a destination that holds a repository; the task in the response reads its
        catalogue.
        """
        return self._calls.one(DestinationRecord, "POST", f"{self.path}/attach", wanted)

    def take_over(self, guid: str, wanted: TakeOver) -> DestinationRecord:
        """Become the owner of a destination; the task in the response carries it out."""
        return self._calls.one(DestinationRecord, "POST", f"{self.path}/{guid}/take-over", wanted)

    def read_catalogue(self, guid: str) -> DestinationRecord:
        """Add unknown backups of a destination to the catalogue, by the task in the response."""
        return self._calls.one(DestinationRecord, "POST", f"{self.path}/{guid}/read-catalogue")

    def move(self, guid: str, wanted: MovedDestination) -> DestinationRecord:
        """Change the location of a destination's repository, by the task in the response."""
        return self._calls.one(DestinationRecord, "POST", f"{self.path}/{guid}/move", wanted)

    def space(self, guid: str) -> list[MachineShare]:
        """Stored bytes of a destination by machine, as counted by its last clean-up."""
        return self._calls.one(list[MachineShare], "GET", f"{self.path}/{guid}/space")

    def close_breaker(self, guid: str) -> DestinationRecord:
        """Let the tasks of a destination that did not answer continue at once."""
        return self._calls.one(DestinationRecord, "POST", f"{self.path}/{guid}/close-breaker")

    def copy_to(self, guid: str, targets: Sequence[NewCopyLink]) -> list[CopyLinkRecord]:
        """Set the destinations that receive a copy of every backup of a destination."""
        path = f"{self.path}/{guid}/copies"
        return self._calls.one(list[CopyLinkRecord], "PUT", path, list(targets))

    def usable_for(self, machines: Iterable[str]) -> list[DestinationRecord]:
        """Destinations that are reachable from the nodes of all these machines."""
        path = f"{self.path}/usable-for-vms"
        return self._calls.one(list[DestinationRecord], "POST", path, _refs(machines))


class Machines(UuidCollection[VirtualMachine], PerishableCollection[VirtualMachine]):
    """Virtual machines and their disks."""

    path, kind = "/virtual-machines", VirtualMachine

    def set(self, guid: str, wanted: MachineSettings) -> None:
        """Set policies and project; missing members stay unchanged."""
        self._calls.done("PUT", f"{self.path}/{guid}/settings", wanted)

    def remove_absent(self) -> None:
        """Remove the records of absent machines that have no backups."""
        self._calls.done("DELETE", f"{self.path}/all-non-present")

    def not_incremental(self, machines: Iterable[str]) -> list[NotIncremental]:
        """Machines whose next backup must be a full backup, with the reasons."""
        path, body = f"{self.path}/incremental-not-possible", {"entities": _refs(machines)}
        return self._calls.one(list[NotIncremental], "POST", path, body)

    def disks(self, guid: str) -> list[DiskRecord]:
        """The disks of a machine."""
        query = {"virtual_machine": guid}
        return self._calls.one(list[DiskRecord], "GET", "/virtual-machine-disks", query=query)

    def set_disk(self, disk: str, *, excluded: bool) -> None:
        """Exclude a disk from backups or include it.

        Raises Conflict when all disks of the machine would be excluded.
        """
        path, body = f"/virtual-machine-disks/{disk}/settings", {"excludedFromBackup": excluded}
        self._calls.done("PUT", path, body)

    def policies(self, machines: Iterable[str]) -> list[JsonObject]:
        """Backup policies of these machines with their rules, without duplicates."""
        path, body = "/policies/vm-backup/list-by-entities", {"protectedEntities": _refs(machines)}
        return self._calls.one(list[JsonObject], "POST", path, body)


class Backups(DatedCollection[BackupRecord]):
    """Backups, newest first; their locations and files."""

    path, kind = "/backups", BackupRecord

    def newest(self, machine: str = "") -> list[BackupRecord]:
        """The newest backup that can be restored, of one machine (a guid) or of all."""
        return self.page(
            size=1,
            protected_entity=machine,
            status=["SUCCESS"],
            orderBy="snapshotTime",
            direction="desc",
        ).rows

    def describe(self, guid: str, words: str) -> None:
        """Set the description of a backup."""
        self._calls.done("PUT", f"{self.path}/{guid}/description", {"value": words})

    def acknowledge(self, guid: str, read: bool = True) -> None:
        """Mark the warnings of a backup as read."""
        self._calls.done("PUT", f"{self.path}/{guid}/warnings-acknowledged", {"value": read})

    def proof(self, guid: str) -> Proof:
        """The proof of a backup. Raises NotFound for an unproved backup."""
        return self._calls.one(Proof, "GET", f"{self.path}/{guid}/proof")

    def confirm_missing(self, guid: str) -> None:
        """Give up a missing backup so that clean-ups continue.

        Raises Conflict for a backup that is present.
        """
        self._calls.done("POST", f"{self.path}/{guid}/confirm-missing")

    def mark(self, locations: Iterable[str], hint: Hint, until: int | None = None) -> None:
        """Set the retention hint of backup locations; `until` ends an ARCHIVE (epoch ms)."""
        body = {"backupLocations": _refs(locations), "retentionHint": hint, "archiveExpire": until}
        self._calls.done("POST", "/retention/mark-backups", body)

    def preview_mark(
        self, locations: Iterable[str], hint: Hint, until: int | None = None
    ) -> list[MarkPreview]:
        """Preview of `mark`: these locations, and others with changed retention."""
        body = {"backupLocations": _refs(locations), "retentionHint": hint, "archiveExpire": until}
        path = "/retention/mark-backups/preview"
        return self._calls.one(list[MarkPreview], "POST", path, body)

    def locations(self, page: int = 0, **query: Unpack[ListFilters]) -> Page[Location]:
        """Fetch one page of 50 backup locations; pages count from 0."""
        sent = {"page": page, "size": 50, **query}
        return self._calls.page(Location, "/backup-locations", sent)

    def all_locations(self, **query: Unpack[ListFilters]) -> Iterator[Location]:
        """Yield every backup location, fetched page by page."""
        return self._calls.each(Location, "/backup-locations", {**query})

    def location(self, guid: str) -> Location:
        """Fetch one backup location by guid. Raises NotFound."""
        return self._calls.one(Location, "GET", f"/backup-locations/{guid}")

    def files(self, backup: str) -> list[File]:
        """The disks of a backup."""
        return self._calls.one(list[File], "GET", "/backup-files", query={"backup": backup})

    def file(self, backup: str, wanted: str) -> str:
        """The guid of a disk of a backup, by guid, its beginning, or its path."""
        if is_guid(wanted):
            return wanted
        return record_names.chosen(self.files(backup), wanted, "disk", lambda row: row.path).guid

    def files_to_restore(self, backup: str) -> list[File]:
        """The disks of a backup in the form that a restore takes as `taskFiles`."""
        path = "/backup-files/detailed/for-restore"
        return self._calls.one(list[File], "GET", path, query={"backup": backup})


class Snapshots(DatedCollection[SnapshotRecord]):
    """Snapshots that stay on their hypervisors, newest first."""

    path, kind = "/snapshots", SnapshotRecord


class Mounts(DatedCollection[MountedBackup]):
    """Mounted backups, newest first; their file systems, files and disks."""

    path, kind = "/mounted-backups", MountedBackup

    def newest(self, machine: str = "") -> list[MountedBackup]:
        """The newest active mount, or else the newest ended mount."""
        present = self.page(size=1, protected_entity=machine, finished_mount=False).rows
        return present or super().newest(machine)

    def ended(self, wanted: str) -> str:
        """The guid of a mount, as `guid`; `latest` is the newest mount that has ended.

        Raises NotFound, or Malformed with the candidates when several mounts fit.
        """
        machine = record_names.latest_of(wanted)
        if machine is None:
            return self.guid(wanted)
        entity = Machines(self._calls).guid(machine) if machine else ""
        rows = self.page(size=1, protected_entity=entity, finished_mount=True).rows
        if not rows:
            raise NotFound(
                f"{wanted}: no mount{f' of {machine}' * bool(machine)} has ended; `haulback "
                "mount ls --all` lists the mounts"
            )
        return rows[0].guid

    def file_systems_of(self, backup: str) -> list[BackupFileSystem]:
        """The file systems of a backup, named as a MANUAL mount expects."""
        return self._calls.one(
            list[BackupFileSystem], "GET", "/file-systems", query={"backup": backup}
        )

    def file_systems(self, mount: str) -> list[MountedFileSystem]:
        """The file systems of a mounted backup."""
        path, query = "/mounted-file-systems/detailed", {"mounted_backup": mount}
        return self._calls.one(list[MountedFileSystem], "GET", path, query=query)

    def file_system(self, wanted: str) -> str:
        """The guid of a file system of a present mount, by guid, its beginning, or volume name.

        Raises NotFound, or Malformed with the candidates when several file systems fit.
        """
        if is_guid(wanted):
            return wanted
        mounted = (
            system
            for mount in self.all(finished_mount=False)
            for system in self.file_systems(mount.guid)
        )
        return record_names.chosen(
            mounted, wanted, "mounted file system", lambda row: row.fileSystem.volume
        ).guid

    def disks(self, mount: str) -> list[MountedFile]:
        """The disks of a mounted backup."""
        query = {"mounted_backup": mount}
        return self._calls.one(list[MountedFile], "GET", "/mounted-files", query=query)

    def iscsi(self, mount: str) -> IscsiTarget:
        """The iSCSI target of a backup that is mounted in mode ISCSI."""
        return self._calls.one(IscsiTarget, "GET", f"{self.path}/{mount}/iscsi")

    def listing(self, file_system: str, path: str = "/") -> Iterator[FileRow]:
        """Yield the entries of a folder, sorted by name, fetched page by page.

        Raises Incomplete after the last entry of a damaged folder.
        """
        where, after = f"/mounted-file-systems/{file_system}/listing", ""
        while True:
            query = {"after": after} if after else {}
            answer = self._calls.api.ask(HttpCall("POST", where, {"path": path}, query))
            yield from msgspec.json.decode(answer.content, type=list[FileRow])
            after = unquote(answer.headers.get("x-next-name", ""))
            if not after:
                break
        if reason := printable(unquote(answer.headers.get("x-incomplete", ""))):
            raise Incomplete(
                f"{path}: the listing is incomplete: {reason}",
                count=1,
                files=[{"path": path, "reason": reason}],
            )

    def details(self, file_system: str, path: str) -> FileDetails:
        """A file or folder after it was opened and read; a link is not followed."""
        where = f"/mounted-file-systems/{file_system}/details"
        return self._calls.one(FileDetails, "POST", where, {"path": path})

    def download(
        self,
        file_system: str,
        paths: Iterable[str],
        *,
        archive: bool = False,
        on_headers: Callable[[Mapping[str, str]], object] = len,
    ) -> Iterator[bytes]:
        """Download one file unchanged, or a tar of several files or a folder.

        `archive` asks for a tar in any case. `on_headers` is called with the response headers;
        content-type names the form of the response. Raises Unavailable for a truncated download. A
        tar with unreadable files is delivered to its end; then Incomplete is raised with the
        `files` (`path` and `reason` each).
        """
        body = {"paths": list(paths), "archive": archive}
        path = f"/mounted-file-systems/{file_system}/download"
        headers: dict[str, str] = {}
        parts = self._calls.api.stream(path, body, headers.update)
        first = next(parts, b"")
        on_headers(headers)
        whole = chain([first], parts)
        is_tar = headers.get("content-type", "").startswith("application/x-tar")
        yield from followed(whole) if is_tar else _single(whole)


class Restores(DatedCollection[RestoreJobRecord]):
    """Restore jobs, newest first."""

    path, kind = "/restore-jobs", RestoreJobRecord


class Workflows(Collection[WorkflowExecution]):
    """Workflow executions (plans of tasks). Removing one hides its finished tasks from lists."""

    path, kind = "/workflow-executions", WorkflowExecution


def _single(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the parts of a single file, which has no error report."""
    try:
        yield from parts
    except Unavailable as error:
        more = "if the file is damaged, a download as an archive contains its readable part"
        raise Unavailable(f"{error.message}; {more}") from None


def _refs(guids: Iterable[str]) -> list[dict[str, str]]:
    return [{"guid": guid} for guid in guids]
