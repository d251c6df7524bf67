"""The map of a tebibyte: written whole, then changed in a thousand places.

The tebibyte is simulated: chunk ids and group ids are random, and the chunks that they name do not
exist.  The product's own code reads and writes them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measured import Figures, Loads, peak, publish, repository, staged_writer
from haulback.repository.chunker import CHUNK_BYTES_AVERAGE, SEGMENT_BYTES
from haulback.repository.mapping import MapReader, rewrite
from haulback.repository.pages import LEAF_SEGMENTS, ChunkRef, Pieces, SegmentPiece
from haulback.repository.repository import Repository
from haulback.units import TIB

_PIECES = SEGMENT_BYTES // CHUNK_BYTES_AVERAGE


def make_map(folder: Path) -> Figures:
    """The map of a tebibyte of data: written by the real writer, without its chunks."""
    store, dice, started = repository(folder), random.Random(1), time.monotonic()
    full = ((i, _pieces(dice, dice.randbytes(12))) for i in range(TIB // SEGMENT_BYTES))
    stored = _publish_map(store, folder, None, full)
    return {"map_bytes": stored, "seconds": time.monotonic() - started, "peak_bytes": peak()}


def change_map(folder: Path) -> Figures:
    """Write an increment of 1,000 random changed chunks."""
    store, dice = repository(folder), random.Random(2)
    loads = Loads(store)
    base = MapReader(next(store.backups()).disks[0].map, store.reader().chunk)
    changed = sorted(dice.sample(range(TIB // SEGMENT_BYTES), 1000))
    old = {i: base.leaf(i // LEAF_SEGMENTS)[i % LEAF_SEGMENTS] for i in changed}
    new = ((i, _with_one_changed(old[i], dice)) for i in changed)
    loads.forget()
    started = time.monotonic()
    again = MapReader(base.root, store.reader().chunk)
    written = _publish_map(store, folder, again, new)
    took = time.monotonic() - started
    return {"written_bytes": written, "read_bytes": loads.bytes["packs"], "seconds": took}


def _pieces(dice: random.Random, group: bytes) -> Pieces:
    return tuple(
        SegmentPiece(CHUNK_BYTES_AVERAGE, ChunkRef(dice.randbytes(20), group))
        for _ in range(_PIECES)
    )


def _with_one_changed(pieces: Pieces, dice: random.Random) -> Pieces:
    fresh = SegmentPiece(CHUNK_BYTES_AVERAGE, ChunkRef(dice.randbytes(20), dice.randbytes(12)))
    at = dice.randrange(len(pieces))
    return (*pieces[:at], fresh, *pieces[at + 1 :])


def _publish_map(
    store: Repository, folder: Path, base: MapReader | None, changed: Iterator[tuple[int, Pieces]]
) -> int:
    with staged_writer(store, folder) as (writer, _):
        found = rewrite(TIB, base, changed, writer.add_page)
        return publish(store, folder, found, writer.finish()).stored
