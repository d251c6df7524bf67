"""Source: Protocol for reading a disk, and its implementation for raw images."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from haulback.errors import SourceChanged, Unavailable
from haulback.units import MIB

_READ_AHEAD = 8 * MIB  # bytes that the system is asked to load while an image is read in order


class Extent(NamedTuple):
    """A range of `length` bytes from `offset`."""

    offset: int
    length: int


class Source(Protocol):
    """A disk at one point in time, open for reading."""

    @property
    def size(self) -> int:
        """Size of the disk in bytes as the guest sees it."""

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """Extents that may hold data, ascending and disjoint; all other bytes are zeros.

        Extents that end before `start` are left out.
        """

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset` (bytes). Raises SourceChanged when the disk is shorter."""


def length_of(handle: int) -> int:
    """Bytes of an open file or block device, measured by a seek because stat gives no size for
    devices.
    """
    return os.lseek(handle, 0, os.SEEK_END)


class RawImage:
    """A raw image file or block device; holes are detected by the file system (SEEK_HOLE).

    `handle` is an open descriptor of the file; the image takes ownership of it.
    """

    def __init__(self, path: Path, handle: int | None = None) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDONLY) if handle is None else handle
        except OSError as error:
            raise Unavailable(f"cannot open image {path}: {error.strerror}") from None
        self.size = length_of(self._handle)
        # The end of the last read; the end of the requested read-ahead.
        self._next = self._advised = 0

    def extents(self, start: int = 0) -> Iterator[Extent]:
        at = start
        while at < self.size:
            try:
                low = os.lseek(self._handle, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                if error.errno == errno.EINVAL:  # a block device has no holes
                    yield Extent(at, self.size - at)
                    return
                raise
            at = min(os.lseek(self._handle, low, os.SEEK_HOLE), self.size)
            if low < at:
                yield Extent(low, at - low)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._advise(offset, offset + len(buffer))
        while buffer:
            count = os.preadv(self._handle, [buffer], offset)
            if not count:
                raise SourceChanged(f"image {self.path} shrank while it was read")
            buffer, offset = buffer[count:], offset + count

    def _advise(self, offset: int, end: int) -> None:
        """Let the system load the next data while the present data is compressed."""
        if offset == self._next and self._advised < end + _READ_AHEAD // 2:
            begin = max(end, self._advised)
            self._advised = end + _READ_AHEAD
            os.posix_fadvise(self._handle, begin, self._advised - begin, os.POSIX_FADV_WILLNEED)
        elif offset != self._next:
            self._advised = 0
        self._next = end

    def close(self) -> None:
        """Close the file. Raises SourceChanged when the image's size has changed."""
        size = length_of(self._handle)
        os.close(self._handle)
        if size != self.size:
            raise SourceChanged(f"image {self.path} changed its size while it was read")
