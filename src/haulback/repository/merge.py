"""Merging index files: files of similar size become one file, which names the files it replaces.

A merge only adds.  A reader that lists the old and the new file uses the new one; a later sweep, by
anyone with the right to delete, removes files that an authenticated index file replaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from haulback.durable_files import DurableFiles
from haulback.repository.damage import NO_DAMAGE, RepositoryDamage
from haulback.repository.index_arrays import Array, ArrayColumns, as_bytes
from haulback.repository.keys import Keys
from haulback.repository.segment import NAME_BYTES, Segment, footer, write

_SLICE_CHUNKS = 1 << 20
_DROPPED = 0xFFFFFFFF


class MergePlan(NamedTuple):
    """The index files to merge, and the names of the files that the merged file replaces.

    `kept` has a mask over the groups of each file; a group outside of the mask is left out with its
    chunks.
    """

    segments: Sequence[Segment]
    replaces: Iterable[str] = ()
    kept: Sequence[Array] | None = None
    damage: RepositoryDamage = NO_DAMAGE


def merge(plan: MergePlan, folder: Path, keys: Keys, disk: DurableFiles) -> Path:
    """Write one index file with every entry of the planned files, durably, into `folder`.

    When two files hold the same chunk or group, the copy at a sound place is taken, else the first
    file's copy: a damaged copy must not replace a good one.  Takes about 60 MiB and 40 bytes per
    group, whatever the number of chunks.
    """
    segments = plan.segments or [Segment.build([])]  # an empty index is an index file too
    masks = plan.kept or [np.ones(len(s.columns.sessions), bool) for s in segments]
    groups = _merge_groups(segments, masks, plan.replaces, plan.damage)
    return write(_parts(segments, groups), folder, keys, disk)


class _Groups(NamedTuple):
    """The merged group columns, the new row or _DROPPED of each old row per file, and damaged rows.

    `damaged` is None when no row is damaged: sorting without it is faster.
    """

    columns: ArrayColumns
    rows: list[Array]
    damaged: Array | None


def _parts(segments: Sequence[Segment], groups: _Groups) -> Iterator[bytes | memoryview]:
    """The merged file, column by column; chunk columns are written one slice of the id space at a
    time.
    """
    c, chunks = groups.columns, 0
    for heads, _, _ in _slices(segments, groups):
        chunks += len(heads)
        yield as_bytes(heads)
    for _, rests, _ in _slices(segments, groups):
        yield as_bytes(rests)
    yield as_bytes(c.sessions)
    for _, _, groups_of in _slices(segments, groups):
        yield as_bytes(groups_of)
    yield from map(as_bytes, c[4:])
    yield footer(c.raw(), chunks)


def _slices(segments: Sequence[Segment], groups: _Groups) -> Iterator[tuple[Array, Array, Array]]:
    """(heads, rests, groups_of) of all index files together, ascending, each chunk once."""
    count = sum(len(segment) for segment in segments) // _SLICE_CHUNKS + 1
    bounds = np.array([(i << 64) // count for i in range(1, count)], "<u8")
    cuts = [[0, *np.searchsorted(s.columns.heads, bounds).tolist(), len(s)] for s in segments]
    for i in range(count):
        together = zip(segments, groups.rows, cuts, strict=True)
        parts = [_part(s, r, cut[i], cut[i + 1]) for s, r, cut in together]
        yield _sorted(parts, groups.damaged)
        for segment in segments:
            segment.release()


def _part(segment: Segment, rows: Array, low: int, high: int) -> tuple[Array, Array, Array]:
    c = segment.columns
    groups_of = rows[c.groups_of[low:high]]
    kept = groups_of != _DROPPED
    return c.heads[low:high][kept], c.rests[low:high][kept], groups_of[kept]


def _sorted(
    parts: Sequence[tuple[Array, Array, Array]], damaged: Array | None
) -> tuple[Array, Array, Array]:
    heads, rests, groups_of = (np.concatenate(column) for column in zip(*parts, strict=True))
    if damaged is None:
        order = np.argsort(heads, kind="stable")
    else:
        order = np.lexsort((damaged[groups_of], rests, heads))
    heads, rests = heads[order], rests[order]
    first = _first_of_equals(heads, rests)
    return heads[first], rests[first], groups_of[order[first]]


def _merge_groups(
    segments: Sequence[Segment],
    masks: Sequence[Array],
    replaces: Iterable[str],
    damage: RepositoryDamage,
) -> _Groups:
    packs, pack_rows = _merge_packs([s.columns.packs for s in segments])
    parts = [_group_columns(s, p) for s, p in zip(segments, pack_rows, strict=True)]
    sessions, counters, packs_of, offsets, lengths = map(np.concatenate, zip(*parts, strict=True))
    keys: tuple[Array, ...] = (counters, sessions)
    if damage:
        keys = (np.concatenate([damage.mask(s.columns) for s in segments]), *keys)
    order = np.lexsort(keys)
    order = order[np.concatenate(masks)[order]]
    first = _first_of_equals(sessions[order], counters[order])
    rank = np.full(len(sessions), _DROPPED, "<u4")
    rank[order] = np.cumsum(first) - 1
    kept = order[first]
    used, packs_of = np.unique(packs_of[kept], return_inverse=True)
    none = np.empty(0, "<u8")
    columns = ArrayColumns(
        heads=none,
        rests=none,
        sessions=sessions[kept],
        groups_of=none,
        counters=counters[kept],
        packs_of=packs_of.astype("<u4"),
        offsets=offsets[kept],
        lengths=lengths[kept],
        packs=packs[used],
        replaces=np.frombuffer(b"".join(map(bytes.fromhex, replaces)), f"V{NAME_BYTES}"),
    )
    ends = np.cumsum([len(segment.columns.sessions) for segment in segments])
    damaged = damage.mask(columns) if damage else None
    if damaged is not None and not damaged.any():
        damaged = None
    return _Groups(columns, np.split(rank, ends[:-1]), damaged)


def _first_of_equals(major: Array, minor: Array) -> Array:
    """A mask that keeps the first of each run of equal pairs."""
    first = np.ones(len(major), bool)
    first[1:] = (major[1:] != major[:-1]) | (minor[1:] != minor[:-1])
    return first


def _group_columns(segment: Segment, pack_rows: Array) -> tuple[Array, ...]:
    c = segment.columns
    return c.sessions, c.counters, pack_rows[c.packs_of], c.offsets, c.lengths


def _merge_packs(columns: Sequence[Array]) -> tuple[Array, list[Array]]:
    """All pack ids, each once, and the new row of each old row per index file."""
    known: dict[bytes, int] = {}
    rows = []
    for packs in columns:
        ids = (pack.tobytes() for pack in packs)
        rows.append(np.array([known.setdefault(id_, len(known)) for id_ in ids], "<u4"))
    return np.frombuffer(b"".join(known), "V16"), rows
