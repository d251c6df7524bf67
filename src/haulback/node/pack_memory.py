"""Cache of verified packs: deduplication need not verify a known pack again for seven days."""

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
KEPT_SECONDS = 7 * 86_400  # time for which a check of a pack is valid
_SAVED_EVERY = 256  # packs, 16 GiB; a lost entry only causes another check


class FilePackMemory:
    """Verified packs by id, with length in bytes and time of the check, in one file.

    A lost or damaged file counts as empty, so that packs are verified again.
    """

    def __init__(
        self, path: Path, disk: DurableFiles, clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self._disk, self._clock = path, disk, clock
        # held while the file is written, so that an older state never replaces a newer one
        self._lock, self._unsaved = Lock(), 0
        self._packs = self._load()

    def knows(self, pack: bytes, length: int) -> bool:
        """Whether a pack of this length (bytes) was verified in the last seven days."""
        with self._lock:
            checked, known = self._packs.get(pack, (0.0, -1))
            return known == length and 0 <= self._clock() - checked < KEPT_SECONDS

    def learn(self, pack: bytes, length: int) -> None:
        """Record that a pack was verified and is intact."""
        with self._lock:
            self._packs[pack] = (self._clock(), length)
            self._unsaved += 1
            if self._unsaved >= _SAVED_EVERY:
                self._save()

    def save(self) -> None:
        """Write the cache to its file, if entries were added since the last write."""
        with self._lock:
            if self._unsaved:
                self._save()

    def _save(self) -> None:
        now = self._clock()
        self._packs = {
            pack: entry for pack, entry in self._packs.items() if now - entry[0] < KEPT_SECONDS
        }
        self._unsaved = 0
        temp = self._path.with_name(self._path.name + ".new")
        try:
            self._disk.make_folder(temp.parent)
            self._disk.unlink(temp)
            self._disk.write_file(temp, msgspec.msgpack.encode(self._packs))
            self._disk.replace(temp, self._path)
        except (OSError, HaulbackError) as error:
            log.warning("%s cannot be written: %s", self._path, error)

    def _load(self) -> dict[bytes, tuple[float, int]]:
        with suppress(OSError, msgspec.DecodeError):
            kind = dict[bytes, tuple[float, int]]
            return msgspec.msgpack.decode(self._path.read_bytes(), type=kind)
        return {}


class PackMemories:
    """The pack caches of all repositories, shared by all attempts of this node."""

    def __init__(self, folder: Path, disk: DurableFiles) -> None:
        self._folder, self._disk = folder, disk
        # attempts in threads share one object, and thus one file, for each repository
        self._lock = Lock()
        self._known: dict[str, FilePackMemory] = {}

    def of(self, repository: str) -> FilePackMemory:
        """Return the cache of a repository, by the repository's guid."""
        with self._lock:
            if repository not in self._known:
                path = self._folder / f"{repository}.packs"
                self._known[repository] = FilePackMemory(path, self._disk)
            return self._known[repository]
