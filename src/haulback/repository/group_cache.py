"""Sealed groups that a node keeps, so that an increment need not load them from the destination.

Most of these groups are map pages: a node that stored a backup reads its pages again for the next
one.  A copy is the record as it is stored, encrypted and authenticated by the id of the group.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from pathlib import Path

from haulback.errors import Damaged
from haulback.repository.group import PAGE_GROUP_BYTES, Group, decode
from haulback.repository.index_cache import CacheFolder, stored_copies
from haulback.repository.keys import Keys
from haulback.units import GIB

_MOST = GIB  # bytes of all groups, the pages of several TiB of disks
_SHARE = 4  # one backup takes at most this part of the bytes
_UNTRIMMED = 16  # a process lists the folder each time it has written this part of the limit
_SUFFIX = ".groups"
log = logging.getLogger(__name__)


class GroupCache:
    """The groups of one repository in the cache folder; without a folder nothing is kept.

    Threads and processes may share a folder.  Copies that were unused for longest are removed when
    the groups of all repositories exceed the limit.  A folder that cannot be written is not used.
    """

    def __init__(self, repository: str, folder: CacheFolder | None) -> None:
        self._cache = folder
        self._path = folder.path / f"{repository}{_SUFFIX}" if folder else None
        self._most = min(_MOST, folder.limit) if folder else 0
        self._is_writable = folder is not None
        self._left = 0  # bytes that may be kept before the next trim, which lists all copies

    def __contains__(self, group: object) -> bool:
        if self._path is None or not isinstance(group, bytes):
            return False
        # This call raises no OSError, unlike `Path.exists`.
        return os.path.exists(self._file(group))

    def get(self, group: bytes) -> bytes | None:
        """The record of a group, not authenticated; None without a copy."""
        if self._path is None:
            return None
        with suppress(OSError):
            record = self._file(group).read_bytes()
            os.utime(self._file(group))  # marks the copy as used, for `_trim_if_due`
            return record
        return None

    def drop(self, group: bytes) -> None:
        """Remove a copy that does not open."""
        if self._path is not None:
            with suppress(OSError):
                self._file(group).unlink(missing_ok=True)

    def keep(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep copies of (group, record) pairs, as many as one backup may take."""
        left = self._most // _SHARE
        for group, record in records if self._is_writable else ():
            left -= len(record)
            if left < 0 or not self._kept(group, record):
                break
        self._trim_if_due()

    def keep_one(self, group: bytes, record: bytes) -> None:
        """Keep a copy of a group."""
        if self._is_writable:
            self._kept(group, record)
            self._trim_if_due()

    def _kept(self, group: bytes, record: bytes) -> bool:
        """Whether a copy could be written."""
        try:
            self._write(group, record)
        except OSError as error:
            log.warning("the cache of groups in %s cannot be written: %s", self._path, error)
            # A full disk needs the space of the oldest copies; otherwise it would refuse the next
            # group, too.
            self._left, self._is_writable = -1, False
            return False
        self._left -= len(record)
        return True

    def _file(self, group: bytes) -> Path:
        assert self._path is not None
        return self._path / group.hex()

    def _write(self, group: bytes, record: bytes) -> None:
        """Write a copy; a reader never sees half of it."""
        target = self._file(group)
        target.parent.mkdir(parents=True, exist_ok=True)
        temp = target.with_name(f"{target.name}.{os.urandom(8).hex()}")
        try:
            temp.write_bytes(record)
            temp.replace(target)
        finally:
            temp.unlink(missing_ok=True)

    def _trim_if_due(self) -> None:
        """From time to time remove the copies beyond the limit that were unused for longest.

        A missing folder has no copies.
        """
        if self._left >= 0:
            return
        total, self._left = 0, self._most // _UNTRIMMED
        with suppress(OSError):
            for _, size, path in sorted(self._copies(), reverse=True):  # most recently used first
                total += size
                if total > self._most:
                    path.unlink(missing_ok=True)

    def _copies(self) -> Iterator[tuple[int, int, Path]]:
        assert self._cache is not None
        for copy in stored_copies(self._cache.path):
            if copy[2].parent.name.endswith(_SUFFIX):
                yield copy


class NearGroups:
    """The use of a cache by one reader.

    Groups of at most `most` plain bytes are kept; the groups `apart` are always read from the
    destination.
    """

    def __init__(
        self, cache: GroupCache, most: int = PAGE_GROUP_BYTES, apart: Set[bytes] = frozenset()
    ) -> None:
        self._cache, self._most, self._apart = cache, most, apart

    def has(self, group: bytes) -> bool:
        """Whether a copy exists and may be used."""
        return group not in self._apart and group in self._cache

    def get(self, group: bytes, keys: Keys) -> Group | None:
        """A decoded group; None without a copy that opens."""
        record = None if group in self._apart else self._cache.get(group)
        if record is None:
            return None
        try:
            return decode(record, group, keys)
        except Damaged:
            self._cache.drop(group)
            return None

    def keep(self, group: Group, record: bytes) -> None:
        """Keep the record of a group that was read from the destination, if it is small."""
        if len(group.data) <= self._most and group.id not in self._cache:
            self._cache.keep_one(group.id, record)
