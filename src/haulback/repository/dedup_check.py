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
from haulback.repository.mapping import LoadPage
from haulback.repository.pack import GroupEntry
from haulback.repository.pages import HOLE, ChunkRef, DiskMap, unpack_inner, unpack_leaf
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
    old = {disk.name: disk.map for disk in parent.disks} if parent else {}
    for disk in manifest.disks:
        yield from _differing(disk.map, old.get(disk.name), load)


def _differing(new: DiskMap, old: DiskMap | None, load: LoadPage) -> Iterator[list[bytes]]:
    before = old.root if old and old.depth == new.depth else HOLE
    yield from _pages([new.root], [before], new.depth, load)


def _pages(
    new: list[ChunkRef], old: list[ChunkRef], depth: int, load: LoadPage
) -> Iterator[list[bytes]]:
    old = old + [HOLE] * (len(new) - len(old))
    pairs = [(a, b) for a, b in zip(new, old, strict=False) if a != HOLE and a.id != b.id]
    if pairs:
        yield [ref.id for ref, _ in pairs]
    for ref, before in pairs:
        page, base = load(ref), None if before == HOLE else load(before)
        if depth:
            children = unpack_inner(base) if base is not None else []
            yield from _pages(unpack_inner(page), children, depth - 1, load)
        elif chunks := _chunks(page) - (_chunks(base) if base is not None else set()):
            yield list(chunks)


def _chunks(leaf: memoryview) -> set[bytes]:
    return {p.ref.id for segment in unpack_leaf(leaf) for p in segment} - {HOLE.id}
