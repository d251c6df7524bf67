"""Where a disk is written: the Protocol, and a plain file of raw bytes."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from haulback.disk import translate
from haulback.units import MIB

_SYNC_EVERY = 64 * MIB


class Sink(Protocol):
    """Where a restored disk is written; everything not written reads as zeros."""

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write `data` at `offset` bytes."""


class RawFile:
    """A new raw image, sparse unless its space is to be allocated.

    Raises FileExistsError when the path is taken, OutOfSpace when it cannot be allocated.  What was
    written is synced behind the writer, so that closing has little left to wait for.
    """

    def __init__(self, path: Path, size: int, *, allocate: bool = False) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.truncate(self._handle, size)
            if allocate and size:
                os.posix_fallocate(self._handle, 0, size)
        except OSError as error:
            os.close(self._handle)
            raise translate(error, path) from error
        self._unsynced = 0
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._syncing: Future[None] | None = None

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        self._unsynced += len(view)
        try:
            while view:
                count = os.pwrite(self._handle, view, offset)
                view, offset = view[count:], offset + count
            if self._unsynced >= _SYNC_EVERY and (self._syncing is None or self._syncing.done()):
                self._settle()
                self._syncing = self._syncer.submit(os.fdatasync, self._handle)
        except OSError as error:
            raise translate(error, self.path) from error

    def close(self, *, sync: bool = True) -> None:
        """Twice is an error; with `sync` it raises when anything written may be lost."""
        self._syncer.shutdown()
        try:
            if sync:
                self._settle()
                os.fsync(self._handle)
        except OSError as error:
            raise translate(error, self.path) from error
        finally:
            os.close(self._handle)

    def _settle(self) -> None:
        """The kernel tells of a failed write once: it must not get lost in the other thread."""
        self._unsynced = 0
        if self._syncing:
            self._syncing.result()
