"""Whether the present listings of a store lead to all data of a young backup."""

from __future__ import annotations

import time
from collections.abc import Callable

from haulback.errors import BaseGone, Damaged, NotFound
from haulback.repository.manifest import Manifest
from haulback.repository.map_walk import PageSources, new_refs
from haulback.repository.reader import Findings, Reader
from haulback.repository.repository import Repository


def is_listed(
    repository: Repository, manifest: Manifest, until: float, meter: Callable[[int], object]
) -> bool:
    """Whether the index that is listed now has each page and chunk of a backup.

    Later listings of this process then show the same index files, because each is looked up by its
    name, which `SettledLists` remembers.  False also once the time `until` (monotonic seconds) has
    passed. Unreadable data is not recorded as damage here.
    """
    index = repository.index()
    load = Reader(repository.destination, index, repository.keys, Findings()).chunk
    try:
        for batch in new_refs(manifest, None, PageSources(load, load)):
            meter(0)
            _, missing = index.packs_of([ref.id for ref in batch.refs])
            if missing or time.monotonic() > until:
                return False
        for segment in index.segments:
            if segment.name:
                repository.destination.info(f"index/{segment.name}")
    except (BaseGone, Damaged, NotFound):
        return False
    return True
