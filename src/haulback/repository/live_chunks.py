"""The stored chunks that the present backups refer to: maps are walked, each page once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from haulback.errors import BaseGone, Damaged
from haulback.repository.damage import NO_DAMAGE, RepositoryDamage
from haulback.repository.index_arrays import Array, halves, rows_of
from haulback.repository.manifest import Manifest
from haulback.repository.pages import HOLE, ChunkRef, chunk_ids, unpack_inner
from haulback.repository.segment import Segment
from haulback.repository.space_sample import SpaceSample

_SLICE_CHUNKS = 1 << 20
LoadPage = Callable[[ChunkRef], memoryview]


class LiveChunks:
    """Liveness as one byte per chunk of `segment`, which holds the whole index.

    `pages` are ids of pages whose whole subtree is stored; `missing` are ids that have no sound
    place; `unread` counts pages that could not be read: their subtrees are unknown. `damaged` is a
    mask over groups, None when no damage is recorded.
    """

    def __init__(
        self,
        segment: Segment,
        pages: set[bytes] | None = None,
        damage: RepositoryDamage = NO_DAMAGE,
    ) -> None:
        self.segment = segment
        self.unread = 0
        self.damaged = damage.mask(segment.columns) if damage else None
        self.live = np.zeros(len(segment), bool)
        self.holds_pages = np.zeros(len(segment.columns.sessions), bool)
        self.pages = set[bytes]() if pages is None else pages
        self.missing = set[bytes]()
        self.sample = SpaceSample(segment)

    def add(self, manifest: Manifest, load: LoadPage) -> bool:
        """Mark the chunks of a backup as live; False when some of them are missing or damaged."""
        self.sample.begin(manifest.entity, manifest.entity_name)
        found = [self._walk([d.map.root], d.map.depth, load) for d in manifest.disks]
        return all(found)

    def lookup(self, chunks: Sequence[bytes]) -> tuple[Array, Array]:
        """(found mask, chunk row) of chunk ids in the whole index."""
        return rows_of(self.segment.columns, *halves(chunks))

    def groups(self, live: Array | None = None) -> Array:
        """The number of chunks of each group, or only of the chunks in the mask `live`."""
        c = self.segment.columns
        counts = np.zeros(len(c.sessions), np.int64)
        for low in range(0, len(self.segment), _SLICE_CHUNKS):
            part = c.groups_of[low : low + _SLICE_CHUNKS]
            chosen = part if live is None else part[live[low : low + _SLICE_CHUNKS]]
            counts += np.bincount(chosen, minlength=len(counts))
        return counts

    def _walk(self, refs: Iterable[ChunkRef], depth: int, load: LoadPage) -> bool:
        """Mark pages at `depth` and their subtrees as live; True when all of them are stored."""
        new = [ref for ref in refs if ref != HOLE and self._is_new(ref.id)]
        whole = self._note([ref.id for ref in new], True)
        for ref in new:
            try:
                page = load(ref)
                is_whole = self._below(page, depth, load)
            except (BaseGone, Damaged):
                self.unread += 1
                whole = False
                continue
            if is_whole:
                self.pages.add(ref.id)
            else:
                whole = False
        return whole

    def _is_new(self, page: bytes) -> bool:
        """Whether the walk must enter a page, because the page is new, or new for this machine."""
        is_new_to_machine = self.sample.is_new_to_machine(page)
        return page not in self.pages or is_new_to_machine

    def _below(self, page: memoryview, depth: int, load: LoadPage) -> bool:
        if depth:
            return self._walk(unpack_inner(page), depth - 1, load)
        return self._note(chunk_ids(page), False)

    def _note(self, chunks: list[bytes], are_pages: bool) -> bool:
        if not chunks:
            return True
        is_known, rows = self.lookup(chunks)
        rows = rows[is_known]
        self.live[rows] = True
        self.sample.note(rows)
        if are_pages:
            self.holds_pages[self.segment.columns.groups_of[rows]] = True
        if self.damaged is not None:
            # A damaged chunk stays alive, because its place may become readable or hold the only
            # copy.
            is_known[is_known] = ~self.damaged[self.segment.columns.groups_of[rows]]
        self.missing.update(chunks[i] for i in np.flatnonzero(~is_known).tolist())
        return bool(is_known.all())
