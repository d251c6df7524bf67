"""The folders of machines by uuid, known without reading every definition again."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from haulback.drivers.imagefolder.definition import FILE, LARGEST, canonical
from haulback.drivers.images.image import open_regular
from haulback.errors import HaulbackError

_ROOTS = 16  # image folders in memory; a thousand machines take about 300 KiB
_SECOND = 1_000_000_000  # nanoseconds in a second
# Age in nanoseconds from which on a later write of a definition certainly changes its stamp: more
# than the resolution of time stamps, which is a tick of the kernel, or 2 s on file systems with
# whole seconds only.
_SETTLED, _SETTLED_COARSE = _SECOND // 10, 3 * _SECOND


class _Stamp(NamedTuple):
    """The identity of a file's content: each write changes the time of the last change."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


class _Identity(msgspec.Struct):
    """The only member of a definition that is read here."""

    uuid: str


class MachinePlaces:
    """The uuids in the definitions of image folders; threads may share one object.

    A definition is read again if the stamp of its file differs, or is too young to distinguish two
    writes.
    """

    def __init__(self) -> None:
        self._roots = OrderedDict[str, dict[str, tuple[_Stamp, str]]]()
        self._lock = Lock()  # guards `_roots`; the values are replaced, never changed

    def folders(self, root: Path, uuid: str) -> list[Path]:
        """The folders whose definition names a canonical uuid, sorted by name.

        The caller reads their definitions.  Raises the OSError of a root that cannot be listed.
        """
        return [root / name for name, named in self.learn(root) if named == uuid]

    def learn(self, root: Path) -> list[tuple[str, str]]:
        """(folder name, uuid) of all definitions, sorted by name; the uuid is "" where a definition
        cannot be read.
        """
        before = self._roots.get(str(root), {})
        known, uuids = dict[str, tuple[_Stamp, str]](), list[tuple[str, str]]()
        for name, stamp in _stamps(root):
            old = before.get(name)
            if old and old[0] == stamp:  # only definitions of this age are in the cache
                known[name] = old
                uuids.append((name, old[1]))
                continue
            uuid = _uuid(root / name)
            uuids.append((name, uuid))
            if _is_settled(stamp):
                known[name] = (stamp, uuid)
        self._keep(str(root), known)
        return sorted(uuids)

    def forget(self, root: Path) -> None:
        """Read all definitions of a root at the next call."""
        with self._lock:
            self._roots.pop(str(root), None)

    def _keep(self, root: str, known: dict[str, tuple[_Stamp, str]]) -> None:
        with self._lock:
            self._roots[root] = known
            self._roots.move_to_end(root)
            while len(self._roots) > _ROOTS:
                self._roots.popitem(last=False)


def _stamps(root: Path) -> list[tuple[str, _Stamp]]:
    """(folder name, stamp of its definition) of each sub-folder with a definition."""
    result = []
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            try:
                status = os.lstat(f"{entry.path}/{FILE}")
            except OSError:
                continue
            stamp = _Stamp(
                status.st_dev,
                status.st_ino,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
            result.append((entry.name, stamp))
    return result


def _is_settled(stamp: _Stamp) -> bool:
    is_coarse = stamp.changed % _SECOND == 0
    age = time.time_ns() - max(stamp.changed, stamp.modified)
    return age > (_SETTLED_COARSE if is_coarse else _SETTLED)


def _uuid(folder: Path) -> str:
    """The canonical uuid in a definition, "" where it cannot be read."""
    try:
        handle = open_regular(folder / FILE)
        try:
            data = os.read(handle, LARGEST + 1)
        finally:
            os.close(handle)
        return canonical(msgspec.json.decode(data, type=_Identity).uuid)
    except (OSError, HaulbackError, RecursionError, UnicodeDecodeError, msgspec.MsgspecError):
        return ""
