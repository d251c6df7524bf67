"""The check of a STORE before its backup counts as stored: every reused chunk still exists.

Hours may pass between an EXPORT's look-up in the index and the manifest; meanwhile a clean-up may
have deleted data that was dead at its scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


class PackStore(NamedTuple):
    """The destination of the packs, and the packs that are `known` to exist there."""

    destination: ObjectStore
    known: Set[bytes] = frozenset()


@dataclass(frozen=True)
class ReuseEvidence:
    """The facts on which a passed check relied: `index` found each chunk that `parent` lacks at the
    same place, outside its hidden places, in one of `packs`, which existed.
    """

    index: Index
    parent: Manifest | None
    packs: set[bytes]


def still_holds(
    evidence: ReuseEvidence, index: Index, parent: Manifest | None, destination: ObjectStore
) -> bool:
    """Whether every place that an earlier check found still exists in a later state.

    The references of a backup never change, so that equal references need no second walk.  False
    means unknown: the chunks must be looked up again. docs/design/locking.md has the proof.
    """
    if index.damage or evidence.index.damage or index.without & evidence.packs:
        return False
    if evidence.parent is not None and evidence.parent != parent:
        return False
    present = {id(segment) for segment in index.segments}
    if not all(id(segment) in present for segment in evidence.index.segments):
        return False
    return all(_is_there(destination, pack) for pack in evidence.packs)


def check(
    manifest: Manifest,
    parent: Manifest | None,
    index: Index,
    load: LoadPage,
    store: PackStore,
) -> ReuseEvidence:
    """Find every chunk of a backup that its parent does not have at the same place.

    A chunk in a missing pack may have a second copy in another pack. Raises BaseGone when the index
    finds no copy in an existing pack.
    """
    batches = _new(manifest, parent, load)
    return ReuseEvidence(index, parent, _packs_of(batches, index, *store))


def _packs_of(
    batches: Iterable[list[bytes]],
    index: Index,
    destination: ObjectStore,
    stored: Set[bytes] = frozenset(),
) -> set[bytes]:
    """Existing packs, among them all `stored` packs; each chunk is in one of the packs.

    Raises BaseGone.
    """
    known = set(stored)
    for chunks in batches:
        while True:
            packs_of, missing = index.packs_of(chunks)
            if missing:
                raise BaseGone(f"chunk {missing[0].hex()} is no longer stored; back up again")
            gone = {pack for pack in packs_of - known if not _is_there(destination, pack)}
            known |= packs_of - gone
            if not gone:
                break
            index = Index(index.segments, index.without | gone, index.damage)
    return known


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
