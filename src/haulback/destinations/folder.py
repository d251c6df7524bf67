"""Local folder as a destination.

An object is written to a temporary file, synced, hard-linked to its name, and its folder is synced.
The file system may return any error and may hold foreign files; this module raises only errors of
`haulback.errors`.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from haulback.contract.destination_types import FolderSettings
from haulback.destinations.protocol import IDENTITY, Item
from haulback.destinations.shares import require_mounted, require_no_repository_around
from haulback.durable_files import DurableFiles, translate
from haulback.errors import Conflict, Damaged, Malformed, Misconfigured, NotFound, Unavailable

_PART = r"[a-z0-9][a-z0-9._-]*"
_NAME = re.compile(rf"{_PART}(/{_PART})*")
_FOLDER = re.compile(_PART)
_TEMP, _PROBES = ".tmp", ".probe"
_BLOCK = 1 << 20
Entries = list[os.DirEntry[str]]
# Error numbers about the object itself (Damaged); all others mean that the store is unreachable.
_ROTTEN = {
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.EUCLEAN,
    errno.EBADMSG,
    errno.EOVERFLOW,
}


class Folder:
    """Objects are files below `root`; half-written objects exist only in `root/.tmp`.

    `root` must exist: a missing mount must not look like an empty destination. `owner` is the
    attempt that writes here; its name prefixes the temporary files, so that `sweep` can tell them
    apart. `is_share` is true if other hosts change the folder, and this host may cache old states
    of the folder. Raises Unavailable when `root` is no folder.
    """

    def __init__(
        self,
        root: Path,
        disk: DurableFiles | None = None,
        owner: str = "by-hand",
        *,
        is_share: bool = False,
    ) -> None:
        self.root, self.owner, self._is_share = root, owner, is_share
        self.disk = disk or DurableFiles()
        if not _is_folder(root):
            if os.path.isfile(root):
                raise Misconfigured(f"{root} is a file: name a folder as the destination")
            raise Unavailable(f"destination folder {root} does not exist; mount or create it")

    def store(self, name: str, data: bytes) -> None:
        target = self._path(name)
        with self._writing(name):
            temp = self._temp()
            self.disk.write_file(temp, data)
            self._publish_or_drop(temp, target)

    def adopt(self, name: str, path: Path) -> None:
        target = self._path(name)
        with self._writing(name):
            try:
                self._publish(path, target)
            except Conflict:
                if not _same_content(target, path):
                    raise
                # The process that made the link may have died before it synced the folder.
                self.disk.sync_folder(target.parent)
                self.disk.unlink(path)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy_in(name, path)

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._reading(name):
            # O_NONBLOCK: opening a named pipe under an object's name would block forever.
            handle = os.open(self._path(name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return _read(handle, name, offset, length)
            finally:
                os.close(handle)

    def info(self, name: str) -> Item:
        with self._reading(name):
            status = self._status(self._path(name))
            if not stat.S_ISREG(status.st_mode):
                raise Damaged(f"{name} is not a regular file", name=name)
            return _item(name, status)

    def _status(self, path: Path) -> os.stat_result:
        """Status of a file; on a share the file is opened, so that the server is asked."""
        if not self._is_share:
            return path.stat()
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.fstat(handle)
        finally:
            os.close(handle)

    def list(self, prefix: str) -> Iterator[Item]:
        todo, skip = [self._path(prefix)], len(str(self.root)) + 1
        while todo:
            for entry in self._scan(todo.pop()):
                if _is(entry, stat.S_ISDIR, follow=False):
                    if _FOLDER.fullmatch(entry.name):
                        todo.append(Path(entry.path))
                elif (status := _mode(entry, follow=True)) and stat.S_ISREG(status.st_mode):
                    yield _item(entry.path[skip:], status)

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        """Objects below several folders, which are read one after the other in this order."""
        return chain.from_iterable(map(self.list, folders))

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        path = self._path(folder) if folder else self.root
        for entry in self._scan(path):
            yield entry.name, _is(entry, stat.S_ISREG)

    def delete(self, name: str) -> None:
        path = self._path(name)
        with self._writing(name):
            if path.exists():
                # The deletion may depend on an object that another process has just linked in this
                # folder, so that link is made durable before this name is removed.
                self.disk.sync_folder(path.parent)
                self.disk.unlink(path)

    def local_path(self, name: str) -> Path | None:
        return self._path(name)

    @property
    def is_single_writer(self) -> bool:
        return False

    @property
    def has_parts(self) -> bool:
        return False

    def scratch(self, token: str) -> Folder:
        root = self.root / _PROBES / token
        self.disk.make_folder(root)
        return Folder(root, self.disk, self.owner)

    def drop(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        with suppress(OSError):
            self.root.parent.rmdir()

    def check_neighbours(self) -> None:
        """Raise Conflict for a folder that lies inside a repository, or that holds a repository in
        a sub-folder.
        """
        for above in self.root.absolute().parents:
            self._refuse_repository(above, "lies inside the repository")
        if not (self.root / IDENTITY).exists():
            for name, is_file in self.entries(""):
                if not is_file:
                    self._refuse_repository(self.root / name, "holds the repository")

    def _refuse_repository(self, folder: Path, relation: str) -> None:
        with suppress(OSError):
            if (folder / IDENTITY).is_file():
                raise Conflict(f"{self.root} {relation} in {folder}: name another folder")

    def clock_ms(self) -> int | None:
        """The time that the file system gives a new file; a share uses the clock of its server."""
        path = self._temp()
        with self._writing(_TEMP):
            self.disk.write_file(path, b"clock")
            try:
                return path.stat().st_mtime_ns // 1_000_000
            finally:
                self.disk.unlink(path)

    def links(self) -> bool | None:
        first, second = self._temp(), self._temp()
        with self._writing(_TEMP):
            self.disk.write_file(first, b"first")
            self.disk.link(first, second)
            try:
                self.disk.link(first, second)
            except Conflict:
                return second.samefile(first)
            return False

    def may_replace(self, name: str) -> bool:
        return os.access(self._path(name).parent, os.W_OK)

    def may_delete(self, name: str) -> bool:
        self.delete(name)
        return True

    def sweep(self, alive: Set[str]) -> int:
        swept = 0
        for entry in self._scan(self.root / _TEMP):
            owner, _, part = entry.name.rpartition(".")
            if owner and part and owner not in alive and _is(entry, stat.S_ISREG, follow=False):
                with self._writing(f"{_TEMP}/{entry.name}"):
                    self.disk.unlink(Path(entry.path))
                swept += 1
        return swept

    def _scan(self, folder: Path) -> Entries:
        """Entries of a folder; empty if the folder does not exist.

        Raises Unavailable when `root` is gone or the folder cannot be listed.
        """
        if not _is_folder(self.root):
            raise Unavailable(f"destination folder {self.root} is gone; mount it")
        try:
            with os.scandir(folder) as entries:
                return [*entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unavailable(f"folder {folder} cannot be listed", error) from error

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise self._absent(name) from None
        except OSError as error:
            if error.errno in _ROTTEN:
                raise Damaged(f"{name} cannot be read: {error.strerror}", name=name) from error
            raise _unavailable(f"{name} cannot be read", error) from error

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise Unavailable(
                f"{name} cannot be written: {error.filename} is in the way; move that "
                f"file out of {self.root}"
            ) from error
        except OSError as error:
            raise translate(error, self.root / name) from error

    def _publish_or_drop(self, temp: Path, target: Path) -> None:
        """Publish a temporary file; remove it if another attempt has stored the object first.

        A file server may lose the reply to a link and repeat the request, which then meets its own
        link: an existing object with this inode or these bytes is the object itself.
        """
        try:
            self._publish(temp, target)
        except Conflict:
            is_ours = _same_content(target, temp)
            if is_ours:
                self.disk.sync_folder(target.parent)
            self.disk.unlink(temp)
            if not is_ours:
                raise

    def _publish(self, source: Path, target: Path) -> None:
        self.disk.make_folder(target.parent)
        self.disk.link(source, target)
        self.disk.sync_folder(target.parent)
        self.disk.unlink(source)

    def _copy_in(self, name: str, path: Path) -> None:
        temp = self._temp()
        with self.disk.create(temp) as file, open(path, "rb") as source:
            while block := source.read(_BLOCK):
                self.disk.write(file, block)
            self.disk.sync(file)
        self._publish_or_drop(temp, self._path(name))
        self.disk.unlink(path)

    def _temp(self) -> Path:
        folder = self.root / _TEMP
        self.disk.make_folder(folder)
        return folder / f"{self.owner}.{os.urandom(12).hex()}"

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise Malformed(f"{name!r} is not an object name")
        return self.root / name

    def _absent(self, name: str) -> Exception:
        if not _is_folder(self.root):
            return Unavailable(f"destination folder {self.root} is gone; mount it")
        return NotFound(f"{name} is not stored in {self.root}", name=name)


def open_store(settings: FolderSettings, owner: str) -> Folder:
    """Open the folder of a destination.

    Raises Unavailable when the path is no folder, or its share is not mounted.
    """
    require_mounted(Path(settings.path), settings.share)
    return Folder(Path(settings.path), owner=owner, is_share=settings.share != "LOCAL")


def check_place(settings: FolderSettings) -> None:
    """Check the location of a new repository.  Raises Conflict, naming `path`."""
    require_no_repository_around(Path(settings.path))


def usage(settings: FolderSettings) -> tuple[int, int]:
    """Bytes of the folder's file system: (total, free). Raises OSError."""
    total, _, free = shutil.disk_usage(settings.path)
    return total, free


