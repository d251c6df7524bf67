"""Local copies of index segments, because a segment is mapped into memory from a file.

A destination with local paths needs no copy. On other destinations a segment is fetched once: its
name is the keyed hash of its content, which is compared at each opening, so that a copy that was
damaged or changed is fetched again.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Damaged, NotFound
from haulback.repository.keys import Keys
from haulback.repository.segment import Segment
from haulback.units import GIB, MIB

LIMIT = 16 * GIB  # the index of about 50 TiB of chunks
_PART = 8 * MIB  # bytes of one read from the destination
_UNUSED = "the index cache in %s cannot be written and is not used: %s"
log = logging.getLogger(__name__)


class CacheFolder(NamedTuple):
    """A folder for copies of several repositories, and the most bytes that they may occupy."""

    path: Path
    limit: int = LIMIT


class IndexCache:
    """Opens the index segments of one repository, from local copies if the store has no local
    paths.

    Without a `folder` a copy lives as long as its mapping. The process that makes the total of all
    repositories in `folder` exceed its limit removes the copies that were unused for longest; a
    mapped segment stays readable after its copy is gone.  A `folder` that cannot be written is not
    used, because copies only save time.
    """

    def __init__(
        self, destination: ObjectStore, repository: str, keys: Keys, folder: CacheFolder | None
    ) -> None:
        self._destination, self._keys, self._cache = destination, keys, folder
        self._repository = repository

    def open(self, name: str, size: int) -> Segment:
        """Open a segment that a listing shows with `size` bytes.

        Raises NotFound for an index file that no longer exists, Damaged, Unavailable.
        """
        path = self._destination.local_path(f"index/{name}")
        if path is not None:
            return Segment.open(path, name, self._keys)
        if self._cache is not None:
            try:
                return self._open_copy(self._cache.path / self._repository, name, size)
            except OSError as error:
                log.warning(_UNUSED, self._cache.path, error)
        with TemporaryDirectory(prefix="haulback-index-") as folder:
            return self._fetched(Path(folder), name, size)

    def keep(self, path: Path) -> Segment | None:
        """Open a segment of this process that is about to be stored, so that it need not be
        fetched.

        None if the store has local paths, and for a file that does not open.
        """
        if self._destination.local_path(f"index/{path.stem}") is not None:
            return None
        try:
            segment = Segment.open(path, path.stem, self._keys)
        except (NotFound, Damaged):
            return None
        if self._cache is not None:
            try:
                self._copy(path, self._cache.path / self._repository)
            except OSError as error:
                log.warning(_UNUSED, self._cache.path, error)
        return segment

    def _copy(self, path: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        temp = folder / f"{path.stem}.{os.urandom(8).hex()}"
        try:
            shutil.copyfile(path, temp)
            temp.replace(folder / path.stem)
        finally:
            temp.unlink(missing_ok=True)
        self._trim(folder / path.stem)

    def sweep(self, live: Set[str]) -> None:
        """Remove the copies of all segments of this repository except those in `live`."""
        if self._cache is None:
            return
        with suppress(OSError):  # the copies stay, and `_trim` bounds them
            for path in _files(self._cache.path / self._repository):
                if path.name not in live:
                    path.unlink(missing_ok=True)

    def _open_copy(self, folder: Path, name: str, size: int) -> Segment:
        with suppress(NotFound, Damaged):
            segment = Segment.open(folder / name, name, self._keys)
            os.utime(folder / name)  # marks the copy as used, for `_trim`
            return segment
        folder.mkdir(parents=True, exist_ok=True)
        segment = self._fetched(folder, name, size)
        self._trim(folder / name)
        return segment

    def _fetched(self, folder: Path, name: str, size: int) -> Segment:
        self._fetch(name, folder, size)
        try:
            return Segment.open(folder / name, name, self._keys)
        except Damaged:
            (folder / name).unlink(missing_ok=True)
            raise

    def _fetch(self, name: str, folder: Path, size: int) -> None:
        """Copy a segment; a reader never sees half a copy under the segment's name."""
        temp = folder / f"{name}.{os.urandom(8).hex()}"
        try:
            # plain file operations, whose OSError distinguishes a full cache from a store that does
            # not answer
            with open(temp, "xb") as file:
                for at in range(0, size, _PART):
                    file.write(self._destination.load(f"index/{name}", at, min(_PART, size - at)))
            temp.replace(folder / name)
        finally:
            temp.unlink(missing_ok=True)

    def _trim(self, newest: Path) -> None:
        assert self._cache is not None
        copies = sorted(stored_copies(self._cache.path), reverse=True)  # most recently used first
        total = 0
        for _, size, path in copies:
            total += size
            if total > self._cache.limit and path != newest:
                path.unlink(missing_ok=True)


def stored_copies(root: Path) -> Iterator[tuple[int, int, Path]]:
    """(time of the last use in ns, bytes, path) of each copy."""
    for folder in root.iterdir():
        for path in _files(folder):
            with suppress(FileNotFoundError):  # another process removed the copy
                status = path.stat()
                yield status.st_mtime_ns, status.st_size, path


def _files(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from folder.iterdir()
