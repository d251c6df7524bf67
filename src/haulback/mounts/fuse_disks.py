"""FUSE mount of disks as files, read-only.

`python -m haulback.mounts.fuse_disks SOCKET DISKS FOLDER` is the process.

The arguments are the same as of `haulback.mounts.fuse`.
"""

from __future__ import annotations

import errno
import stat
import sys
from functools import partial

import mfusepy
import msgspec

from haulback.contract.mount import files_of
from haulback.drivers.nbd import Export, connect
from haulback.mounts.fuse import serve, with_error_numbers
from haulback.wire import JsonObject


class DiskFileSystem(mfusepy.Operations):  # type: ignore[misc]  # the library is not typed
    """FUSE operations on top of NBD exports; `exports` maps file names to disks."""

    use_ns = True

    def __init__(self, exports: dict[str, Export]) -> None:
        self._exports = exports

    def getattr(self, path: str, fh: int | None = None) -> JsonObject:  # noqa: ARG002
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2}
        size = self._export(path).size
        return {"st_mode": stat.S_IFREG | 0o444, "st_size": size, "st_nlink": 1}

    def readdir(self, path: str, fh: int) -> list[str]:  # noqa: ARG002
        return [".", "..", *self._exports]

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:  # noqa: ARG002
        export = self._export(path)
        buffer = bytearray(max(0, min(size, export.size - offset)))
        if buffer:
            with_error_numbers(partial(export.read_into, offset, memoryview(buffer)))
        return bytes(buffer)

    def _export(self, path: str) -> Export:
        found = self._exports.get(path.removeprefix("/"))
        if found is None:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return found


def main(socket: str, disks: str, folder: str) -> None:
    """Mount the disks and serve until standard input ends."""
    names = msgspec.json.decode(disks, type=list[str])
    serve(
        DiskFileSystem({file: connect(socket, name) for name, file in files_of(names).items()}),
        folder,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
