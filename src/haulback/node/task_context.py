"""Task context: the services of the node that the code of a task type may use."""

from __future__ import annotations

import logging
import shutil
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

from haulback.contract.damage import DamageReport
from haulback.destinations.add_only import AddOnly
from haulback.destinations.known import open_destination
from haulback.destinations.protocol import ObjectStore
from haulback.drivers.hypervisor import HypervisorDriver
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.drivers.remote.ssh import far_libvirt
from haulback.drivers.remote.url import SCHEME
from haulback.drivers.remote_set import AskedNames
from haulback.errors import Cancelled, Conflict, Fenced, HaulbackError, Malformed, Unavailable
from haulback.filesystems.records import Volume
from haulback.inventory import records
from haulback.mounts.spec import MountSpec, MountState
from haulback.node.damage_check import as_results, report_damage
from haulback.node.pack_memory import FilePackMemory
from haulback.node.restore_target import FolderRestore
from haulback.node.server_client import ServerClient
from haulback.node.state_dir import StateDir
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.work.context import Results, Sharing

log = logging.getLogger(__name__)
_HYPERVISORS: dict[str, Callable[[records.Hypervisor], HypervisorDriver]] = {
    "image-folder": lambda record: ImageFolder(_path(record)),
    "libvirt": lambda record: _libvirt(str(record.config.get("url")), _path(record)),
}
_LOG_AHEAD = 500
_AGAIN = 0.5  # seconds between two tries
_STUMBLES = 5
T = TypeVar("T")


def patiently(call: Callable[[], T], stop: Event) -> T:
    """Repeat a call until the server answers.  Raises Unavailable only when `stop` is set.

    An internal error of the server is retried _STUMBLES times; any other error is raised at once.
    """
    stumbles = 0
    while True:
        try:
            return call()
        except HaulbackError as error:
            stumbles += error.code == "internal"
            stumbled = error.code == "internal" and stumbles <= _STUMBLES
            if not stumbled and not isinstance(error, Unavailable):
                raise
            if stop.wait(_AGAIN):
                raise Unavailable(error.message) from None


def printable(text: str) -> str:
    """Escape bytes of file names that are not UTF-8, and NUL, so that `text` can be sent."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _libvirt(url: str, storage: Path) -> HypervisorDriver:
    far = url.startswith(f"{SCHEME}:")
    return far_libvirt(url, storage) if far else LibvirtHost(url, storage)


def open_hypervisor(record: records.Hypervisor) -> HypervisorDriver:
    """Open the driver of a hypervisor.  Raises Malformed without such a driver on this node."""
    return _HYPERVISORS[_known(record, _HYPERVISORS)](record)


class Locks:
    """Locks of machines on this node: one attempt works on a machine at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_machine: dict[str, Lock] = {}

    def of(self, machine: str) -> Lock:
        with self._lock:
            return self._by_machine.setdefault(machine, Lock())


