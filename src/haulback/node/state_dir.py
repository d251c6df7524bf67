"""State directory of a node: identity, staging area and journal of unreported results."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from haulback.durable_files import DurableFiles, hold, write_private
from haulback.errors import Malformed, NotFound, OutOfSpace
from haulback.mounts.supervisor import PORTAL, MountSupervisor
from haulback.node.lock_memory import LockMemories
from haulback.node.pack_memory import PackMemories
from haulback.repository.index_cache import CacheFolder
from haulback.repository.recent_reads import RecentRepositories
from haulback.wire import JsonObject

_ATTEMPT = re.compile(r"(?P<task>[0-9a-f-]{36})-(?P<number>[0-9]{1,9})")
RESERVE = 64 * 1024 * 1024  # bytes that staging leaves free on its disk


class NodeIdentity(msgspec.Struct):
    """Enrolment of this node: its guid and its secret."""

    guid: str
    secret: str


class StateDir:
    """The state directory, locked by one process.  Raises Conflict if the lock is held.

    `roots` are the restore roots; `portal` is the iSCSI listen address, ADDRESS:PORT.
    """

    def __init__(
        self,
        folder: Path,
        roots: Sequence[Path],
        disk: DurableFiles | None = None,
        portal: str = PORTAL,
    ) -> None:
        self.folder, self.disk = folder, disk or DurableFiles()
        self.roots = [root.resolve() for root in roots]
        for path in (folder, folder / "staging", folder / "journal"):
            path.mkdir(parents=True, exist_ok=True)
        self._lock = hold(
            folder / "lock",
            f"another node process uses {folder}; stop that process, or name another folder "
            "by --data",
        )
        self.journal = ReportJournal(folder / "journal", self.disk)
        self.pack_memories = PackMemories(folder / "checked-packs", self.disk)
        self.lock_memories = LockMemories(folder / "locked-objects", self.disk)
        self.index_cache = CacheFolder(folder / "index-cache")
        self.recent_reads = RecentRepositories()
        self.shares = MountSupervisor(folder / "shares", self.roots, portal=portal)

    def close(self) -> None:
        self.shares.close()
        self._lock.close()

    def identity(self) -> NodeIdentity:
        """Read the node's identity.  Raises NotFound before enrolment."""
        try:
            data = (self.folder / "identity.json").read_bytes()
        except FileNotFoundError:
            raise NotFound(
                f"this node is not enrolled ({self.folder} has no identity); make a token by "
                "`haulback node token`, and give it by --token-file or HAULBACK_ENROLMENT_TOKEN"
            ) from None
        return msgspec.json.decode(data, type=NodeIdentity)

    def staging(self, attempt: str) -> Path:
        """Path of an attempt's staging folder, which need not exist.  Raises Malformed."""
        if not _ATTEMPT.fullmatch(attempt):
            raise Malformed(f"{attempt[:60]!r} is not an attempt's name")
        return self.folder / "staging" / attempt

    def stage(self, attempt: str) -> Path:
        """Make the staging folder of a new attempt."""
        path = self.staging(attempt)
        self.disk.make_folder(path)
        return path

    def check_space(self) -> None:
        """Check free staging space before an export.  Raises OutOfSpace below RESERVE bytes."""
        free = shutil.disk_usage(self.folder / "staging").free
        if free < RESERVE:
            raise OutOfSpace(
                f"staging {self.folder / 'staging'} has only {free} bytes left; free some space"
            )

    def space(self) -> tuple[int, int]:
        """Return total and used bytes of the staging area's file system."""
        usage = shutil.disk_usage(self.folder / "staging")
        return usage.total, usage.used

    def restore_folder(self, root: Path, attempt: str) -> Path:
        """Path of the hidden folder in a restore root where an attempt collects restored files."""
        return root / f".haulback-{attempt}"

    def leftovers(self) -> list[str]:
        """Names of attempts with a staging folder or a hidden folder in a restore root."""
        found = {path.name for path in (self.folder / "staging").iterdir()}
        for root in self.roots:
            folders = root.glob(".haulback-*") if root.is_dir() else []
            found |= {path.name.removeprefix(".haulback-") for path in folders}
        return sorted(name for name in found if _ATTEMPT.fullmatch(name))

    def discard(self, attempt: str) -> None:
        """Delete all folders of an attempt."""
        for path in (
            self.staging(attempt),
            *(self.restore_folder(root, attempt) for root in self.roots),
        ):
            shutil.rmtree(path, ignore_errors=True)


class ReportJournal:
    """Journal of finished attempts: one synced file each, until the server has acknowledged it."""

    def __init__(self, folder: Path, disk: DurableFiles) -> None:
        self._folder, self._disk = folder, disk

    def write(self, attempt: str, results: JsonObject) -> None:
        temp = self._folder / f".{attempt}"
        temp.unlink(missing_ok=True)
        self._disk.write_file(temp, msgspec.json.encode(results))
        self._disk.replace(temp, self._folder / attempt)
        self._disk.sync_folder(self._folder)

    def remove(self, attempt: str) -> None:
        (self._folder / attempt).unlink(missing_ok=True)

    def entries(self) -> list[JsonObject]:
        """List task, attempt number and results of each entry, as a session request sends them."""
        found = []
        for path in sorted(self._folder.iterdir()):
            if name := _ATTEMPT.fullmatch(path.name):
                results = msgspec.json.decode(path.read_bytes())
                entry = {"task": name["task"], "attempt": int(name["number"]), "results": results}
                found.append(entry)
        return found

    def clear(self) -> None:
        """Delete all entries, after the server has acknowledged them."""
        for path in self._folder.iterdir():
            path.unlink()


def write_identity(folder: Path, identity: NodeIdentity) -> None:
    """Write the node's identity to a file that only the node's user can read."""
    folder.mkdir(parents=True, exist_ok=True)
    write_private(folder / "identity.json", msgspec.json.encode(identity))
