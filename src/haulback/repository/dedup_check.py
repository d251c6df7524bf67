"""The check of a STORE before a backup counts as stored: every reused chunk is still there.

Hours may pass between an EXPORT's look-up in the index and the manifest; a clean-up may have
deleted data meanwhile that was dead when the clean-up scanned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from haulback.destinations.protocol import ObjectStore
from haulback.durable_files import DurableFiles
from haulback.errors import BaseGone, NotFound
from haulback.repository import pack as packs
from haulback.repository.index import Index
from haulback.repository.keys import Keys
from haulback.repository.manifest import Manifest
from haulback.repository.map_walk import PageSources, new_refs
from haulback.repository.mapping import LoadPage
from haulback.repository.pack import GroupEntry
from haulback.repository.segment import Segment


def check(
    manifest: Manifest,
    parent: Manifest | None,
    index: Index,
    load: LoadPage,
    destination: ObjectStore,
) -> None:
    """Find every chunk of a backup that its parent does not have at the same place.

    A chunk in a missing pack may have a second copy in another pack.
    Raises BaseGone when the index finds no copy in an existing pack.
    """
    known = set[bytes]()
    for chunks in _new(manifest, parent, load):
        while True:
            packs_of, missing = index.packs_of(chunks)
            if missing:
                raise BaseGone(f"chunk {missing[0].hex()} is no longer stored; back up again")
            gone = {pack for pack in packs_of - known if not _is_there(destination, pack)}
            known |= packs_of - gone
            if not gone:
                break
            index = Index(index.segments, index.without | gone, index.damage)


def place_again(
    entries: Iterable[GroupEntry],
    folder: Path,
    keys: Keys,
    disk: DurableFiles,
    store: Callable[[Path], None],
) -> None:
    """Publish an index file for groups that are stored but that the index lost.

    `store` publishes a local index file.  The index file gets a new name.
    """
    store(Segment.build(entries).renamed().write(folder, keys, disk))


def _is_there(destination: ObjectStore, pack: bytes) -> bool:
    try:
        destination.info(packs.name_of(pack))
    except NotFound:
        return False
    return True


def _new(manifest: Manifest, parent: Manifest | None, load: LoadPage) -> Iterator[list[bytes]]:
    """Ids of chunks and pages, in batches; parent pages come before their children."""
    for batch in new_refs(manifest, parent, PageSources(load, load)):
        yield [ref.id for ref in batch.refs]
