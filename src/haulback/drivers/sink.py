"""Where a disk is written: the Protocol, and a plain file of raw bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from haulback.disk import translate


class Sink(Protocol):
    """Where a restored disk is written; everything not written reads as zeros."""

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write `data` at `offset` bytes."""


class RawFile:
    """A new sparse raw image.  Raises FileExistsError when the path is taken."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.truncate(self._handle, size)

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                count = os.pwrite(self._handle, view, offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            raise translate(error, self.path) from error

    def close(self, *, sync: bool = True) -> None:
        if sync:
            os.fsync(self._handle)
        os.close(self._handle)
