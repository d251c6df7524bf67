"""Writes past the page cache (O_DIRECT), for images that are written once."""

from __future__ import annotations

import errno
import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from haulback.durable_files import WRITTEN_AT_ONCE
from haulback.mount_table import mount_of
from haulback.units import KIB, MIB

PAGE = 4 * KIB  # alignment of a direct write, the largest that a local file system usually needs
# A direct write on a share waits for the server each time, and some other types copy it anyway.
_KINDS = frozenset({"ext4", "xfs", "f2fs"})
_IN_FLIGHT = 4  # writes at a time, because a disk behind a network takes milliseconds for each


def is_suitable(path: Path) -> bool:
    """Whether direct writes to an existing file are possible, and faster than writes through the
    page cache.
    """
    try:
        mount = mount_of(path.resolve())
        if mount is None or mount.kind not in _KINDS:
            return False
        handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
        try:
            os.preadv(handle, [mmap.mmap(-1, PAGE)], 0)  # fails if the device wants larger pieces
        finally:
            os.close(handle)
    except OSError:
        return False
    return True


class DirectWriter:
    """Writes whole pages of a file past the page cache, several pieces at a time.

    On virtual machines whose host provides memory on first use, the allocation of new cache pages
    takes several times as long as the copy of their bytes.  No byte may be written twice, because
    the pieces end in any order.
    """

    @classmethod
    def of(cls, path: Path, handle: int) -> DirectWriter | None:
        """The direct writer of the open file `handle`, None where the page cache is the better way.

        The file is opened again by its handle, because `path` may name another file meanwhile.
        """
        if not is_suitable(path):
            return None
        try:
            return cls(os.open(f"/proc/self/fd/{handle}", os.O_WRONLY | os.O_DIRECT), handle)
        except OSError:
            return None

    def __init__(self, direct: int, cached: int) -> None:
        """`direct` and `cached` are handles of one file; the writer closes `direct`."""
        self._direct, self._cached = direct, cached
        self._pool = ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="direct write")
        self._writing: deque[tuple[Future[None], mmap.mmap]] = deque()

    def write(self, offset: int, view: memoryview) -> None:
        """Begin to write pages; `offset` and the length are multiples of the page size.

        Raises the OSError of an earlier piece.
        """
        for at in range(0, len(view), MIB):
            part = view[at : at + MIB]
            buffer = self._buffer()
            buffer[: len(part)] = part
            future = self._pool.submit(self._put, memoryview(buffer)[: len(part)], offset + at)
            self._writing.append((future, buffer))

    def settle(self) -> None:
        """Wait until all pieces are written.  Raises the OSError of a piece."""
        while self._writing:
            self._writing.popleft()[0].result()

    def close(self) -> None:
        """Wait for the pieces that are being written, and close the file."""
        self._pool.shutdown()
        os.close(self._direct)

    def _buffer(self) -> mmap.mmap:
        """Memory that begins at a page, as direct writes need it."""
        if len(self._writing) < _IN_FLIGHT:
            return mmap.mmap(-1, MIB)
        future, buffer = self._writing.popleft()
        future.result()
        return buffer

    def _put(self, view: memoryview, offset: int) -> None:
        """Write a piece; bytes that a direct write leaves over go through the page cache."""
        try:
            done = os.pwrite(self._direct, view, offset)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            done = 0  # the device wants a larger alignment
        while done < len(view):
            done += os.pwrite(self._cached, view[done : done + WRITTEN_AT_ONCE], offset + done)
