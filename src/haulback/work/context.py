"""Declaration of the node half of a task kind, and the services of the node that it may use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from haulback.contract.catalogue import CatalogueItem, FoundBackup
from haulback.contract.damage import DamageReport
from haulback.contract.mount import IscsiOrder, PublishedFolder
from haulback.contract.order_records import BackupDestination, BackupPlace, Hypervisor
from haulback.destinations.protocol import ObjectStore
from haulback.drivers.hypervisor import MachineSource
from haulback.durable_files import DurableFiles
from haulback.filesystems.records import Volume
from haulback.mounts.spec import MountState
from haulback.repository.keys import Secret
from haulback.repository.pack_verification import PackMemory
from haulback.repository.repository import Repository
from haulback.wire import JsonObject

Results = JsonObject
Struct = type[msgspec.Struct]
# Prefixes of the names of checkpoints and snapshots; the attempt's name follows.
PREFIX = "haulback-"


class Sharing(NamedTuple):
    """A backup to mount under the guid of its mount; `visible` and `target` as in MountOrder.

    `for_machine` is true if a machine will run from the mount.  `others` are other locations of the
    backup.
    """

    guid: str
    backup: str
    destination: BackupDestination
    visible: list[PublishedFolder]
    target: IscsiOrder | None = None
    for_machine: bool = False
    others: Sequence[BackupPlace] = ()


class Progress(Protocol):
    """Progress of the attempt in bytes or records, and the order to stop."""

    def expect(self, total: int) -> None:
        """Set the number of bytes to be done."""

    def expect_records(self, total: int) -> None:
        """Set the number of records to be done; `meter` then counts records instead of bytes."""

    def meter(self, count: int) -> None:
        """Add `count` done bytes.  Raises Cancelled or Fenced when the work must stop."""

    def count(self, count: int) -> None:
        """Add `count` done bytes while the work can no longer stop."""

    def confirm(self) -> None:
        """Ask the server whether the attempt is still valid.  Raises Cancelled or Fenced."""


class MachineAccess(Protocol):
    """Hypervisors, and the locks of their machines on this node."""

    def open(self, record: Hypervisor) -> MachineSource:
        """Open a hypervisor until the end of the attempt.  Raises Malformed without its driver."""

    def lock(
        self, record: Hypervisor, uuid: str, *, wait: bool = True
    ) -> AbstractContextManager[bool]:
        """Lock a machine on this node; without `wait`, yields False if the lock is taken."""


class RepositoryAccess(Protocol):
    """Backup destinations and their repositories."""

    # Guids of backups that the work found damaged; the report at the end of the task contains them.
    damaged: list[str]
    # The destination's guid and the guid of each backup whose manifest could not be read there.
    unread: list[tuple[str, str]]
    # Damaged objects that the log of the task names already; the end of the task leaves them out.
    told: set[str]

    def open(self, record: BackupDestination) -> Repository:
        """Open a repository until the end of the attempt.

        Raises Conflict if the destination holds another repository than before.
        """

    def open_for_backup(self, record: BackupDestination) -> Repository:
        """The repository on a destination, for an EXPORT or a STORE: objects that the process has
        just read are not read again where an old state does no harm.
        """

    def store(self, record: BackupDestination) -> ObjectStore:
        """A destination for adding and reading objects; its `delete` raises Forbidden without a
        grant.
        """

    def check_place(self, record: BackupDestination) -> None:
        """Check the location of a new repository.  Raises Conflict inside another repository."""

    def secret(self, record: BackupDestination) -> Secret:
        """The key of a destination, fetched over the node's own channel."""

    def space(self, record: BackupDestination) -> dict[str, int]:
        """`totalSpace` and `freeSpace` of a destination in bytes; empty if unknown."""

    def pack_memory(self, repository: Repository) -> PackMemory:
        """The packs of a repository that this node has checked recently."""


class StagingAccess(Protocol):
    """Staging folders of attempts on this node; `folder` is this attempt's, empty at first."""

    folder: Path

    def of(self, attempt: str) -> Path:
        """The staging folder of an earlier attempt, which may no longer exist."""

    def discard(self, attempt: str) -> None:
        """Remove a staging folder; a missing folder is no error."""

    def leftovers(self) -> list[str]:
        """Names of attempts that have a staging folder or an unfinished restore on this node."""

    def restore_folder(self, path: str) -> RestoreFolder:
        """A folder to restore to, below a root of the node.  Raises Forbidden or Conflict."""


