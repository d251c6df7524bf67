"""A preview of a clean-up: the space that it would free, by reading alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from haulback.repository import pending_deletes
from haulback.repository.catalogue_check import agree
from haulback.repository.compaction import plan_compaction
from haulback.repository.index_arrays import Array
from haulback.repository.live_chunks import LiveChunks
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.scan import RepositoryScan, ScanExtent, scan_completing_index


class CleanupPreview(NamedTuple):
    """The effect of a clean-up; `bytes` is the space that it would free.

    Live data of mostly dead packs is estimated by its share of chunks.  `backups` are kept,
    `packs` would be deleted.  `is_blind` is true if a part of some map cannot be read, so that
    nothing would be deleted.
    """

    backups: int
    packs: int
    bytes: int
    is_blind: bool


def preview_clean_up(repository: Repository, folder: Path, resources: Resources) -> CleanupPreview:
    """The effect of a clean-up while nothing else uses the repository; changes nothing.

    `folder` is empty and belongs to the caller.  Raises Missing when an expected backup is missing,
    and Unavailable when the destination does not show its objects.
    """
    agreed = agree(repository, None)
    forgotten = repository.rolls.forgotten(set(agreed.listed))
    extent = ScanExtent(forgotten=forgotten, known=agreed.listed)
    hold = repository.index_folder.hold
    scanned = scan_completing_index(repository, folder, resources, extent, hold)
    backups = len(scanned.backups)
    if scanned.is_blind:
        return CleanupPreview(backups, 0, 0, is_blind=True)
    going, copied = _going(scanned)
    pending = pending_deletes.waiting(pending_deletes.read(repository.objects, repository.keys, {}))
    going |= pending & scanned.packs.keys()
    going -= repository.locks.held_packs(going)
    freed = sum(scanned.packs.get(pack, 0) for pack in going)
    freed -= sum(size for pack, size in copied.items() if pack in going)
    return CleanupPreview(backups, len(going), max(0, freed), is_blind=False)


def _going(scanned: RepositoryScan) -> tuple[set[bytes], dict[bytes, int]]:
    """The packs that leave the destination, and the number of their bytes that are copied first."""
    mark, plan = scanned.mark, plan_compaction(scanned.mark)
    packs = mark.segment.columns.packs
    lost = {packs[row].tobytes() for row in np.flatnonzero(plan.dead | plan.thin).tolist()}
    living = _living(mark)
    copied = {packs[row].tobytes(): int(living[row]) for row in np.flatnonzero(plan.thin).tolist()}
    unplaced = scanned.packs.keys() - scanned.index.packs() - scanned.closed
    return (lost | scanned.superseded() | unplaced) & scanned.packs.keys(), copied


def _living(mark: LiveChunks) -> Array:
    """The stored bytes of live data in each pack of the index, by the share of its chunks."""
    columns = mark.segment.columns
    share = mark.groups(mark.live) / np.maximum(mark.groups(), 1)
    return np.bincount(columns.packs_of, columns.lengths * share, len(columns.packs))
