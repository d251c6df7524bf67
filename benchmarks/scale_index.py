"""The index of a tebibyte: created, merged, opened and queried.

The tebibyte is simulated: chunk ids and group ids are random, and the chunks that they name do not
exist.  The product's own code reads and writes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.measured import Figures, peak, repository, resident
from haulback.durable_files import DurableFiles
from haulback.repository.chunker import CHUNK_BYTES_AVERAGE, SEGMENT_BYTES
from haulback.repository.index import Index
from haulback.repository.index_arrays import ID, Array, ArrayColumns
from haulback.repository.index_tiers import FAN_IN
from haulback.repository.segment import NAME_BYTES, Segment
from haulback.units import MIB, TIB

CHUNKS = TIB // CHUNK_BYTES_AVERAGE
_IN_A_GROUP = SEGMENT_BYTES // CHUNK_BYTES_AVERAGE


def synthetic_segment(chunks: int, dice: np.random.Generator) -> Segment:
    """An index file as a session with `chunks` new chunks writes it: 16 chunks in a group."""
    groups, packs = -(-chunks // _IN_A_GROUP), -(-chunks // (_IN_A_GROUP * 64))
    heads = dice.integers(0, 1 << 64, chunks, "<u8")
    heads.sort()
    columns = ArrayColumns(
        heads=heads,
        rests=dice.integers(0, 1 << 64, chunks, "<u8"),
        sessions=np.full(groups, dice.integers(0, 1 << 64, dtype="<u8"), "<u8"),
        groups_of=dice.integers(0, groups, chunks, "<u4"),
        counters=np.arange(groups, dtype="<u4"),
        packs_of=(np.arange(groups) // 64).astype("<u4"),
        offsets=((np.arange(groups) % 64) * (MIB // 2) + 8).astype("<u4"),
        lengths=np.full(groups, MIB // 2, "<u4"),
        packs=np.frombuffer(dice.bytes(16 * packs), "V16"),
        replaces=np.empty(0, f"V{NAME_BYTES}"),
    )
    return Segment(columns.raw())


def make_index(folder: Path, *sizes: int) -> Figures:
    """Publish synthetic index files of these sizes."""
    store, dice = repository(folder), np.random.default_rng(len(sizes))
    for size in sizes:
        path = synthetic_segment(size, dice).write(folder, store.keys, DurableFiles())
        store.destination.adopt(f"index/{path.stem}", path)
    return {"chunks": sum(sizes), "segments": len(sizes)}


def make_index_to_merge(folder: Path) -> Figures:
    """Publish the largest number of equal index files that one merge takes, together a tebibyte."""
    return make_index(folder, *[CHUNKS // FAN_IN] * FAN_IN)


def make_index_spread(folder: Path) -> Figures:
    """Publish the index with the longest look-up: seven files in each of four tiers, none of them
    due.
    """
    largest = CHUNKS * 7 // 8 // (FAN_IN - 1)
    sizes = [largest // FAN_IN**tier for tier in range(4) for _ in range(FAN_IN - 1)]
    return make_index(folder, *sizes)


def merge_index(folder: Path) -> Figures:
    store, started = repository(folder), time.monotonic()
    merges = store.merge_index(folder)
    took = time.monotonic() - started
    store.sweep_index()
    return {"merges": merges, "seconds": took, "peak_bytes": peak()}


def use_index(folder: Path) -> Figures:
    """Open the index, then look up chunks, half of them stored, and places of groups."""
    store, before = repository(folder), resident()
    started = time.monotonic()
    index = store.index()
    figures = {"open_seconds": time.monotonic() - started, "chunks": len(index)}
    figures["segments"] = len(index.segments)
    figures["opened_bytes"] = resident() - before
    for batch, count in ((_IN_A_GROUP, 1 << 18), (4096, 1 << 20)):
        seconds, known = _ask(index, count, batch)
        figures[f"lookups_by_{batch}_per_second"] = count / seconds
        figures[f"known_of_{count}"] = known
    groups = [
        group for s in index.segments for group in s.group_ids(_rows(s.columns.sessions).tolist())
    ]
    started = time.monotonic()
    missed = sum(index.place(group) is None for group in groups)
    figures |= {"places_per_second": len(groups) / (time.monotonic() - started), "missed": missed}
    return figures | {"used_bytes": peak() - before}


def _ask(index: Index, count: int, batch: int) -> tuple[float, int]:
    """Seconds of `count` look-ups, and the number of known chunks."""
    seconds, known = 0.0, 0
    for ids in _batches(index.segments, count, batch):
        started = time.monotonic()
        found = index.find(ids)
        seconds += time.monotonic() - started
        known += len(ids) - found.count(None)
    return seconds, known


def _rows(column: Array) -> Array:
    return np.random.default_rng(5).integers(0, len(column), 1 << 12)


def _batches(result: list[Segment], count: int, batch: int) -> Iterator[list[bytes]]:
    """Random chunk ids of the index, every other one unknown."""
    dice = np.random.default_rng(batch)
    for _ in range(count // batch):
        c = result[int(dice.integers(len(result)))].columns
        rows = dice.integers(0, len(c.heads), batch)
        ids = np.empty(batch, ID)
        ids["head"], ids["rest"] = c.heads[rows], c.rests[rows]
        ids["head"][::2] = dice.integers(0, 1 << 64, batch // 2, "<u8")
        raw = ids.tobytes()
        yield [raw[i : i + 20] for i in range(0, len(raw), 20)]
