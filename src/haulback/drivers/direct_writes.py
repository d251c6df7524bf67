"""Writes past the page cache (O_DIRECT), for images that are written once."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

from haulback.mount_table import mount_of
from haulback.units import KIB, MIB

PAGE = 4 * KIB  # alignment of a direct write, the largest that a local file system needs
# A direct write on a share waits for the server each time, and some other types copy it anyway.
_KINDS = frozenset({"ext4", "xfs", "f2fs"})


def is_suitable(path: Path) -> bool:
    """Whether direct writes to a file are faster than writes through the page cache."""
    mount = mount_of(path.resolve())
    return mount is not None and mount.kind in _KINDS


class DirectWriter:
    """Writes whole pages of a file past the page cache (O_DIRECT).

    The memory of new pages of the cache costs several times their copy on virtual machines whose
    host provides memory on first use.
    """

    @classmethod
    def of(cls, path: Path, handle: int) -> DirectWriter | None:
        """The direct writer of the open file `handle`, None where the page cache is the better way.

        The file is opened again by its handle, because `path` may name another file meanwhile.
        """
        if not is_suitable(path):
            return None
        try:
            return cls(os.open(f"/proc/self/fd/{handle}", os.O_WRONLY | os.O_DIRECT))
        except OSError:
            return None

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle
        # Direct writes need memory that begins at a page, which a mapping does.
        self._buffer = mmap.mmap(-1, MIB)

    def write(self, offset: int, view: memoryview) -> int:
        """Write pages; returns the number of written bytes, fewer if the file refuses the rest.

        `offset` and the length are multiples of the page size.  Raises OSError.
        """
        done = 0
        while self._handle is not None and done < len(view):
            part = view[done : done + MIB]
            self._buffer[: len(part)] = part
            try:
                count = os.pwrite(
                    self._handle, memoryview(self._buffer)[: len(part)], offset + done
                )
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self.close()  # the device wants a larger alignment
                break
            done += count
            if count % PAGE:  # a short write, such as before a full disk
                break
        return done

    def close(self) -> None:
        """Close the file; the writer accepts nothing more."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
