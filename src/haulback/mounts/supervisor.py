"""Supervisor of the mounts of a node: starts them, finds them after a restart, and ends them."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, RLock

import msgspec

from haulback import credentials
from haulback.contract.damage import MOST_REPORTS, DamageReport
from haulback.contract.mount import PublishedFolder
from haulback.drivers.nbd import Export, connect
from haulback.errors import Conflict, NotFound, Unavailable, is_away
from haulback.filesystems.browser import Browser
from haulback.ids import is_guid
from haulback.mounts import folders
from haulback.mounts.damage_watch import DAMAGE
from haulback.mounts.process import LOCK, NBD, PID, RAW
from haulback.mounts.spec import MountSpec, MountState

# Every user, including QEMU's, can reach this folder, and its path is short, because UNIX sockets
# allow 107 bytes.
ROOMS = Path("/var/tmp")
ACKNOWLEDGED = "damage.acknowledged"  # file in the run folder: the reports that the server took
PORTAL = "0.0.0.0:3260"  # default address of iSCSI targets; 3260 is the standard port
_LEFT = ".damage"  # end of the name of a file beside the records of mounts
_SECONDS = 60.0  # timeout for a mount to start, and to end


class MountSupervisor:
    """Manages the mounts that have a record file in `folder`.

    A record (`MountState`) lists the disks and folders of a mount; it contains no key.
    """

    def __init__(
        self,
        folder: Path,
        roots: Sequence[Path] = (),
        run_folders: Path = ROOMS,
        portal: str = PORTAL,
    ) -> None:
        """Prepare `folder`; `roots` are allowed mount folders in addition to the default
        folders.
        """
        self._folder, self._rooms, self._portal = folder, run_folders, portal
        self._roots = (*folders.ROOTS, *roots)
        folder.mkdir(parents=True, exist_ok=True)
        # guards the table of browsers, which file requests and the end of a mount share
        self._lock = Lock()
        self._browsers: dict[str, _Open] = {}
        # held while a mount is started, and while an unneeded mount is compared and ended
        self._changing: dict[str, RLock] = {}

    def run_folder(self, guid: str) -> Path:
        """Folder for the sockets of a mount's process. Raises NotFound for an invalid guid."""
        if not is_guid(guid):
            raise NotFound(f"{guid[:60]!r} is not the guid of a mount")
        return self._rooms / f"haulback-share-{guid}"

    def socket(self, guid: str) -> Path:
        """Path of the NBD socket of a mount, served while its process runs."""
        return self.run_folder(guid) / NBD

    def all(self) -> list[str]:
        """Guids of all mounts that were started here and not ended."""
        return sorted(path.name for path in self._folder.iterdir() if is_guid(path.name))

    def beginning(self, guid: str) -> int:
        """The number of the present mount with a guid, unique among its mounts; 0 without a
        mount.
        """
        with suppress(FileNotFoundError):
            return (self._folder / guid).stat().st_mtime_ns
        return 0

    def end_unchanged(self, guid: str, beginning: int) -> bool:
        """End a mount, unless it was started again after `beginning` was read."""
        with self._change(guid):
            if self.beginning(guid) != beginning:
                return False
            self.end(guid)
            return True

    def _change(self, guid: str) -> RLock:
        with self._lock:
            return self._changing.setdefault(guid, RLock())

    def begin(self, order: MountSpec) -> MountState:
        """Start the process of a mount and return its disks and folders.

        A mount with the same guid is ended first. Raises Forbidden or Conflict for a folder that
        may not be used, Conflict when the folder of the mount cannot be replaced, Unavailable when
        the process cannot serve; no folder is left then.
        """
        with self._change(order.guid):
            return self._begin(order)

    def _begin(self, order: MountSpec) -> MountState:
        self.end(order.guid)
        folders.check(order.visible, self._roots)
        run_folder = self.run_folder(order.guid)
        if order.target:
            target = msgspec.structs.replace(order.target, portal=self._portal)
            raw = PublishedFolder(str(run_folder / RAW), disks=target.disks)
            shown = [*order.visible, raw]
            order = msgspec.structs.replace(order, target=target, visible=shown)
        planned = _planned(order.visible)
        # Recorded before the start, so that `end` finds the folders if this process dies.
        self._write(order.guid, planned)
        try:
            # mkdir refuses an existing folder, in which another user could have put a pid file that
            # makes `end` kill another process.
            run_folder.mkdir(mode=0o711)
            started = self._start(order, run_folder)
            ready = msgspec.structs.replace(
                planned, disks=started.disks, portal=started.portal, is_ready=True
            )
            self._write(order.guid, ready)
            return ready
        except FileExistsError:
            raise Conflict(f"{run_folder} exists already and cannot be removed") from None
        except BaseException:
            self.end(order.guid)
            raise

    def _start(self, order: MountSpec, run_folder: Path) -> MountState:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "haulback.mounts.process", str(run_folder)],
                input=msgspec.json.encode(order),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env=credentials.for_children(),
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"the mount did not start within {_SECONDS:.0f} s") from None
        ready = msgspec.json.decode(done.stdout or b'{"error":"its process died"}', type=MountState)
        if ready.error:
            raise Unavailable(f"the backup cannot be mounted: {ready.error}")
        return ready

    def _write(self, guid: str, shared: MountState) -> None:
        """Write a record atomically.

        The record is not synced: a power cut ends the mount as well, and only an empty mount folder
        may be left.
        """
        half = self._folder / f".{guid}"
        half.write_bytes(msgspec.json.encode(shared))
        half.replace(self._folder / guid)

    def _shared(self, guid: str) -> MountState:
        """The record of a mount; an empty record for an unknown mount."""
        try:
            return msgspec.json.decode((self._folder / guid).read_bytes(), type=MountState)
        except (FileNotFoundError, msgspec.DecodeError):
            return MountState()

    def lives(self, guid: str) -> bool:
        """Whether the process of a mount runs; a running process holds a lock in its folder."""
        run_folder = self.run_folder(guid)
        try:
            if os.lstat(run_folder).st_uid != os.geteuid():
                return False  # another user has created the folder
            handle = os.open(run_folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def is_served(self, guid: str) -> bool:
        """Whether the process of a mount runs and its record is complete; a start is waited for.

        A node that died during a start leaves a process whose record lists no disks.
        """
        with self._change(guid):
            return self.lives(guid) and _is_complete(self._shared(guid))

    def damage(self, guid: str) -> list[DamageReport]:
        """The damage that a mount has found and the server has not acknowledged, also after the end
        of the mount; empty without any.
        """
        run_folder = self.run_folder(guid)
        known, left = _reports(run_folder / ACKNOWLEDGED), _reports(self._left(guid))
        met = [report for report in _reports(run_folder / DAMAGE) if report not in known]
        return [*left, *(report for report in met if report not in left)]

    def ended_with_damage(self) -> list[str]:
        """Guids of ended mounts with damage that the server has not acknowledged."""
        left = (path.stem for path in self._folder.glob(f"*{_LEFT}"))
        return sorted(guid for guid in left if is_guid(guid) and not (self._folder / guid).exists())

    def acknowledge(self, guid: str, reports: Sequence[DamageReport]) -> None:
        """Record that the server has taken these reports of a mount.

        The record outlives this process, and only reports that are still present are kept.
        Raises OSError.
        """
        self._keep(guid, [report for report in _reports(self._left(guid)) if report not in reports])
        run_folder = self.run_folder(guid)
        if not run_folder.exists():
            return
        known = [*_reports(run_folder / ACKNOWLEDGED), *reports]
        kept = [report for report in _reports(run_folder / DAMAGE) if report in known]
        half = run_folder / f"{ACKNOWLEDGED}.half"
        half.write_bytes(msgspec.json.encode(kept))
        half.replace(run_folder / ACKNOWLEDGED)

    def _left(self, guid: str) -> Path:
        """The file with the damage of a mount that the server has not acknowledged at its end."""
        return self._folder / f"{guid}{_LEFT}"

    def _keep(self, guid: str, reports: Sequence[DamageReport]) -> None:
        path = self._left(guid)
        if not reports:
            path.unlink(missing_ok=True)
            return
        half = self._folder / f".{guid}{_LEFT}"
        half.write_bytes(msgspec.json.encode(reports[-MOST_REPORTS:]))
        half.replace(path)

    def end(self, guid: str) -> list[DamageReport]:
        """Stop a mount and return its damage that is not acknowledged; a mount may not exist.

        The damage is kept until `acknowledge`: a second call returns the damage again.  Raises
        Unavailable when its process does not end. SIGTERM is sent for the first 10 seconds, SIGKILL
        after that.
        """
        run_folder = self.run_folder(guid)
        with self._lock:
            if opened := self._browsers.pop(guid, None):
                opened.close()
        end = time.monotonic() + _SECONDS
        while self.lives(guid):
            self._signal(guid, signal.SIGTERM if time.monotonic() < end - 50 else signal.SIGKILL)
            if time.monotonic() > end:
                raise Unavailable(f"the process of the mount {guid} does not end")
            time.sleep(0.05)
        met = self.damage(guid)
        with suppress(OSError):  # a full disk must not keep the mount
            self._keep(guid, met)
        folders.hide(self._shared(guid))
        shutil.rmtree(run_folder, ignore_errors=True)
        (self._folder / guid).unlink(missing_ok=True)
        return met

    def _signal(self, guid: str, number: int) -> None:
        with suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int((self.run_folder(guid) / PID).read_text()), number)

    @contextmanager
    def browser(self, guid: str) -> Iterator[Browser]:
        """File browser of a mount, opened on first use.

        Raises NotFound for a mount that does not run. The browser is closed when the mount becomes
        unreachable, so that the next call opens a new one.
        """
        opened = self._opened(guid)
        try:
            yield opened.browser
        except Unavailable as error:
            if not is_away(error):
                raise
            with self._lock:
                if self._browsers.get(guid) is opened:
                    del self._browsers[guid]
            opened.close()
            raise

    def _opened(self, guid: str) -> _Open:
        """The open browser of a mount.

        A start in progress is waited for: a browser that is opened before the record lists the
        disks would have no disks until the mount ends.
        """
        run_folder = self.run_folder(guid)
        with self._lock:
            if opened := self._browsers.get(guid):
                return opened
        if not self.beginning(guid) or not self.is_served(guid):
            raise NotFound(f"this node has no mount {guid}")
        with self._lock:
            opened = self._browsers.get(guid)
            if opened is None:
                record = self._shared(guid)
                if not _is_complete(record):  # the mount ended or starts again since it was checked
                    raise NotFound(f"this node has no mount {guid}")
                opened = self._browsers[guid] = _Open(run_folder, record.disks)
            return opened

    def close(self) -> None:
        """Close the opened browsers; the mounts keep running."""
        with self._lock:
            opened, self._browsers = list(self._browsers.values()), {}
        for one in opened:
            one.close()


