"""FUSE mount of volumes, read-only: `python -m haulback.mounts.fuse SOCKET DISKS FOLDER [VOLUME]`.

DISKS is a JSON list of disk names, served by NBD at SOCKET. Without VOLUME, each volume appears in
a separate sub-folder. The process unmounts the folder and exits when standard input ends.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TypeVar

import mfusepy
import msgspec

from haulback.drivers.nbd import connect
from haulback.errors import HaulbackError, NotFound
from haulback.filesystems.browser import Browser
from haulback.filesystems.records import EntryType, FileEntry
from haulback.mounts.folders import unmount
from haulback.wire import JsonObject

_KINDS = {
    EntryType.DIRECTORY: stat.S_IFDIR,
    EntryType.REGULAR_FILE: stat.S_IFREG,
    EntryType.SYMLINK: stat.S_IFLNK,
    EntryType.BROKEN_SYMLINK: stat.S_IFLNK,
    EntryType.OTHER: stat.S_IFIFO,  # device number for which no device exists on this host
}
_RIGHTS = 0o777  # permission bits; set-uid, set-gid and sticky bits are dropped
_PAGE = 10_000  # entries per request to the browser
T = TypeVar("T")


class Folders(mfusepy.Operations):  # type: ignore[misc]  # the library is not typed
    """FUSE operations on top of a browser; `volumes` maps folder names ("" for the root) to
    volumes.
    """

    use_ns = True

    def __init__(self, browser: Browser, volumes: dict[str, str]) -> None:
        self._browser, self._volumes = browser, volumes

    def getattr(self, path: str, fh: int | None = None) -> JsonObject:  # noqa: ARG002
        volume, inner = self._place(path)
        if volume is None:
            return {"st_mode": stat.S_IFDIR | 0o555, "st_nlink": 2}
        return _attributes(with_error_numbers(lambda: self._browser.entry(volume, inner)))

    def readdir(self, path: str, fh: int) -> list[str]:  # noqa: ARG002
        volume, inner = self._place(path)
        names = [".", ".."]
        if volume is None:
            return names + list(self._volumes)
        after = ""
        while True:
            page = partial(self._browser.listing, volume, inner, after=after, most=_PAGE)
            rows = with_error_numbers(page)
            if rows.reason:  # a damaged folder must not look complete
                raise mfusepy.FuseOSError(errno.EIO)
            names += [row.name for row in rows]
            if len(rows) < _PAGE:
                return names
            after = rows[-1].name

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:  # noqa: ARG002
        volume, inner = self._place(path)
        if volume is None:
            raise mfusepy.FuseOSError(errno.EISDIR)
        return with_error_numbers(lambda: self._browser.read(volume, inner, offset, size))

    def readlink(self, path: str) -> str:
        volume, inner = self._place(path)
        target = with_error_numbers(lambda: self._browser.entry(volume or "", inner)).target
        if target is None:
            raise mfusepy.FuseOSError(errno.EINVAL)
        return target

    def _place(self, path: str) -> tuple[str | None, str]:
        """Split a path into volume and path within the volume; no volume for the top folder."""
        if "" in self._volumes:
            return self._volumes[""], path
        head, _, rest = path.strip("/").partition("/")
        if not head:
            return None, "/"
        if head not in self._volumes:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return self._volumes[head], f"/{rest}"


def _attributes(entry: FileEntry) -> JsonObject:
    if entry.reason and entry.type is EntryType.OTHER:
        raise mfusepy.FuseOSError(errno.EIO)  # the type is unknown; a pipe would be misleading
    moment = entry.modified * 1_000_000 + entry.fine
    return {
        "st_mode": _KINDS[entry.type] | entry.mode & _RIGHTS,
        "st_size": entry.size,
        "st_uid": entry.uid,
        "st_gid": entry.gid,
        "st_nlink": 1,
        "st_mtime": moment,
        "st_ctime": moment,
        "st_atime": moment,
    }


def with_error_numbers(call: Callable[[], T]) -> T:
    """Run a call of the browser and map its errors to error numbers."""
    try:
        return call()
    except NotFound:
        raise mfusepy.FuseOSError(errno.ENOENT) from None
    except HaulbackError:
        raise mfusepy.FuseOSError(errno.EIO) from None


def main(socket: str, disks: str, folder: str, volume: str = "") -> None:
    """Mount the volumes and serve until standard input ends."""
    names = msgspec.json.decode(disks, type=list[str])
    exports = {name: connect(socket, name) for name in names}
    with Browser(exports) as browser:
        if volume:
            shown = {"": volume}
        else:
            readable = [found_volume for found_volume in browser.volumes() if found_volume.readable]
            shown = {
                found_volume.name.replace("/", "-"): found_volume.name for found_volume in readable
            }
        serve(Folders(browser, shown), folder)


def serve(shown: mfusepy.Operations, folder: str) -> None:
    """Mount `shown` at `folder` and serve until standard input ends."""
    Thread(target=_follow, args=(folder,), daemon=True).start()
    try:
        mfusepy.FUSE(
            shown,
            folder,
            foreground=True,
            ro=True,
            nosuid=True,
            nodev=True,
            noexec=True,
            default_permissions=True,
            fsname="haulback",
        )
    except RuntimeError:
        # libfuse has already reported the reason.  The interpreter would abort at exit, because a
        # thread reads standard input, and the lines of this abort would hide the reason.
        os._exit(1)


def _follow(folder: str) -> None:
    """Unmount the folder when standard input ends, which also happens when the parent dies."""
    with suppress(OSError):
        sys.stdin.buffer.read()
    unmount(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
