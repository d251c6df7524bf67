"""A folder on this machine as a destination: temp file, fsync, link, fsync of the folder."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Set
from pathlib import Path

from haulback.destinations.protocol import Item
from haulback.disk import Disk
from haulback.errors import Conflict, Damaged, Malformed, NotFound, Unavailable

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")
_TEMP = ".tmp"


class Folder:
    """Objects are files below `root`.  Half-written ones live in `root/.tmp` only.

    `root` must exist: a vanished mount point must never be mistaken for an empty destination.
    `owner` is the attempt whose name half-written objects bear.
    """

    def __init__(self, root: Path, disk: Disk | None = None, owner: str = "by-hand") -> None:
        self.root, self.owner = root, owner
        self.disk = disk or Disk()
        if not root.is_dir():
            raise Unavailable(f"destination folder {root} is not there; mount or create it")

    def store(self, name: str, data: bytes) -> None:
        temp = self._temp()
        self.disk.write_file(temp, data)
        self._publish_or_drop(temp, self._path(name))

    def adopt(self, name: str, path: Path) -> None:
        target = self._path(name)
        try:
            self._publish(path, target)
        except Conflict:
            if target.stat().st_size != path.stat().st_size:
                raise
            self.disk.unlink(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy_in(name, path)

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        try:
            with open(self._path(name), "rb", buffering=0) as file:
                return _read(file.fileno(), name, offset, length)
        except FileNotFoundError:
            raise self._absent(name) from None

    def info(self, name: str) -> Item:
        try:
            return Item(name, self._path(name).stat().st_size)
        except FileNotFoundError:
            raise self._absent(name) from None

    def list(self, prefix: str) -> Iterator[Item]:
        if not self.root.is_dir():
            raise Unavailable(f"destination folder {self.root} is gone")
        todo, skip = [str(self._path(prefix))], len(str(self.root)) + 1
        while todo:
            try:
                entries = os.scandir(todo.pop())
            except FileNotFoundError:
                continue
            with entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    elif (size := _size(entry)) is not None:
                        yield Item(entry.path[skip:], size)

    def delete(self, name: str) -> None:
        path = self._path(name)
        if path.exists():
            # What another process just linked here may be the reason to delete: keep it first.
            self.disk.sync_folder(path.parent)
            self.disk.unlink(path)

    def local_path(self, name: str) -> Path | None:
        return self._path(name)

    def sweep(self, alive: Set[str]) -> int:
        found = sorted((self.root / _TEMP).glob("*"))
        leftovers = [path for path in found if path.name.rpartition(".")[0] not in alive]
        for path in leftovers:
            self.disk.unlink(path)
        return len(leftovers)

    def _publish_or_drop(self, temp: Path, target: Path) -> None:
        """What another attempt has stored meanwhile is no reason to leave ours lying about."""
        try:
            self._publish(temp, target)
        except Conflict:
            self.disk.unlink(temp)
            raise

    def _publish(self, source: Path, target: Path) -> None:
        self.disk.make_folder(target.parent)
        self.disk.link(source, target)
        self.disk.sync_folder(target.parent)
        self.disk.unlink(source)

    def _copy_in(self, name: str, path: Path) -> None:
        temp = self._temp()
        with self.disk.create(temp) as file, open(path, "rb") as source:
            while block := source.read(1 << 20):
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
        if not self.root.is_dir():
            return Unavailable(f"destination folder {self.root} is gone")
        return NotFound(f"{name} is not stored in {self.root}", name=name)

    def usage(self) -> tuple[int, int]:
        """(total, free) bytes of the file system below."""
        total, _, free = shutil.disk_usage(self.root)
        return total, free


def _size(entry: os.DirEntry[str]) -> int | None:
    """Of a regular file; None for what is none, or went away since it was listed."""
    try:
        return entry.stat(follow_symlinks=False).st_size if entry.is_file() else None
    except FileNotFoundError:
        return None


def _read(handle: int, name: str, offset: int, length: int | None) -> bytes:
    wanted = os.fstat(handle).st_size - offset if length is None else length
    data = os.pread(handle, wanted, offset)
    while len(data) < wanted:
        more = os.pread(handle, wanted - len(data), offset + len(data))
        if not more:
            raise Damaged(f"{name} ends at byte {offset + len(data)}, too early", name=name)
        data += more
    return data
