"""What the node half of a task kind declares, and the services of the node that it may use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from haulback.contract.mount import IscsiOrder, Visible
from haulback.destinations.protocol import ObjectStore
from haulback.drivers.hypervisor import HypervisorDriver
from haulback.durable_files import DurableFiles
from haulback.filesystems.records import Volume
from haulback.inventory import records
from haulback.mounts.spec import MountState
from haulback.repository.keys import Secret
from haulback.repository.pack_verification import PackMemory
from haulback.repository.repository import Repository

Results = dict[str, Any]
Struct = type[msgspec.Struct]
PREFIX = "haulback-"  # of the names of checkpoints and snapshots; the attempt's name follows


class Sharing(NamedTuple):
    """What a node is to share, under which guid; see `shares.order`."""

    guid: str
    backup: str
    destination: records.BackupDestination
    visible: list[Visible]
    target: IscsiOrder | None = None
    for_machine: bool = False


class TaskContext(Protocol):
    """What `run` sees on the node.  `folder` is this attempt's staging folder, empty at first."""

    guid: str
    attempt: str
    order: Any
    folder: Path
    disk: DurableFiles
    pool: ThreadPoolExecutor
    lacking: list[str]  # backups that the work found damaged; the end of the task reports them

    def now_ms(self) -> int: ...

    def hypervisor(self, record: records.Hypervisor) -> HypervisorDriver: ...

    def destination(self, record: records.BackupDestination) -> ObjectStore:
        """A destination to add to and read from; its `delete` raises Forbidden without a grant."""

    def repository(self, record: records.BackupDestination) -> Repository: ...

    def secret(self, record: records.BackupDestination) -> Secret:
        """The key of a destination, fetched over the node's own channel."""

    def expect(self, total: int) -> None:
        """How many bytes are to be done."""

    def meter(self, count: int) -> None:
        """So many more bytes are done.  Raises Cancelled or Fenced when the work must stop."""

    def count(self, count: int) -> None:
        """The same where it is too late to stop."""

    def confirm(self) -> None:
        """Ask the server whether this attempt still counts.  Raises Cancelled or Fenced."""

    def log(self, text: str) -> None: ...

    def target(self, path: str) -> RestoreFolder:
        """Where to restore to, below one of the node's roots.  Raises Forbidden or Conflict."""

    def staging(self, attempt: str) -> Path:
        """The staging folder of an earlier attempt, which may be gone."""

    def discard(self, attempt: str) -> None:
        """Remove a staging folder; a missing one is fine."""

    def leftovers(self) -> list[str]:
        """Names of attempts that have a staging folder or a half restore on this node."""

    def needed(self) -> Set[str]:
        """Attempts and checkpoints that something still builds on.

        The server is asked when a name is looked up, so list first what may have to go: what was
        listed before the asking, and is not needed at the asking, is nobody's.
        """

    def share(self, wanted: Sharing) -> MountState:
        """Share a backup, from now on and whatever becomes of this process.

        One of that guid is exchanged.  Raises what keeps it from being shared.
        """

    def unshare(self, guid: str) -> None:
        """Stop sharing; fine when it is over."""

    def share_socket(self, guid: str) -> Path:
        """Where a share serves its disks over NBD, when it does."""

    def volumes(self, guid: str) -> list[Volume]:
        """The file systems of what is shared."""

    def archive(self, guid: str, volume: str, paths: Sequence[str]) -> Iterator[bytes]:
        """A tar of files of a share, every file complete.

        Raises NotFound before the first part, Incomplete at a file that cannot be read.
        """

    def abandoned(self, names: Collection[str]) -> Set[str]:
        """Those snapshots that attempts of this server took which ended badly; nobody else's."""

    def expected(self) -> Iterator[str]:
        """The backups that the server fixed for this task when it was taken, a page at a time."""

    def became(self, backup_type: str) -> None:
        """Tell the server at once that the backup is of another type than the task asked for."""

    def note(self, results: Results) -> None:
        """Tell the server something before the end: a later attempt goes on from `cursor`."""

    def pack_memory(self, repository: Repository) -> PackMemory:
        """The packs of a repository that this node has checked lately."""

    def space(self, record: records.BackupDestination) -> dict[str, int]:
        """`totalSpace` and `freeSpace` of a destination in bytes, where it has such a thing."""

    def pins(self, destination: str) -> Set[str]:
        """Other attempts that read or write a destination, or wait to store there, right now."""

    def alone(
        self, record: records.Hypervisor, uuid: str, *, wait: bool = True
    ) -> AbstractContextManager[bool]:
        """Be the only one on this node at a machine; without `wait`, False if another is."""


class RestoreFolder(Protocol):
    """A folder in the making: `folder` takes the files, `commit` gives it the wanted name.

    `made` is the wanted folder if an earlier attempt of the same task has completed it.
    """

    folder: Path
    made: Path | None

    def commit(self) -> Path:
        """Make it appear, durable and complete.  Raises Conflict when the name is taken."""


def _no_tidying(job: TaskContext) -> None:
    """A kind that leaves nothing behind."""


@dataclass(frozen=True)
class TaskWork:
    """The node half of a task kind.

    `run` does the work of an `order` and returns the results; `tidy` runs once FINISHED is
    acknowledged.  STAGING_CLEANUP removes the leftovers of every attempt that ended otherwise.
    `stages`: the attempt fills its staging folder for the task that follows.
    """

    type: str
    order: Struct
    run: Callable[[TaskContext], Results]
    tidy: Callable[[TaskContext], None] = _no_tidying
    stages: bool = False


TaskWorks = dict[str, TaskWork]
