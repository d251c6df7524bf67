"""The check before a pack is deleted: each of its live chunks is read from the copy that stays.

The index keeps one of two copies of a chunk, and that copy may have undiscovered damage. A clean-up
must not delete the only good copy.
"""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np

from haulback.errors import Damaged, NotFound
from haulback.repository.pack import name_of, read_directory
from haulback.repository.reader import read_group
from haulback.repository.repository import Repository
from haulback.repository.resources import Meter
from haulback.repository.scan import RepositoryScan

_GROUPS_AT_ONCE = 16  # groups in memory at a time


def unproved(
    repository: Repository,
    scans: tuple[RepositoryScan, RepositoryScan],
    packs: Set[bytes],
    pool: ThreadPoolExecutor,
    meter: Meter,
) -> set[bytes]:
    """The packs with a live chunk whose copy in the index cannot be read.

    `scans` are the first scan, which marked all backups, and the last, which marked new backups.
    Groups that cannot be read are noted in the repository's findings.  `meter` gets the number of
    bytes read.
    """
    proof = _Proof(repository, scans, meter)
    return {pack for pack in sorted(packs) if not proof.covers(pack, pool)}


class _Proof:
    """The group rows of the last scan's index that were read, with the results."""

    def __init__(
        self, repository: Repository, scans: tuple[RepositoryScan, RepositoryScan], meter: Meter
    ) -> None:
        self._repository, self._meter = repository, meter
        self._marks = [look.mark for look in scans]
        self._segment = scans[-1].mark.segment
        self._read: dict[int, bool] = {}

    def covers(self, pack: bytes, pool: ThreadPoolExecutor) -> bool:
        """Whether every live chunk of a pack can be read from another place."""
        chunks = self._living(pack)
        if chunks is None:
            return False  # the pack's directory does not open: its live chunks are unknown
        if not chunks:
            return True
        is_known, rows = self._marks[-1].lookup(chunks)
        groups = set(np.unique(self._segment.columns.groups_of[rows[is_known]]).tolist())
        new = iter(groups - self._read.keys())
        while batch := list(islice(new, _GROUPS_AT_ONCE)):
            self._read.update(zip(batch, pool.map(self._is_whole, batch), strict=True))
        return bool(is_known.all()) and all(self._read[row] for row in groups)

    def _living(self, pack: bytes) -> list[bytes] | None:
        """Ids of the chunks of a pack that some backup refers to; None when the pack's directory
        cannot be read.
        """
        try:
            entries = read_directory(self._repository.destination, pack, self._repository.keys)
        except NotFound:
            return []
        except Damaged:
            return None
        chunks = [chunk for entry in entries for chunk in entry.chunks]
        if not chunks:
            return []
        living = np.zeros(len(chunks), bool)
        for mark in self._marks:
            is_known, rows = mark.lookup(chunks)
            living[is_known] |= mark.live[rows[is_known]]
        return [chunks[i] for i in np.flatnonzero(living).tolist()]

    def _is_whole(self, row: int) -> bool:
        segment, keys = self._segment, self._repository.keys
        [group], place = segment.group_ids([row]), segment.place_at(row)
        self._meter(place.length)
        try:
            result = read_group(self._repository.destination, group, place, keys)
            for chunk in result.places:
                if keys.chunk_id(result.chunk(chunk)) != chunk:
                    raise Damaged(
                        f"{name_of(place.pack)}: the data of chunk {chunk.hex()} does not "
                        "match its id"
                    )
        except (NotFound, Damaged) as error:
            self._repository.findings.note(group, place, error.message)
            return False
        return True
