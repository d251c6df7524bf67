"""Cache of the locks that stores have confirmed: a pack is locked again at most once a day."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec

from haulback.durable_files import DurableFiles
from haulback.errors import HaulbackError

log = logging.getLogger(__name__)


class FileLockMemory:
    """Ends of locks (epoch ms) by object name, in one file.

    A lost or damaged file counts as empty, so that the store is asked again.
    """

    def __init__(
        self, path: Path, disk: DurableFiles, clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self._disk, self._clock = path, disk, clock
        # held while the file is written, so that an older state never replaces a newer one
        self._lock, self._is_saved = Lock(), True
        self._ends = self._load()

    def until(self, name: str) -> int:
        """The confirmed end of a lock; 0 if unknown."""
        with self._lock:
            return self._ends.get(name, 0)

    def learn(self, name: str, until: int) -> None:
        """Record a confirmed end."""
        with self._lock:
            self._ends[name], self._is_saved = until, False

    def save(self) -> None:
        """Write the cache to its file without expired locks."""
        with self._lock:
            if self._is_saved:
                return
            now = self._clock() * 1000
            self._ends = {name: end for name, end in self._ends.items() if end > now}
            self._write()
            self._is_saved = True

    def _write(self) -> None:
        temp = self._path.with_name(self._path.name + ".new")
        try:
            self._disk.make_folder(temp.parent)
            self._disk.unlink(temp)
            self._disk.write_file(temp, msgspec.msgpack.encode(self._ends))
            self._disk.replace(temp, self._path)
        except (OSError, HaulbackError) as error:
            log.warning("%s cannot be written: %s", self._path, error)

    def _load(self) -> dict[str, int]:
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.msgpack.decode(self._path.read_bytes(), type=dict[str, int])
        return {}


class LockMemories:
    """The lock caches of all repositories, shared by all attempts of this node."""

    def __init__(self, folder: Path, disk: DurableFiles) -> None:
        self._folder, self._disk = folder, disk
        # attempts in threads share one object, and thus one file, for each repository
        self._lock = Lock()
        self._known: dict[str, FileLockMemory] = {}

    def of(self, repository: str) -> FileLockMemory:
        """Return the cache of a repository, by the repository's guid."""
        with self._lock:
            if repository not in self._known:
                path = self._folder / f"{repository}.locks"
                self._known[repository] = FileLockMemory(path, self._disk)
            return self._known[repository]