class MountAccess(Protocol):
    """Mounted backups of this node, by the guid of the mount."""

    def begin(self, wanted: Sharing) -> MountState:
        """Mount a backup; the mount outlives this process and replaces a mount with the same guid.

        Raises the error because of which the backup cannot be mounted.
        """

    def end(self, guid: str) -> list[DamageReport]:
        """End a mount and return the damage that it found; no error for an ended mount."""

    def socket(self, guid: str) -> Path:
        """The socket at which a mount serves its disks over NBD."""

    def volumes(self, guid: str) -> list[Volume]:
        """The file systems of a mount."""

    def archive(self, guid: str, volume: str, paths: Sequence[str]) -> Iterator[bytes]:
        """A tar of files of a mount, with every file complete.

        Raises NotFound before the first part, and Incomplete at an unreadable file.
        """


class TaskServer(Protocol):
    """Queries and early reports to the server about this task."""

    def now_ms(self) -> int:
        """The server's time, epoch ms."""

    def needed(self) -> Set[str]:
        """Attempts and checkpoints that a record still needs.

        The set asks the server when a name is looked up.  The caller lists the candidates first: a
        name that is not needed after the list was made will never be needed again.
        """

    def abandoned(self, names: Collection[str]) -> Set[str]:
        """The snapshots among `names` that failed attempts of this server took."""

    def expected(self) -> Iterator[str]:
        """The backups that the server fixed when this task was taken, a page at a time."""

    def catalogue(self) -> Iterator[CatalogueItem]:
        """The server's facts about the backups of the task's destination, a page at a time."""

    def found(self, backups: list[FoundBackup]) -> int:
        """Send backups found on the destination (at most `catalogue.FOUND`); returns the number of
        new backups.
        """

    def pins(self, destination: str) -> Set[str]:
        """Other attempts that now read or write a destination, or wait to store on it."""

    def type_changed(self, backup_type: str) -> None:
        """Report immediately that the type of the backup differs from the requested type."""

    def note(self, results: Results) -> None:
        """Report results before the end; a later attempt continues from `cursor`."""


class RestoreFolder(Protocol):
    """A folder that is being built: `folder` receives the files, `commit` gives it its final name.

    `made` is the requested folder if an earlier attempt of the same task has completed it.
    """

    folder: Path
    made: Path | None

    def commit(self) -> Path:
        """Make the folder appear, durable and complete.  Raises Conflict when the name is taken."""


class TaskContext(Protocol):
    """The services of the node for one attempt of a task, by capability.

    `attempt` is the name TASK-NUMBER that all leftovers of the attempt have; `order` is the order
    of the kind; `pool` has two threads for hashing and compressing.
    """

    guid: str
    attempt: str
    order: Any
    disk: DurableFiles
    pool: ThreadPoolExecutor

    @property
    def progress(self) -> Progress: ...

    @property
    def machines(self) -> MachineAccess: ...

    @property
    def repositories(self) -> RepositoryAccess: ...

    @property
    def staging(self) -> StagingAccess: ...

    @property
    def mounts(self) -> MountAccess: ...

    @property
    def server(self) -> TaskServer: ...

    def log(self, text: str) -> None:
        """Add a line to the log of the task."""


def _no_tidying(context: TaskContext) -> None:
    """A function for kinds that leave no leftovers."""


@dataclass(frozen=True)
class TaskWork:
    """The node half of a task kind.

    `run` does the work of an `order` and returns the results; `tidy` runs once FINISHED is
    acknowledged.  STAGING_CLEANUP removes the leftovers of attempts that ended otherwise. `stages`
    is true if the attempt fills its staging folder for its follower.
    """

    type: str
    order: Struct
    run: Callable[[TaskContext], Results]
    tidy: Callable[[TaskContext], None] = _no_tidying
    stages: bool = False


TaskWorks = dict[str, TaskWork]
