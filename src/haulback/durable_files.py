"""Durable local files: all writes, syncs, links and deletions of the product use this module.

A crash test replaces `Disk` by a class that stops at the n-th operation and drops unsynced data
(`haulback.testing.crash`). The order of the calls below therefore is the durability guarantee.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from haulback.errors import Conflict, OutOfSpace, Unavailable
from haulback.units import KIB

# Bytes of one write to a file.  Larger writes make the kernel allocate larger pieces of the page
# cache: a write of 1 MiB takes two to six times as long as four of 256 KiB (docs/benchmarks.md).
WRITTEN_AT_ONCE = 256 * KIB


class DurableFiles:
    """File operations with durability, for every write of the product.

    `create`, `write` and `sync` raise OutOfSpace when the file system is full and Unavailable for
    other errors; the other methods raise the OSError of the operating system.
    """

    def create(self, path: Path) -> IO[bytes]:
        """Open a new file for unbuffered writing; Conflict if the file exists."""
        try:
            return open(path, "xb", buffering=0)
        except FileExistsError:
            raise Conflict(f"{path} exists already") from None
        except OSError as error:
            raise translate(error, path) from error

    def write(self, file: IO[bytes], data: bytes | bytearray | memoryview) -> None:
        """Write all of `data` at the file's position; the bytes are durable only after `sync`."""
        view = memoryview(data)
        try:
            while view:
                view = view[file.write(view[:WRITTEN_AT_ONCE]) :]
        except OSError as error:
            raise translate(error, Path(file.name)) from error

    def sync(self, file: IO[bytes]) -> None:
        """Make the file's contents durable (fdatasync); its name needs `sync_folder`."""
        try:
            os.fdatasync(file.fileno())
        except OSError as error:
            raise translate(error, Path(file.name)) from error

    def write_out(self, file: IO[bytes]) -> None:
        """Start to make a growing file durable, so that the later `sync` is short; this call alone
        guarantees nothing.
        """
        try:
            os.fdatasync(file.fileno())
        except OSError as error:
            raise translate(error, Path(file.name)) from error

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name, atomically; Conflict if the name is taken."""
        try:
            os.link(source, target)
        except FileExistsError:
            raise Conflict(f"{target} exists already") from None

    def replace(self, source: Path, target: Path) -> None:
        """Rename `source` to `target` atomically; an existing `target` is replaced."""
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a name; a missing file is no error."""
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in `folder` durable (fsync of the directory)."""
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def make_folder(self, folder: Path) -> None:
        """Create a folder and its parents, each durable in its parent."""
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        self.sync_folder(folder.parent)

    def write_file(self, path: Path, data: bytes) -> None:
        """Write a new file under its final name, durable.

        The name is visible before the content is complete: use this for staging, not for
        publishing.
        """
        with self.create(path) as file:
            self.write(file, data)
            self.sync(file)
        self.sync_folder(path.parent)


def write_private(path: Path, data: bytes) -> None:
    """Replace a file as a whole, readable by this user only (mode 0600); name and content are
    durable.
    """
    temp = path.with_name(path.name + ".new")
    temp.unlink(missing_ok=True)
    handle = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temp, path)
    DurableFiles().sync_folder(path.parent)


def write_private_once(path: Path, data: bytes) -> None:
    """Create a file readable by this user only (mode 0600); name and content are durable.

    A file with the same content is accepted. The file is created under its final name and not
    linked into place, because key files are written to USB sticks whose file systems have no hard
    links.

    Raises Conflict when the name holds other content, which stays unchanged.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if _holds(path, data):
            return
        raise Conflict(f"{path} exists with other content: name a new file") from None
    except OSError as error:
        raise translate(error, path) from error
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink()
        raise translate(error, path) from error
    DurableFiles().sync_folder(path.parent)


def _holds(path: Path, data: bytes) -> bool:
    """Whether the file holds these bytes, ignoring white space around them."""
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.read(len(data) + 100).strip() == data.strip()
    except OSError:
        return False


def hold(path: Path, taken: str) -> IO[bytes]:
    """Take an exclusive lock on a file; the kernel releases the lock when this process ends.

    Closing the returned file releases the lock too. Raises Conflict with the message `taken` when
    another process holds the lock.
    """
    lock = open(path, "ab")  # noqa: SIM115 - the caller closes it to unlock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise Conflict(taken) from None
    return lock


_REMEDIES = {
    errno.ENOENT: "create or mount its folder, or name another place",
    errno.EACCES: "give the user of this program the right, or name another place",
    errno.EPERM: "give the user of this program the right, or name another place",
    errno.EROFS: "mount it writable, or name another place",
    errno.ENOTDIR: "a file has this name; name another folder",
    errno.EISDIR: "it is a folder; name a file",
}


def translate(error: OSError, path: Path) -> Exception:
    """Map an OSError of a write to OutOfSpace or Unavailable."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(f"no space left to write {path}; free some and try again")
    why = f"cannot write {path}: {error.strerror}"
    remedy = _REMEDIES.get(error.errno or 0)
    return Unavailable(f"{why}; {remedy}" if remedy else why)
