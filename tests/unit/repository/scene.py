"""A disk in memory, and short functions to back it up and restore it."""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from haulback.drivers.source import Extent
from haulback.durable_files import DurableFiles
from haulback.repository.backup import DiskBase, back_up_disk
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.mapping import MapReader
from haulback.repository.pages import DiskMap
from haulback.repository.repository import Draft, Repository
from haulback.repository.resources import Resources
from haulback.repository.restore import restore_disk
from haulback.units import MIB

_ZEROS = bytes(65536)


class MemoryDisk:
    """A Source and a Sink over bytes that records changed blocks of 64 KiB."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data, self.dirty = bytearray(data), set[int]()
        self.read = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def extents(self, start: int = 0) -> Iterator[Extent]:
        for at in range(start // 65536 * 65536, self.size, 65536):
            block = self.data[at : at + 65536]
            if block != _ZEROS[: len(block)]:
                yield Extent(at, len(block))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.read += len(buffer)
        assert offset + len(buffer) <= self.size
        buffer[:] = self.data[offset : offset + len(buffer)]

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self.data[offset : offset + len(data)] = data
        self.dirty.update(range(offset // 65536, (offset + max(len(data), 1) - 1) // 65536 + 1))

    def changed(self) -> list[Extent]:
        found = [Extent(block * 65536, 65536) for block in sorted(self.dirty)]
        self.dirty.clear()
        return found


def noise(size: int, seed: int = 0) -> bytes:
    return _often(size, seed) if size <= 3 * MIB else _noise(size, seed)


def _noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


_often = lru_cache(32)(_noise)  # tests of a module begin with the same disks


def export(
    repository: Repository,
    disk: MemoryDisk,
    staging: Path,
    pool: ThreadPoolExecutor,
    base: DiskMap | None = None,
    changed: list[Extent] | None = None,
    io: DurableFiles | None = None,
    backup: str | None = None,
    parent: str | None = None,
    distrust: bool = False,
) -> Draft:
    """Leave a finished export in `staging`."""
    io = io or DurableFiles()
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    look = repository.look()
    writer = repository.writer(staging, pool, io, look=look)
    reader = repository.reader(look=look)
    read = (reader.chunk, reader.expect, reader.place_of)
    old = MapReader(base, *read) if base else None
    try:
        known = DiskBase(old, changed, distrust) if old else None
        result = back_up_disk(disk, writer, repository.keys, Resources(pool), known)
        staged = writer.finish()
    except BaseException:
        writer.abandon()
        raise
    manifest = Manifest(
        backup or str(uuid.uuid4()),
        "e",
        "machine",
        "INCREMENTAL" if base else "FULL",
        1,
        (ManifestDisk("disk0", result),),
        parent,
        stored=staged.stored,
    )
    return repository.draft(staging, staged, manifest, io)


def back_up(
    repository: Repository,
    disk: MemoryDisk,
    staging: Path,
    pool: ThreadPoolExecutor,
    base: DiskMap | None = None,
    changed: list[Extent] | None = None,
    io: DurableFiles | None = None,
    backup: str | None = None,
    parent: str | None = None,
) -> Manifest:
    """Export and store in one call."""
    draft = export(repository, disk, staging, pool, base, changed, io, backup, parent)
    return repository.publish(staging, draft)


def restored(repository: Repository, manifest: Manifest, pool: ThreadPoolExecutor) -> bytearray:
    return restored_disk(repository, manifest, pool).data


def restored_disk(
    repository: Repository, manifest: Manifest, pool: ThreadPoolExecutor
) -> MemoryDisk:
    """The first disk of a backup; its zeros take no memory until they are read."""
    disk, sink = manifest.disks[0].map, MemoryDisk(b"")
    sink.data = bytearray(disk.size)
    restore_disk(disk, repository.reader(), sink, pool)
    return sink
