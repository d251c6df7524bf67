"""Sink: Protocol for writing a disk, and its implementation for raw files."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from haulback.drivers.direct_writes import PAGE, DirectWriter
from haulback.durable_files import WRITTEN_AT_ONCE, translate
from haulback.units import KIB, MIB

_SYNC_EVERY = 64 * MIB  # bytes written through the page cache between two background syncs
_LEAST_DIRECT = 64 * KIB  # bytes; a shorter direct write takes longer than a copy to the page cache


class Sink(Protocol):
    """Target of a restored disk; unwritten bytes read as zeros, and no byte is written twice."""

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write `data` at `offset` (bytes)."""


class RawFile:
    """A new raw image, sparse unless `allocate` is set; `size` in bytes.

    Whole pages are written past the page cache where the file system is suitable; all other data
    is synced in the background, so that closing has little left to sync.  One thread may write at a
    time.  Raises FileExistsError for an existing path, OutOfSpace when the allocation fails.
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
        self._direct = DirectWriter.of(path, self._handle)
        self._unsynced, self._is_closed = 0, False
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._syncing: Future[None] | None = None

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        head = -offset % PAGE
        body = (len(view) - head) // PAGE * PAGE
        try:
            if self._direct and body >= _LEAST_DIRECT:
                self._write(offset, view[:head])
                self._direct.write(offset + head, view[head : head + body])
                offset, view = offset + head + body, view[head + body :]
            self._write(offset, view)
        except OSError as error:
            raise translate(error, self.path) from error

    def _write(self, offset: int, view: memoryview) -> None:
        """Write through the page cache."""
        self._unsynced += len(view)
        while view:
            count = os.pwrite(self._handle, view[:WRITTEN_AT_ONCE], offset)
            view, offset = view[count:], offset + count
        if self._unsynced >= _SYNC_EVERY and (self._syncing is None or self._syncing.done()):
            self._settle()
            self._syncing = self._syncer.submit(os.fdatasync, self._handle)

    def close(self, *, sync: bool = True) -> None:
        """Close the file; a second call does nothing. With `sync` the content is durable.

        Raises OutOfSpace or Unavailable when written data may be lost.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._syncer.shutdown()
        try:
            if sync:
                self._settle()
                if self._direct:
                    self._direct.settle()
                os.fsync(self._handle)
        except OSError as error:
            raise translate(error, self.path) from error
        finally:
            if self._direct:
                self._direct.close()
            os.close(self._handle)

    def _settle(self) -> None:
        """Wait for the background sync and raise its error.

        The kernel reports a failed write-back only once, so the other thread must pass the error
        on.
        """
        self._unsynced = 0
        if self._syncing:
            self._syncing.result()
