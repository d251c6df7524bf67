"""Look-ups of many chunks or packs at once in the index files of a repository, by their arrays."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np

from haulback.repository.index_arrays import Array, group_ids, halves, rows_of
from haulback.repository.segment import Segment


def matches(
    segments: Sequence[Segment], hidden: Mapping[int, Array], chunks: Sequence[bytes]
) -> Iterator[tuple[Segment, list[int], list[int]]]:
    """(index file, which of the chunks it holds, their group rows); each chunk at most once.

    `hidden` has masks over the groups that do not count, by the `id` of an index file.
    """
    for segment, which, owners in _matches(segments, hidden, chunks):
        yield segment, which.tolist(), owners.tolist()


def find(
    segments: Sequence[Segment], hidden: Mapping[int, Array], chunks: Sequence[bytes]
) -> list[bytes | None]:
    """The group of each chunk, None for a chunk that no file holds; `hidden` as for `matches`."""
    result: list[bytes | None] = [None] * len(chunks)
    for segment, which, owners in _matches(segments, hidden, chunks):
        for i, group in zip(which.tolist(), group_ids(segment.columns, owners), strict=True):
            result[i] = group
    return result


def _matches(
    segments: Sequence[Segment], hidden: Mapping[int, Array], chunks: Sequence[bytes]
) -> Iterator[tuple[Segment, Array, Array]]:
    heads, rests = halves(chunks)
    # ascending, so that adjacent look-ups share the cache lines of the search
    missing = np.argsort(heads)
    heads, rests = heads[missing], rests[missing]
    for segment in segments:
        hits, at = rows_of(segment.columns, heads, rests)
        owners = segment.columns.groups_of[at] if hits.any() else at
        if id(segment) in hidden and hits.any():
            hits &= ~hidden[id(segment)][owners]
        if not hits.any():
            continue
        yield segment, missing[hits], owners[hits]
        missing, heads, rests = missing[~hits], heads[~hits], rests[~hits]
        if not len(missing):
            break


def inside(segment: Segment, packs: Container[bytes]) -> Array:
    """A mask over the groups of an index file: True for groups in one of `packs`."""
    return np.array([pack in packs for pack in segment.packs()], bool)[segment.columns.packs_of]
