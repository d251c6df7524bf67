"""What a disk offers to be read: its size, where it has data, and its bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from haulback.errors import SourceChanged, Unavailable


class Extent(NamedTuple):
    """`length` bytes from `offset`."""

    offset: int
    length: int


class Source(Protocol):
    """A disk at one point in time, opened for reading."""

    @property
    def size(self) -> int:
        """Bytes of the disk as the guest sees it."""

    def extents(self, start: int = 0) -> Iterator[Extent]:
        """Where there may be data, ascending and disjoint; everything else is zeros.

        From `start` on: what ends before it is left out.
        """

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`.  Raises SourceChanged when the disk ends before."""


class RawImage:
    """A raw image file; holes are found by the file system.

    Takes over `handle`, a descriptor that reads the file, when there is one already.
    """

    def __init__(self, path: Path, handle: int | None = None) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDONLY) if handle is None else handle
        except OSError as error:
            raise Unavailable(f"cannot open image {path}: {error.strerror}") from None
        self.size = os.fstat(self._handle).st_size

    def extents(self, start: int = 0) -> Iterator[Extent]:
        at = start
        while at < self.size:
            try:
                low = os.lseek(self._handle, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            at = min(os.lseek(self._handle, low, os.SEEK_HOLE), self.size)
            if low < at:
                yield Extent(low, at - low)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        while buffer:
            count = os.preadv(self._handle, [buffer], offset)
            if not count:
                raise SourceChanged(f"image {self.path} shrank while it was read")
            buffer, offset = buffer[count:], offset + count

    def close(self) -> None:
        """Close the file.  Raises SourceChanged when the image changed its size meanwhile."""
        size = os.fstat(self._handle).st_size
        os.close(self._handle)
        if size != self.size:
            raise SourceChanged(f"image {self.path} changed its size while it was read")
