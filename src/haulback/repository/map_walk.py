"""A walk over the pages of a backup's maps, without pages that an older backup has at the same
place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from haulback.repository.manifest import Manifest
from haulback.repository.mapping import LoadPage
from haulback.repository.pages import HOLE, ChunkRef, DiskMap, new_chunks, unpack_inner


class Refs(NamedTuple):
    """References of one page, or of several pages; `are_pages` is true if they refer to pages."""

    refs: list[ChunkRef]
    are_pages: bool


class PageSources(NamedTuple):
    """The loaders of pages: `new` loads a page of the backup, `old` a page of the older backup."""

    new: LoadPage
    old: LoadPage


def new_refs(manifest: Manifest, older: Manifest | None, load: PageSources) -> Iterator[Refs]:
    """References to all chunks and pages of a backup that `older` lacks at the same place.

    A page comes before the pages and chunks below it; each batch has at most a page's references.
    Raises BaseGone or Damaged for a page that cannot be loaded.
    """
    before = {disk.name: disk.map for disk in older.disks} if older else {}
    for disk in manifest.disks:
        yield from _of_disk(disk.map, before.get(disk.name), load)


def _of_disk(new: DiskMap, old: DiskMap | None, load: PageSources) -> Iterator[Refs]:
    before = old.root if old and old.depth == new.depth else HOLE
    yield from _pages([new.root], [before], new.depth, load)


def _pages(
    new: list[ChunkRef], old: list[ChunkRef], depth: int, load: PageSources
) -> Iterator[Refs]:
    old = old + [HOLE] * (len(new) - len(old))
    pairs = [(a, b) for a, b in zip(new, old, strict=False) if a != HOLE and a.id != b.id]
    if pairs:
        yield Refs([ref for ref, _ in pairs], True)
    for ref, before in pairs:
        page = load.new(ref)
        base = None if before == HOLE else load.old(before)
        if depth:
            children = unpack_inner(base) if base is not None else []
            yield from _pages(unpack_inner(page), children, depth - 1, load)
        elif refs := new_chunks(page, base):
            yield Refs(refs, False)