def _is_complete(record: MountState) -> bool:
    """Whether a start has ended; earlier versions recorded the disks without `is_ready`."""
    return record.is_ready or bool(record.disks)


def _planned(shown: Sequence[PublishedFolder]) -> MountState:
    """Record the folders that will be mounted."""
    paths = {one.volume: one.path for one in shown if not one.disks}
    raw = next((one.path for one in shown if one.disks), "")
    return MountState(paths=paths, raw=raw, made=folders.to_make(shown))


class _Open:
    """NBD connections to the disks of a mount, and a file browser over them."""

    def __init__(self, run_folder: Path, disks: Iterable[str]) -> None:
        self._exports: list[Export] = []
        try:
            sources = {name: self._connect(run_folder, name) for name in disks}
            self.browser = Browser(sources)
        except BaseException:
            self.close()
            raise

    def _connect(self, run_folder: Path, name: str) -> Export:
        made = connect(str(run_folder / NBD), name)
        self._exports.append(made)
        return made

    def close(self) -> None:
        with suppress(AttributeError):
            self.browser.close()
        for one in self._exports:
            one.close()


def _reports(path: Path) -> list[DamageReport]:
    """The reports in a file; empty for a file that is missing or cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[DamageReport])
    except (OSError, msgspec.DecodeError):
        return []
