"""The shares of a node: begun, found again after the node's death, ended."""

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
from threading import Lock

import msgspec

from haulback import credentials
from haulback.drivers.nbd import Export, connect
from haulback.errors import Conflict, NotFound, Unavailable, is_away
from haulback.filesystems.browser import Browser
from haulback.ids import is_guid
from haulback.shares import visible
from haulback.shares.order import Shared, ShareOrder, Visible
from haulback.shares.process import LOCK, NBD, PID, RAW

ROOMS = Path("/var/tmp")  # where QEMU, as whatever user, reaches a socket by a short path
PORTAL = "0.0.0.0:3260"  # where iSCSI listens, while something is shared by it
_SECONDS = 60.0


class Keeper:
    """Knows its shares by a file each in `folder`, which says what they offer, without any key."""

    def __init__(
        self,
        folder: Path,
        roots: Sequence[Path] = (),
        rooms: Path = ROOMS,
        portal: str = PORTAL,
    ) -> None:
        """`roots` are where backups may be shown, besides the usual places."""
        self._folder, self._rooms, self._portal = folder, rooms, portal
        self._roots = (*visible.ROOTS, *roots)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock()
        self._browsers: dict[str, _Open] = {}

    def room(self, guid: str) -> Path:
        """Where the process of a share keeps its sockets.  Raises NotFound for no guid."""
        if not is_guid(guid):
            raise NotFound(f"{guid[:60]!r} is no share")
        return self._rooms / f"haulback-share-{guid}"

    def socket(self, guid: str) -> Path:
        """Where its process serves the disks, when it does."""
        return self.room(guid) / NBD

    def all(self) -> list[str]:
        """The guids of all that were begun here and not ended."""
        return sorted(path.name for path in self._folder.iterdir() if is_guid(path.name))

    def begin(self, order: ShareOrder) -> Shared:
        """Serve a backup, and say what is offered.  One that serves is exchanged.

        Raises what keeps it from being served; nothing is left then.
        """
        self.end(order.guid)
        visible.check(order.visible, self._roots)
        room = self.room(order.guid)
        if order.target:
            target = msgspec.structs.replace(order.target, portal=self._portal)
            raw = Visible(str(room / RAW), disks=target.disks)
            shown = [*order.visible, raw]
            order = msgspec.structs.replace(order, target=target, visible=shown)
        planned = _planned(order.visible)
        self._write(order.guid, planned)
        try:
            room.mkdir(mode=0o711)  # nobody else's, who could tell us which process to end
            found = self._start(order, room)
            ready = msgspec.structs.replace(planned, disks=found.disks, portal=found.portal)
            self._write(order.guid, ready)
            return ready
        except FileExistsError:
            raise Conflict(f"{room} is there already and cannot be removed") from None
        except BaseException:
            self.end(order.guid)
            raise

    def _start(self, order: ShareOrder, room: Path) -> Shared:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "haulback.shares.process", str(room)],
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
            raise Unavailable(f"the share did not begin in {_SECONDS:.0f} s") from None
        ready = msgspec.json.decode(done.stdout or b'{"error":"its process died"}', type=Shared)
        if ready.error:
            raise Unavailable(f"the backup cannot be shared: {ready.error}")
        return ready

    def _write(self, guid: str, shared: Shared) -> None:
        """Whole or not at all; a power cut ends the process too, and then a folder may stay."""
        half = self._folder / f".{guid}"
        half.write_bytes(msgspec.json.encode(shared))
        half.replace(self._folder / guid)

    def _shared(self, guid: str) -> Shared:
        """What a share offers; nothing when it is not known."""
        try:
            return msgspec.json.decode((self._folder / guid).read_bytes(), type=Shared)
        except (FileNotFoundError, msgspec.DecodeError):
            return Shared()

    def lives(self, guid: str) -> bool:
        """Whether its process serves."""
        room = self.room(guid)
        try:
            if os.lstat(room).st_uid != os.geteuid():
                return False  # somebody else put it there
            handle = os.open(room / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def end(self, guid: str) -> None:
        """Stop serving; fine when it is gone.  Raises Unavailable when its process does not die."""
        room = self.room(guid)
        with self._lock:
            if opened := self._browsers.pop(guid, None):
                opened.close()
        end = time.monotonic() + _SECONDS
        while self.lives(guid):
            self._signal(guid, signal.SIGTERM if time.monotonic() < end - 50 else signal.SIGKILL)
            if time.monotonic() > end:
                raise Unavailable(f"the share {guid} does not end")
            time.sleep(0.05)
        visible.hide(self._shared(guid))
        shutil.rmtree(room, ignore_errors=True)
        (self._folder / guid).unlink(missing_ok=True)

    def _signal(self, guid: str, number: int) -> None:
        with suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int((self.room(guid) / PID).read_text()), number)

    @contextmanager
    def browser(self, guid: str) -> Iterator[Browser]:
        """The files of a share.  Raises NotFound when nothing is shared by that guid."""
        with self._lock:
            opened = self._browsers.get(guid)
            if opened is None:
                if not self.lives(guid):
                    raise NotFound(f"nothing is mounted as {guid}")
                opened = self._browsers[guid] = _Open(self.room(guid), self._shared(guid).disks)
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

    def close(self) -> None:
        """Let go of what was opened; the shares go on."""
        with self._lock:
            opened, self._browsers = list(self._browsers.values()), {}
        for one in opened:
            one.close()


def _planned(shown: Sequence[Visible]) -> Shared:
    """What will be seen where."""
    paths = {one.volume: one.path for one in shown if not one.disks}
    raw = next((one.path for one in shown if one.disks), "")
    return Shared(paths=paths, raw=raw, made=visible.to_make(shown))


class _Open:
    """A browser over the disks of a share."""

    def __init__(self, room: Path, disks: Iterable[str]) -> None:
        self._exports: list[Export] = []
        try:
            sources = {name: self._connect(room, name) for name in disks}
            self.browser = Browser(sources)
        except BaseException:
            self.close()
            raise

    def _connect(self, room: Path, name: str) -> Export:
        made = connect(str(room / NBD), name)
        self._exports.append(made)
        return made

    def close(self) -> None:
        with suppress(AttributeError):
            self.browser.close()
        for one in self._exports:
            one.close()
