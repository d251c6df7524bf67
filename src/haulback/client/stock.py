"""What there is to protect, where backups go, and what is stored there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Unpack
from urllib.parse import unquote

import msgspec

from haulback.client.archive import followed
from haulback.client.calls import Collection, Narrowed, Page, Readable
from haulback.errors import Incomplete, Unavailable
from haulback.filesystems.records import printable
from haulback.inventory.requests import (
    ChangedDestination,
    ChangedHypervisor,
    Hint,
    MachineSettings,
    NewDestination,
    NewHypervisor,
)
from haulback.inventory.shapes import (
    BackupRecord,
    DestinationRecord,
    DiskRecord,
    Execution,
    File,
    HypervisorRecord,
    Job,
    Location,
    Machine,
    MarkPreview,
    NotIncremental,
    Proof,
)
from haulback.inventory.shared import (
    FileRow,
    FileSystem,
    IscsiTarget,
    MountedBackup,
    MountedFile,
    MountedFileSystem,
    SnapshotRecord,
)
from haulback.wire import Named


class Hypervisors(Collection[HypervisorRecord]):
    """Where machines live."""

    path, kind = "/hypervisors", HypervisorRecord

    def add(self, new: NewHypervisor) -> HypervisorRecord:
        """Add one; its machines are listed by the task in the answer."""
        return self._calls.one(HypervisorRecord, "POST", self.path, new)

    def change(self, guid: str, wanted: ChangedHypervisor) -> HypervisorRecord:
        """Rename it, or put it under a manager."""
        return self._calls.one(HypervisorRecord, "PUT", f"{self.path}/{guid}", wanted)

    def confirm_absent(self, guid: str) -> list[Named]:
        """Hold absent the machines that looks miss; which those are.

        Raises Conflict when no machine is missed.
        """
        return self._calls.one(list[Named], "POST", f"{self.path}/{guid}/confirm-absent")


class Destinations(Collection[DestinationRecord]):
    """Where backups go."""

    path, kind = "/backup-destinations", DestinationRecord

    def add(self, new: NewDestination) -> DestinationRecord:
        """Add one; its repository is made by the task in the answer."""
        return self._calls.one(DestinationRecord, "POST", self.path, new)

    def change(self, guid: str, wanted: ChangedDestination) -> DestinationRecord:
        """Rename it, or set what it keeps."""
        return self._calls.one(DestinationRecord, "PUT", f"{self.path}/{guid}", wanted)

    def usable_for(self, machines: Iterable[str]) -> list[DestinationRecord]:
        """Those that the nodes of all these machines reach."""
        path = f"{self.path}/usable-for-vms"
        return self._calls.one(list[DestinationRecord], "POST", path, _refs(machines))


class Machines(Collection[Machine]):
    """Virtual machines and their disks."""

    path, kind = "/virtual-machines", Machine

    def set(self, guid: str, wanted: MachineSettings) -> None:
        """Policies and project; what is absent stays."""
        self._calls.done("PUT", f"{self.path}/{guid}/settings", wanted)

    def remove_absent(self) -> None:
        """Forget those that are not present and have no backups."""
        self._calls.done("DELETE", f"{self.path}/all-non-present")

    def not_incremental(self, machines: Iterable[str]) -> list[NotIncremental]:
        """Those whose next backup will be full whatever is asked, and why."""
        path, body = f"{self.path}/incremental-not-possible", {"entities": _refs(machines)}
        return self._calls.one(list[NotIncremental], "POST", path, body)

    def disks(self, guid: str) -> list[DiskRecord]:
        """The disks of a machine."""
        query = {"virtual_machine": guid}
        return self._calls.one(list[DiskRecord], "GET", "/virtual-machine-disks", query=query)

    def set_disk(self, disk: str, *, excluded: bool) -> None:
        """Whether backups leave a disk out.  Raises Conflict when none would be left."""
        path, body = f"/virtual-machine-disks/{disk}/settings", {"excludedFromBackup": excluded}
        self._calls.done("PUT", path, body)

    def policies(self, machines: Iterable[str]) -> list[dict[str, Any]]:
        """The backup policies of machines, each once, with their rules."""
        path, body = "/policies/vm-backup/list-by-entities", {"protectedEntities": _refs(machines)}
        return self._calls.one(list[dict[str, Any]], "POST", path, body)


class Backups(Readable[BackupRecord]):
    """Backups, the newest first; their locations and files."""

    path, kind = "/backups", BackupRecord

    def describe(self, guid: str, words: str) -> None:
        """Words about a backup."""
        self._calls.done("PUT", f"{self.path}/{guid}/description", {"value": words})

    def acknowledge(self, guid: str, read: bool = True) -> None:
        """Somebody has read the warnings."""
        self._calls.done("PUT", f"{self.path}/{guid}/warnings-acknowledged", {"value": read})

    def proof(self, guid: str) -> Proof:
        """What proves a backup.  Raises NotFound while nothing does."""
        return self._calls.one(Proof, "GET", f"{self.path}/{guid}/proof")

    def confirm_missing(self, guid: str) -> None:
        """Give up a missing backup, so that clean-ups go on.  Raises Conflict for a present one."""
        self._calls.done("POST", f"{self.path}/{guid}/confirm-missing")

    def mark(self, locations: Iterable[str], hint: Hint, until: int | None = None) -> None:
        """What retention is to do with these locations; an ARCHIVE may end (epoch ms)."""
        body = {"backupLocations": _refs(locations), "retentionHint": hint, "archiveExpire": until}
        self._calls.done("POST", "/retention/mark-backups", body)

    def preview_mark(
        self, locations: Iterable[str], hint: Hint, until: int | None = None
    ) -> list[MarkPreview]:
        """What `mark` would make of these locations and of others; nothing changes."""
        body = {"backupLocations": _refs(locations), "retentionHint": hint, "archiveExpire": until}
        path = "/retention/mark-backups/preview"
        return self._calls.one(list[MarkPreview], "POST", path, body)

    def locations(self, page: int = 0, **query: Unpack[Narrowed]) -> Page[Location]:
        """A page of where backups lie."""
        sent = {"page": page, "size": 50, **query}
        return self._calls.page(Location, "/backup-locations", sent)

    def all_locations(self, **query: Unpack[Narrowed]) -> Iterator[Location]:
        """The same, every one."""
        return self._calls.each(Location, "/backup-locations", {**query})

    def location(self, guid: str) -> Location:
        """One location."""
        return self._calls.one(Location, "GET", f"/backup-locations/{guid}")

    def files(self, backup: str) -> list[File]:
        """The disks of a backup."""
        return self._calls.one(list[File], "GET", "/backup-files", query={"backup": backup})

    def files_to_restore(self, backup: str) -> list[File]:
        """The same, as a restore takes them in `taskFiles`."""
        path = "/backup-files/detailed/for-restore"
        return self._calls.one(list[File], "GET", path, query={"backup": backup})


class Snapshots(Readable[SnapshotRecord]):
    """Snapshots that stay on their platforms, the newest first."""

    path, kind = "/snapshots", SnapshotRecord


class Mounts(Readable[MountedBackup]):
    """Mounted backups, the newest first; their file systems, files and disks."""

    path, kind = "/mounted-backups", MountedBackup

    def file_systems_of(self, backup: str) -> list[FileSystem]:
        """The file systems of a backup, as a MANUAL mount names them."""
        return self._calls.one(list[FileSystem], "GET", "/file-systems", query={"backup": backup})

    def file_systems(self, mount: str) -> list[MountedFileSystem]:
        """The file systems that a mounted backup shows."""
        path, query = "/mounted-file-systems/detailed", {"mounted_backup": mount}
        return self._calls.one(list[MountedFileSystem], "GET", path, query=query)

    def disks(self, mount: str) -> list[MountedFile]:
        """The disks that a mounted backup offers."""
        query = {"mounted_backup": mount}
        return self._calls.one(list[MountedFile], "GET", "/mounted-files", query=query)

    def iscsi(self, mount: str) -> IscsiTarget:
        """How initiators reach the disks of what is mounted in mode ISCSI."""
        return self._calls.one(IscsiTarget, "GET", f"{self.path}/{mount}/iscsi")

    def listing(self, file_system: str, path: str = "/") -> Iterator[FileRow]:
        """The entries of a folder, by name, read a page at a time.

        Raises Incomplete behind the last row of a folder that is damaged.
        """
        where, after = f"/mounted-file-systems/{file_system}/listing", ""
        while True:
            query = {"after": after} if after else {}
            answer = self._calls.api.ask("POST", where, {"path": path}, query)
            yield from msgspec.json.decode(answer.content, type=list[FileRow])
            after = unquote(answer.headers.get("x-next-name", ""))
            if not after:
                break
        if reason := printable(unquote(answer.headers.get("x-incomplete", ""))):
            raise Incomplete(
                f"{path} does not show all that it held: {reason}",
                count=1,
                files=[{"path": path, "reason": reason}],
            )

    def download(
        self,
        file_system: str,
        paths: Iterable[str],
        *,
        archive: bool = False,
        told: Callable[[Mapping[str, str]], object] = len,
    ) -> Iterator[bytes]:
        """A file as it is, or a tar of several, of a folder, or if `archive` is wanted.

        `told` hears the headers, whose content-type says which it is.  Raises Unavailable where
        the bytes break off.  A tar is delivered to its end before Incomplete is raised, whose
        details name the `files` (`path` and `reason` each) that could not be read.
        """
        body = {"paths": list(paths), "archive": archive}
        path = f"/mounted-file-systems/{file_system}/download"
        headers: dict[str, str] = {}
        parts = self._calls.api.stream(path, body, headers.update)
        first = next(parts, b"")
        told(headers)
        whole = chain([first], parts)
        is_tar = headers.get("content-type", "").startswith("application/x-tar")
        yield from followed(whole) if is_tar else _single(whole)


class Restores(Readable[Job]):
    """Restore jobs, the newest first."""

    path, kind = "/restore-jobs", Job


class Workflows(Collection[Execution]):
    """Plans of tasks.  Removing one takes its finished tasks off the lists."""

    path, kind = "/workflow-executions", Execution


def _single(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The parts of a single file, which has no place for a report."""
    try:
        yield from parts
    except Unavailable as error:
        more = "if the file itself is damaged, an archive has what can be read of it"
        raise Unavailable(f"{error.message}; {more}") from None


def _refs(guids: Iterable[str]) -> list[dict[str, str]]:
    return [{"guid": guid} for guid in guids]