def _unavailable(problem: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"{problem}: {error.strerror}; make sure that the file system is mounted and that this "
        "user may read it, then try again"
    )


def _is_folder(path: Path) -> bool:
    """Whether a folder exists; False for a mount that returns errors."""
    try:
        return path.is_dir()
    except OSError:  # Path.is_dir of Python 3.11 raises ESTALE and EIO
        return False


def _mode(entry: os.DirEntry[str], *, follow: bool) -> os.stat_result | None:
    """Status of a directory entry; None for an entry that vanished or cannot be read."""
    try:
        return entry.stat(follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR) or error.errno in _ROTTEN:
            return None
        raise _unavailable(f"the status of {entry.path} cannot be read", error) from error


def _is(entry: os.DirEntry[str], kind: Callable[[int], bool], *, follow: bool = True) -> bool:
    found = _mode(entry, follow=follow)
    return found is not None and kind(found.st_mode)


def _item(name: str, status: os.stat_result) -> Item:
    """An object with the time of its link, because a file that was moved in was written earlier.

    The removal of the temporary name changes the time once more, shortly afterwards.
    """
    return Item(name, status.st_size, status.st_ctime_ns // 1_000_000)


def _same_content(first: Path, second: Path) -> bool:
    """Whether two names have the same bytes; False for a foreign link, pipe or folder."""
    if not first.is_file():  # a broken link, a pipe
        return False
    if first.samefile(second):
        return True
    if first.stat().st_size != second.stat().st_size:
        return False
    with open(first, "rb") as left, open(second, "rb") as right:
        while block := left.read(_BLOCK):
            if block != right.read(_BLOCK):
                return False
    return True


def _read(handle: int, name: str, offset: int, length: int | None) -> bytes:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise Damaged(f"{name} is not a regular file", name=name)
    wanted = status.st_size - offset if length is None else length
    data = os.pread(handle, wanted, offset)
    while len(data) < wanted:
        more = os.pread(handle, wanted - len(data), offset + len(data))
        if not more:
            raise Damaged(f"{name} is truncated at byte {offset + len(data)}", name=name)
        data += more
    return data
