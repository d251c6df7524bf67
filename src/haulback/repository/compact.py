"""Moving what lives out of packs that are mostly dead, into new ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from haulback.destinations.protocol import Destination
from haulback.errors import Damaged
from haulback.repository.backup import Meter
from haulback.repository.group import Group, decode
from haulback.repository.keys import Keys
from haulback.repository.mark import Mark
from haulback.repository.pack import name_of
from haulback.repository.segment import Array
from haulback.repository.writer import Writer

# A pack is worth keeping when half of it lives, a group when a quarter of its chunks does: copying
# costs a read and a write, and a group of which more is live is not worth compressing again.
_PACK_SHARE, _GROUP_SHARE = 2, 4
log = logging.getLogger(__name__)


class Worth(NamedTuple):
    """What the mark says of each row: masks over groups (`alive`, `sparse`), packs (the rest)."""

    alive: Array
    sparse: Array
    dead: Array
    thin: Array


def weigh(mark: Mark) -> Worth:
    """Judge every group and pack of the whole index."""
    c = mark.segment.columns
    held, live = mark.groups(), mark.groups(mark.live)
    sparse = (live > 0) & (live * _GROUP_SHARE < held)
    share = np.where(sparse, live / np.maximum(held, 1), live > 0)
    worth = np.bincount(c.packs_of, c.lengths * share, len(c.packs))
    size = np.bincount(c.packs_of, c.lengths, len(c.packs))
    dead = worth == 0
    return Worth(live > 0, sparse, dead, ~dead & (worth * _PACK_SHARE < size))


class Copier:
    """Writes the living groups of thin packs through `writer`."""

    def __init__(
        self,
        mark: Mark,
        worth: Worth,
        writer: Writer,
        destination: Destination,
        keys: Keys,
        pool: ThreadPoolExecutor,
        meter: Meter,
    ) -> None:
        self._mark, self._worth, self._writer = mark, worth, writer
        self._destination, self._keys, self._pool, self._meter = destination, keys, pool, meter
        self.groups = 0

    def copy(self) -> Array:
        """Returns a mask of the packs that were copied; one with damage is left as it is."""
        copied = np.zeros(len(self._worth.thin), bool)
        for pack in np.flatnonzero(self._worth.thin).tolist():
            try:
                found = list(self._groups(pack))
            except Damaged as error:
                log.warning("a pack is kept, part of it is damaged: %s", error.message)
                continue
            for row, group, record in found:
                self._write(row, group, record)
            self.groups += len(found)
            copied[pack] = True
        return copied

    def _groups(self, pack: int) -> Iterator[tuple[int, Group, bytes]]:
        """(row, group, record) of all that lives in a pack: less than half of it."""
        segment = self._mark.segment
        c = segment.columns
        rows = np.flatnonzero((c.packs_of == pack) & self._worth.alive)
        rows = rows[np.argsort(c.offsets[rows])]
        name = name_of(c.packs[pack].tobytes())
        records = []
        for row in rows.tolist():
            length = int(c.lengths[row])
            records.append(self._destination.load(name, int(c.offsets[row]), length))
            self._meter(length)
        ids = segment.group_ids(rows)
        groups = self._pool.map(_decode, records, ids, [self._keys] * len(ids))
        return zip(rows.tolist(), groups, records, strict=True)

    def _write(self, row: int, group: Group, record: bytes) -> None:
        is_page = bool(self._mark.holds_pages[row])
        if not self._worth.sparse[row]:
            self._writer.copy(group, record, is_page)
            return
        chunks = list(group.places)
        found, rows = self._mark.lookup(chunks)
        wanted = found & self._mark.live[rows] & (self._mark.segment.columns.groups_of[rows] == row)
        for i in np.flatnonzero(wanted).tolist():
            data = group.chunk(chunks[i])
            if is_page:
                self._writer.add_page(bytes(data))
            else:
                self._writer.add([(chunks[i], data)])


def _decode(record: bytes, group_id: bytes, keys: Keys) -> Group:
    """The group, every chunk of it checked.  Raises Damaged."""
    group = decode(record, group_id, keys)
    for chunk in group.places:
        if keys.chunk_id(group.chunk(chunk)) != chunk:
            raise Damaged(f"chunk {chunk.hex()} is not what was stored")
    return group
