"""The thousandth backup against the second, and memory for growing images and sessions."""

from __future__ import annotations

import os
import random
import statistics
import time
from pathlib import Path

from benchmarks.measured import Figures, Loads, peak, publish, repository, staged_writer
from haulback.drivers.source import Extent, RawImage
from haulback.repository.backup import DiskBase, back_up_disk
from haulback.repository.manifest import Manifest
from haulback.repository.mapping import MapReader
from haulback.repository.resources import Resources
from haulback.units import GIB, KIB, MIB


def make_chain(folder: Path) -> Figures:
    return chain(folder, 1000, 1001)


def make_chain_swept(folder: Path) -> Figures:
    return chain(folder, 1000, 100)


def chain(folder: Path, backups: int, sweep: int) -> Figures:
    """A machine of 64 MiB, backed up repeatedly; every `sweep`-th backup cleans up the index."""
    dice, image = random.Random(3), folder / "live.raw"
    image.write_bytes(dice.randbytes(64 * MIB))
    parent, took, stored = None, [], []
    for number in range(1, backups + 1):
        changed = _touch(image, dice)
        started = time.monotonic()
        parent = back_up(folder, image, parent, changed)
        took.append(time.monotonic() - started)
        stored.append(parent.stored)
        if number % sweep == 0:
            repository(folder).sweep_index()
    figures = {"backups": backups, "segments": len(repository(folder).index().segments)}
    for name, part in (("early", slice(1, 21)), ("late", slice(-20, None))):
        figures[f"{name}_seconds"] = statistics.median(took[part])
        figures[f"{name}_bytes"] = statistics.median(stored[part])
    return figures


def _touch(image: Path, dice: random.Random) -> list[Extent]:
    """Change the bytes of sixteen random pages."""
    pages = sorted(dice.sample(range(image.stat().st_size // 4096), 16))
    with open(image, "r+b") as file:
        for page in pages:
            file.seek(page * 4096)
            file.write(dice.randbytes(4096))
    return [Extent(page * 4096, 4096) for page in pages]


def back_up(
    folder: Path, image: Path, parent: Manifest | None = None, changed: list[Extent] | None = None
) -> Manifest:
    """Make one backup like a process that has opened nothing yet."""
    store, source = repository(folder), RawImage(image)
    base = MapReader(parent.disks[0].map, store.reader().chunk) if parent else None
    with staged_writer(store, folder) as (writer, pool):
        old = DiskBase(base, changed) if base else None
        stored_map = back_up_disk(source, writer, store.keys, Resources(pool), old)
        source.close()
        return publish(store, folder, stored_map, writer.finish())


def list_chain(folder: Path) -> Figures:
    """List every backup of the chain, and count the loads."""
    store = repository(folder)
    loads, started = Loads(store), time.monotonic()
    count = sum(1 for _ in store.backups())
    took = time.monotonic() - started
    other = loads.count.total() - loads.count["manifests"]
    return {"backups": count, "seconds": took, "loads_of_anything_else": other}


def export_sparse(folder: Path, size: int) -> Figures:
    """The memory of a full backup; a quarter of the image is barely compressible data."""
    image, before = folder / "sparse.raw", peak()
    with open(image, "wb") as file:
        for at in range(0, size, 4 * MIB):
            file.seek(at)
            file.write(os.urandom(MIB))
        file.truncate(size)
    started = time.monotonic()
    stored = back_up(folder, image).stored
    took = time.monotonic() - started
    return {"seconds": took, "stored_bytes": stored, "before_bytes": before, "peak_bytes": peak()}


def export_sparse_2_gib(folder: Path) -> Figures:
    return export_sparse(folder, 2 * GIB)


def export_sparse_20_gib(folder: Path) -> Figures:
    return export_sparse(folder, 20 * GIB)


def session(folder: Path, chunks: int) -> Figures:
    """The memory of a session with `chunks` new chunks of 1 KiB, a size chosen for speed."""
    store, started = repository(folder), time.monotonic()
    with staged_writer(store, folder) as (writer, _):
        for _ in range(chunks // 64):
            writer.add([(os.urandom(20), memoryview(os.urandom(KIB))) for _ in range(64)])
        writer.finish()
    return {"seconds": time.monotonic() - started, "peak_bytes": peak()}


def session_of_200_thousand(folder: Path) -> Figures:
    return session(folder, 200_000)


def session_of_2_million(folder: Path) -> Figures:
    return session(folder, 2_000_000)
