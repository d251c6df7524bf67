"""Compaction: live data moves out of mostly dead packs into new packs."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from haulback.errors import Damaged
from haulback.repository.group import Group, decode
from haulback.repository.index_arrays import Array, group_ids
from haulback.repository.keys import Keys
from haulback.repository.live_chunks import LiveChunks
from haulback.repository.pack import name_of
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.writer import Writer

# The smallest share of live data with which a pack is kept, and a group is copied unchanged.
# Both shares are equal, so that a pack of copied groups is kept next time.  Stored data is thus at
# most 1.5 times the live data; in the worst case two bytes are written for each byte freed.
_SHARE = 2 / 3
_ROUNDING = 1e-9
_GROUPS_AT_ONCE = 8  # groups in memory at a time
log = logging.getLogger(__name__)


class CompactionPlan(NamedTuple):
    """The verdict on groups and packs: masks over groups (`alive`, `sparse`) and over packs (the
    rest).
    """

    alive: Array
    sparse: Array
    dead: Array
    thin: Array


def plan_compaction(mark: LiveChunks) -> CompactionPlan:
    """Decide about every group and pack of the index by its share of live chunks."""
    c = mark.segment.columns
    held, live = mark.groups(), mark.groups(mark.live)
    share = live / np.maximum(held, 1)
    plan = np.bincount(c.packs_of, c.lengths * share, len(c.packs))
    size = np.bincount(c.packs_of, c.lengths, len(c.packs))
    dead, least = plan == 0, _SHARE - _ROUNDING
    sparse = (live > 0) & (share < least)
    thin = plan < size * least
    if mark.damaged is not None:
        # A damaged group without live chunks is left out: the rest of its pack moves, and the
        # pack is deleted.
        thin[c.packs_of[mark.damaged & (live == 0)]] = True
    return CompactionPlan(live > 0, sparse, dead, ~dead & thin)


class Copier:
    """Copies the live groups of mostly dead packs through `writer`."""

    def __init__(
        self,
        mark: LiveChunks,
        plan: CompactionPlan,
        writer: Writer,
        repository: Repository,
        resources: Resources,
    ) -> None:
        self._mark, self._worth, self._writer = mark, plan, writer
        self._destination, self._keys = repository.destination, repository.keys
        self._pool, self._meter = resources.pool, resources.meter
        self.groups = 0

    def copy(self) -> Array:
        """Return a mask of the packs that were copied completely; a pack with damage stays."""
        copied = np.zeros(len(self._worth.thin), bool)
        for pack in np.flatnonzero(self._worth.thin).tolist():
            try:
                self._copy_pack(pack)
            except Damaged as error:
                log.warning("pack kept: a part of it is damaged: %s", error.message)
            else:
                copied[pack] = True
        return copied

    def _copy_pack(self, pack: int) -> None:
        """Copy the live groups of a pack, a few at a time."""
        c = self._mark.segment.columns
        rows = np.flatnonzero((c.packs_of == pack) & self._worth.alive)
        rows = rows[np.argsort(c.offsets[rows])]
        name = name_of(c.packs[pack].tobytes())
        for low in range(0, len(rows), _GROUPS_AT_ONCE):
            batch = rows[low : low + _GROUPS_AT_ONCE]
            ids = group_ids(c, batch)
            records = [self._load(name, row) for row in batch.tolist()]
            groups = self._pool.map(_decode, records, ids, [self._keys] * len(ids))
            for row, group, record in zip(batch.tolist(), groups, records, strict=True):
                self._write(row, group, record)
                self.groups += 1

    def _load(self, name: str, row: int) -> bytes:
        c = self._mark.segment.columns
        length = int(c.lengths[row])
        self._meter(length)
        return self._destination.load(name, int(c.offsets[row]), length)

    def _write(self, row: int, group: Group, record: bytes) -> None:
        is_page = bool(self._mark.holds_pages[row])
        if not self._worth.sparse[row]:
            self._writer.copy(group, record, is_page)
            return
        chunks = list(group.places)
        is_known, rows = self._mark.lookup(chunks)
        wanted = (
            is_known & self._mark.live[rows] & (self._mark.segment.columns.groups_of[rows] == row)
        )
        for i in np.flatnonzero(wanted).tolist():
            data = group.chunk(chunks[i])
            if is_page:
                self._writer.add_page(bytes(data))
            else:
                self._writer.add([(chunks[i], data)])


def _decode(record: bytes, group_id: bytes, keys: Keys) -> Group:
    """The decoded group, with every chunk checked.  Raises Damaged."""
    group = decode(record, group_id, keys)
    for chunk in group.places:
        if keys.chunk_id(group.chunk(chunk)) != chunk:
            raise Damaged(f"chunk {chunk.hex()} does not match its id")
    return group
