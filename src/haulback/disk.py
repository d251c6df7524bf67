"""Durable local files: every write, fsync, link and unlink the product makes goes through here.

A crash test replaces `Disk` by one that stops at the n-th operation and drops what was not yet
synced (`haulback.testing.crash`), so the order of the calls below *is* the durability promise.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from haulback.errors import Conflict, OutOfSpace, Unavailable


class Disk:
    """The operating system's file calls, with our errors."""

    def create(self, path: Path) -> IO[bytes]:
        """Open a new file for writing; Conflict if it exists."""
        try:
            return open(path, "xb", buffering=0)
        except FileExistsError:
            raise Conflict(f"{path} exists already") from None
        except OSError as error:
            raise translate(error, path) from error

    def write(self, file: IO[bytes], data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            raise translate(error, Path(file.name)) from error

    def sync(self, file: IO[bytes]) -> None:
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
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in `folder` durable."""
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
        """A whole new file under its final name, durable; use for staging, not for publishing."""
        with self.create(path) as file:
            self.write(file, data)
            self.sync(file)
        self.sync_folder(path.parent)


def write_private(path: Path, data: bytes) -> None:
    """A file for this user only, replaced as a whole; durable, name included."""
    temp = path.with_name(path.name + ".new")
    temp.unlink(missing_ok=True)
    handle = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temp, path)
    Disk().sync_folder(path.parent)


def write_private_once(path: Path, data: bytes) -> None:
    """A new file for this user only; durable, name included.  The same content may be there.

    The name is taken at once and not by a link: key files go to sticks that know no links.
    Raises Conflict for a name that is taken by anything else, which stays as it is.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if _holds(path, data):
            return
        raise Conflict(f"{path} exists and holds something else: name a new file") from None
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
    Disk().sync_folder(path.parent)


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file holds these bytes, white space around them apart."""
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.read(len(data) + 100).strip() == data.strip()
    except OSError:
        return False


def hold(path: Path, taken: str) -> IO[bytes]:
    """A lock that the kernel drops when this process dies or closes it.

    Raises Conflict, saying `taken`, when another process holds it.
    """
    lock = open(path, "ab")  # noqa: SIM115 - held as long as its owner lives
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise Conflict(taken) from None
    return lock


def translate(error: OSError, path: Path) -> Exception:
    """The operating system's error in our words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(f"no space left to write {path}; free some and try again")
    return Unavailable(f"cannot write {path}: {error.strerror}")
