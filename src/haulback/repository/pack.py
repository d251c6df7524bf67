"""A pack: about 64 MiB of groups in one object, with a sealed directory at its end.

`HBPACK01 | group records … | sealed directory | directory length (4) | HBPACKEN`
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from haulback.destinations.protocol import ObjectStore
from haulback.durable_files import DurableFiles
from haulback.errors import Damaged
from haulback.repository.group import GROUP_ID_BYTES, Group
from haulback.repository.keys import ID_BYTES, Keys
from haulback.units import KIB, MIB

PACK_BYTES = 64 * MIB  # target size, large enough for stores that count requests
PACK_ID_BYTES = 16
_WRITE_OUT_BYTES = 16 * MIB  # bytes of a growing pack between two writes to the disk
_SEALS_AHEAD = 2  # full packs that wait for the disk, which limits the memory for their directories
# Enough for a usual directory, so that one request reads the whole directory.
_DIRECTORY_BYTES = 64 * KIB
_MAGIC, _END = b"HBPACK01", b"HBPACKEN"
_ENTRY = struct.Struct(f"<{GROUP_ID_BYTES}sIII")
_TAIL = struct.Struct("<I8s")


class GroupLocation(NamedTuple):
    """The place of a group record: pack id, offset and length in bytes."""

    pack: bytes
    offset: int
    length: int


class GroupEntry(NamedTuple):
    """A group in a pack's directory, with the ids of its chunks."""

    group: bytes
    place: GroupLocation
    chunks: list[bytes]


def name_of(pack: bytes) -> str:
    """The object name of a pack: `packs/ab/abcd…`."""
    return f"packs/{pack.hex()[:2]}/{pack.hex()}"


class PackWriter:
    """A pack that grows in a local folder; `seal` makes the pack complete and durable."""

    def __init__(self, folder: Path, disk: DurableFiles) -> None:
        self.id = os.urandom(PACK_ID_BYTES)
        self.path = folder / f"{self.id.hex()}.pack"
        self.entries: list[GroupEntry] = []
        self.size = len(_MAGIC)
        self._disk, self._written_out = disk, 0
        self._file = disk.create(self.path)
        disk.write(self._file, _MAGIC)

    def add(self, group: Group, record: bytes | memoryview) -> GroupEntry:
        place = GroupLocation(self.id, self.size, len(record))
        self._disk.write(self._file, record)
        self.size += len(record)
        entry = GroupEntry(group.id, place, list(group.places))
        self.entries.append(entry)
        return entry

    def seal(self, keys: Keys) -> None:
        plain = b"".join(
            _ENTRY.pack(e.group, e.place.offset, e.place.length, len(e.chunks)) + b"".join(e.chunks)
            for e in self.entries
        )
        directory = keys.seal("pack", self.id, plain)
        tail = directory + _TAIL.pack(len(directory), _END)
        self._disk.write(self._file, tail)
        self.size += len(tail)
        self._disk.sync(self._file)
        self._file.close()
        self._disk.sync_folder(self.path.parent)
        self.entries.clear()  # a session that backs up 1 TiB seals packs with 16 million chunk ids

    def is_behind(self) -> bool:
        """Whether much of the pack was added since the last call that returned true."""
        if self.size - self._written_out < _WRITE_OUT_BYTES:
            return False
        self._written_out = self.size
        return True

    def write_out(self) -> None:
        """Let the system write the present content to the disk."""
        self._disk.write_out(self._file)

    def abandon(self) -> None:
        self._file.close()


class PackSealer:
    """A thread that writes growing packs out and seals full packs, while others are filled.

    The thread handles only packs, because a thread that compresses must not wait for the disk.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="packs")
        self._tasks: deque[Future[None]] = deque()

    def write_out(self, pack: PackWriter) -> None:
        """Write a pack out soon, unless the thread is behind.  Raises the error of earlier work."""
        self._settle(_SEALS_AHEAD)
        if not self._tasks:
            self._tasks.append(self._pool.submit(pack.write_out))

    def seal(self, pack: PackWriter) -> None:
        """Seal a pack soon.  Raises the error of earlier work."""
        self._tasks.append(self._pool.submit(pack.seal, self._keys))
        self._settle(_SEALS_AHEAD)

    def finish(self) -> None:
        """Wait for all packs.  Raises the first error."""
        try:
            self._settle(0)
        finally:
            self._pool.shutdown()

    def abandon(self) -> None:
        """Wait until the thread uses no pack any more."""
        self._pool.shutdown(cancel_futures=True)

    def _settle(self, left: int) -> None:
        while self._tasks and (len(self._tasks) > left or self._tasks[0].done()):
            self._tasks.popleft().result()


def check_magic(destination: ObjectStore, pack: bytes) -> None:
    """Raises Damaged when a stored object does not begin like a pack, NotFound when it is gone.

    The pack's groups may still be good: readers need neither magic nor directory.
    """
    name = name_of(pack)
    if destination.load(name, 0, len(_MAGIC)) != _MAGIC:
        raise Damaged(f"{name} does not begin like a pack", name=name)


def read_directory(
    destination: ObjectStore, pack: bytes, keys: Keys, size: int | None = None
) -> list[GroupEntry]:
    """The groups of a stored pack, whose `size` in bytes is looked up unless it is given.

    Raises Damaged unless the object is that pack, complete.
    """
    name = name_of(pack)
    size = destination.info(name).size if size is None else size
    if size < len(_MAGIC) + _TAIL.size:
        raise Damaged(f"{name} is too short to be a pack", name=name)
    begin = max(0, size - _DIRECTORY_BYTES)
    end_of_pack = destination.load(name, begin, size - begin)
    length, end = _TAIL.unpack(end_of_pack[-_TAIL.size :])
    if end != _END or length > size - _TAIL.size:
        raise Damaged(f"{name} does not end like a pack", name=name)
    sealed = end_of_pack[-_TAIL.size - length : -_TAIL.size]
    if len(sealed) < length:
        sealed = destination.load(name, size - _TAIL.size - length, length)
    try:
        return list(_entries(keys.unseal("pack", pack, sealed), pack))
    except (InvalidTag, struct.error) as error:
        raise Damaged(f"the directory of {name} is damaged", name=name) from error


def _entries(plain: bytes, pack: bytes) -> Iterator[GroupEntry]:
    at = 0
    while at < len(plain):
        group, offset, length, count = _ENTRY.unpack_from(plain, at)
        at += _ENTRY.size
        chunks = [plain[at + i * ID_BYTES : at + (i + 1) * ID_BYTES] for i in range(count)]
        at += count * ID_BYTES
        yield GroupEntry(group, GroupLocation(pack, offset, length), chunks)