class RunningTask:
    """Task context (`seam.Job`) of one attempt; the reporter reads counters and sets flags."""

    def __init__(
        self, guid: str, number: int, order: Any, link: ServerClient, home: StateDir, locks: Locks
    ) -> None:
        self.guid, self.attempt, self.order = guid, f"{guid}-{number}", order
        self.disk = home.disk
        self.total = self.done = 0
        self._started = time.monotonic()
        self.cancelled = self.is_done = False
        self.platforms: dict[str, records.Hypervisor] = {}  # used by this attempt
        self._opened: list[HypervisorDriver] = []
        self.lacking: list[str] = []  # guids of backups found damaged
        self._repositories: list[tuple[str, Repository]] = []
        self._over = Event()
        self.lines: deque[str] = deque(maxlen=_LOG_AHEAD)
        self._link, self._home, self._locks = link, home, locks
        self.folder = home.stage(self.attempt)
        self.pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix=f"work-{guid[:8]}")

    @property
    def fenced(self) -> bool:
        """Tell whether another attempt owns the task, or this process is stopping."""
        return self._over.is_set()

    def fence(self) -> None:
        self._over.set()

    def ask(self, call: Callable[[], T]) -> T:
        """Call the server until it answers.  Raises Fenced if the attempt is fenced meanwhile."""
        try:
            return patiently(call, self._over)
        except Unavailable:
            raise Fenced("the attempt was given up while the server did not answer") from None

    def now_ms(self) -> int:
        return self._link.now_ms()

    def hypervisor(self, record: records.Hypervisor) -> HypervisorDriver:
        made = open_hypervisor(record)
        self.platforms[record.guid] = record
        self._opened.append(made)
        return made

    def destination(self, record: records.BackupDestination) -> ObjectStore:
        made = open_destination(record.driver, record.config, self.attempt)
        # The server grants deletion to clean-up tasks; all other tasks can only add objects.
        return made if record.may_delete else AddOnly(made)

    def space(self, record: records.BackupDestination) -> dict[str, int]:
        path = _path(record)
        try:
            found = shutil.disk_usage(path)
        except OSError as error:
            self.log(f"the space of destination {record.name} is unknown: {error}")
            return {}
        return {"totalSpace": found.total, "freeSpace": found.free}

    def pins(self, destination: str) -> Set[str]:
        found = self.ask(lambda: self._link.pins(destination))
        return frozenset(found) - {self.attempt}

    def repository(self, record: records.BackupDestination) -> Repository:
        found = Repository.open(self.destination(record), self.secret(record))
        if record.repository not in (None, found.guid):
            raise Conflict(f"destination {record.name} holds another repository than before")
        self._repositories.append((record.guid, found))
        return found

    def pack_memory(self, repository: Repository) -> FilePackMemory:
        return self._home.pack_memories.of(repository.guid)

    def expected(self) -> Iterator[str]:
        after = ""
        while page := self.ask(lambda after=after: self._link.expected(self.guid, after)):  # type: ignore[misc]
            yield from page
            after = page[-1]

    def became(self, backup_type: str) -> None:
        self.ask(lambda: self._link.backup_type(self.attempt, backup_type))

    def note(self, results: Results) -> None:
        with suppress(Unavailable):  # the next note replaces this one
            self._link.results(self.attempt, results)

    def damage(self, kind: str, error: Exception | None = None) -> Results:
        """Record damage and return the report for the results; empty without damage.

        The report must not change how the attempt ends: an error in reporting is only logged.
        """
        sign = (f"{kind} {self.guid}", self.now_ms())
        base = getattr(self.order, "base", None)
        backups = [getattr(self.order, "backup", None), getattr(base, "backup", None)]
        wanted = [backup for backup in backups if isinstance(backup, str)] + self.lacking
        found: Results = {}
        for destination, repository in self._repositories:
            try:
                report = report_damage(destination, repository, wanted, lambda: sign, error)
            except Exception as other:
                log.warning("task %s: damage cannot be recorded", self.guid, exc_info=other)
                self.log(f"damage cannot be recorded: {printable(str(other))}")
                continue
            if report:
                found |= as_results(report)
                self._tell_damage(report)
        return found

    def _tell_damage(self, report: DamageReport) -> None:
        for text in (*report.objects[:20], *report.findings[:20]):
            self.log(f"damaged: {text}")
        for loss in report.losses:
            disks = ", ".join(f"{disk.name} ({disk.bytes} bytes)" for disk in loss.disks)
            self.log(f"backup {loss.backup} lacks data of {disks}")
        if report.missing:
            self.log(f"missing: {', '.join(report.missing[:20])}")
        if report.unreliable:
            self.log(f"no damage was recorded: {report.unreliable}")

    def secret(self, record: records.BackupDestination) -> Secret:
        return Secret("keyfile", self.ask(lambda: self._link.key(record.guid)))

    def abandoned(self, names: Collection[str]) -> Set[str]:
        return frozenset(self.ask(lambda: self._link.abandoned(list(names))))

    def share(self, wanted: Sharing) -> MountState:
        key = self.ask(lambda: self._link.key(wanted.destination.guid))
        return self._home.shares.begin(share_order(wanted, key))

    def unshare(self, guid: str) -> None:
        self._home.shares.end(guid)

    def share_socket(self, guid: str) -> Path:
        return self._home.shares.socket(guid)

    def volumes(self, guid: str) -> list[Volume]:
        with self._home.shares.browser(guid) as browser:
            return browser.volumes()

    def archive(self, guid: str, volume: str, paths: Sequence[str]) -> Iterator[bytes]:
        with self._home.shares.browser(guid) as browser:
            yield from browser.archive(volume, paths, strict=True)

    def expect(self, total: int) -> None:
        self.total = total

    def count(self, count: int) -> None:
        self.done += count

    def meter(self, count: int) -> None:
        self.done += count
        self.stop_if_unwanted()

    def average(self) -> dict[str, Any]:
        """Bytes moved so far, and the average rate in bytes per second."""
        took = max(time.monotonic() - self._started, 1e-3)
        return {
            "transferRate": round(self.done / took, 1),
            "transferredBytes": self.done,
            "timestamp": self.now_ms(),
        }

    def stop_if_unwanted(self) -> None:
        """Raise Fenced or Cancelled when the attempt must stop."""
        if self.fenced:
            raise Fenced("the server gave the task to another attempt")
        if self.cancelled:
            raise Cancelled("cancelled")

    def confirm(self) -> None:
        self.cancelled |= self.ask(lambda: self._link.is_cancelled(self.attempt))
        self.stop_if_unwanted()

    def log(self, text: str) -> None:
        self.lines.append(printable(text))

    def target(self, path: str) -> FolderRestore:
        return FolderRestore(self._home, path, self.guid, self.attempt)

    def staging(self, attempt: str) -> Path:
        return self._home.staging(attempt)

    def discard(self, attempt: str) -> None:
        self._home.discard(attempt)

    def leftovers(self) -> list[str]:
        return self._home.leftovers()

    def needed(self) -> Set[str]:
        return AskedNames(lambda name: self.ask(lambda: bool(self._link.needed([name]))))

    @contextmanager
    def alone(self, record: records.Hypervisor, uuid: str, *, wait: bool = True) -> Iterator[bool]:
        lock = self._locks.of(f"{record.guid}/{uuid}")
        mine = lock.acquire(blocking=wait)
        try:
            yield mine
        finally:
            if mine:
                lock.release()

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)
        for platform in self._opened:
            platform.close()
        for _, repository in self._repositories:
            self._home.pack_memories.of(repository.guid).save()


def share_order(wanted: Sharing, key: bytes) -> MountSpec:
    """Build the order of the process that serves a mount."""
    return MountSpec(
        guid=wanted.guid,
        driver=wanted.destination.driver,
        config=wanted.destination.config,
        repository=wanted.destination.repository,
        key=key,
        backup=wanted.backup,
        visible=wanted.visible,
        target=wanted.target,
        for_machine=wanted.for_machine,
    )


def _known(record: records.Hypervisor | records.BackupDestination, known: dict[str, Any]) -> str:
    if record.driver not in known:
        raise Malformed(f"{record.name}: this node has no driver {record.driver!r}")
    return record.driver


def _path(record: records.Hypervisor | records.BackupDestination) -> Path:
    path = record.config.get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        raise Malformed(f"{record.name}: its path is not an absolute one")
    return Path(path)
