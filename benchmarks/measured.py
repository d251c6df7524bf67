"""Measurements of one process: its memory, and its reads from a destination."""

from __future__ import annotations

import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from haulback.destinations.folder import Folder
from haulback.durable_files import DurableFiles
from haulback.repository.keys import Secret
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.pages import DiskMap
from haulback.repository.repository import Repository
from haulback.repository.writer import Staged, Writer
from haulback.units import KIB

Figures = dict[str, float]
SECRET = Secret("keyfile", bytes(32))


def resident() -> int:
    """The present memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def peak() -> int:
    """The peak memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("VmHWM"))


def repository(folder: Path) -> Repository:
    """The repository below `folder`, created if missing."""
    root = folder / "store"
    if root.exists():
        return Repository.open(Folder(root), SECRET)
    root.mkdir(parents=True)
    return Repository.init(Folder(root), SECRET)


@contextmanager
def staged_writer(store: Repository, folder: Path) -> Iterator[tuple[Writer, ThreadPoolExecutor]]:
    """A writer into `folder`/staging, and its pool; the folder is removed after the block."""
    staging = folder / "staging"
    staging.mkdir()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield store.writer(staging, pool), pool
    shutil.rmtree(staging)


def publish(store: Repository, folder: Path, found: DiskMap, staged: Staged) -> Manifest:
    """Store the files of a staged writer, as a machine of one disk."""
    staging, disks = folder / "staging", (ManifestDisk("disk0", found),)
    record = Manifest(str(uuid.uuid4()), "e", "scale", "FULL", 1, disks, stored=staged.stored)
    store.publish(staging, store.draft(staging, staged, record, DurableFiles()))
    store.merge_index(staging)
    return record


class Loads:
    """A counter of the loads from a repository's destination, by kind of object."""

    def __init__(self, store: Repository) -> None:
        self.count, self.bytes = Counter[str](), Counter[str]()
        self._load = store.destination.load
        store.destination.load = self.load  # type: ignore[method-assign]

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self._load(name, offset, length)
        kind = name.partition("/")[0]
        self.count[kind] += 1
        self.bytes[kind] += len(data)
        return data

    def forget(self) -> None:
        self.count.clear()
        self.bytes.clear()
