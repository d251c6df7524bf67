"""A look at a whole repository: its backups, the index as one, its packs, and what is alive."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from haulback.destinations.protocol import Destination
from haulback.disk import Disk
from haulback.errors import Damaged, NotFound
from haulback.repository.index import Index, inside
from haulback.repository.keys import Keys
from haulback.repository.mark import Mark
from haulback.repository.merge import merge
from haulback.repository.pack import Entry, name_of, read_directory
from haulback.repository.reader import Reader
from haulback.repository.repository import CONFIG, Repository, leaf_of
from haulback.repository.reuse import place_again
from haulback.repository.segment import Segment

_PACKS_AT_ONCE = 64
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """What stood there.  `packs` has sizes in bytes; the mark's segment is the whole index.

    `is_short`: the index places groups in packs that are not there.
    """

    backups: list[str]
    index: Index
    packs: dict[bytes, int]
    mark: Mark
    damaged: list[str]
    is_short: bool

    def superseded(self) -> set[bytes]:
        """Packs that the index names, but every group of which it finds elsewhere too."""
        needed = {pack.tobytes() for pack in self.mark.segment.columns.packs}
        return (self.index.packs() & self.packs.keys()) - needed


def look_around(
    repository: Repository,
    folder: Path,
    disk: Disk,
    confirm: Callable[[], None],
    before: Look | None = None,
) -> Look:
    """Walk the maps of all backups, or of those that came after the look `before`.

    What a backup misses and a pack outside the index holds is put back into the index first.
    Raises Damaged when a manifest or a page cannot be read.
    """
    while True:
        look = _look(repository, folder, disk, before)
        lost = _lost(look, repository.destination, repository.keys)
        mended = False
        for entries in lost:
            confirm()
            place_again(entries, folder, repository.keys, disk, repository.destination)
            mended = True
        if not mended:
            return look


def _look(repository: Repository, folder: Path, disk: Disk, before: Look | None) -> Look:
    """Manifests first, packs last: what an object refers to was stored before it."""
    destination = repository.destination
    destination.info(CONFIG)  # a destination that lost everything is no empty repository
    backups = [leaf_of(item.name) for item in destination.list("manifests")]
    index = repository.index()
    packs = {bytes.fromhex(leaf_of(item.name)): item.size for item in destination.list("packs")}
    whole, is_short = _whole(index, packs, folder, repository.keys, disk)
    mark = Mark(whole, before.mark.pages if before else None)
    load = Reader(destination, Index([whole]), repository.keys).chunk
    damaged = []
    for backup in backups:
        if before and backup in before.backups:
            continue
        try:
            if not mark.add(repository.manifest(backup), load):
                damaged.append(backup)
        except NotFound:
            continue  # deleted since it was listed
    return Look(backups, index, packs, mark, damaged, is_short)


def _whole(
    index: Index, packs: Mapping[bytes, int], folder: Path, keys: Keys, disk: Disk
) -> tuple[Segment, bool]:
    """The index as one local segment, without groups whose pack is gone; whether there are any."""
    segments = index.segments
    kept = [inside(segment, packs) for segment in segments]
    is_short = not all(mask.all() for mask in kept)
    if not segments:
        return Segment.build([]), False
    if len(segments) == 1 and not is_short:
        return segments[0], False
    path = merge(segments, (), folder, keys, disk, kept)
    whole = Segment.open(path, path.stem, keys)
    disk.unlink(path)
    return whole, is_short


def _lost(look: Look, destination: Destination, keys: Keys) -> Iterator[list[Entry]]:
    """Groups of packs outside the index that hold something a backup misses, some packs a time."""
    if not look.mark.missing:
        return
    batch: list[Entry] = []
    needed = {pack.tobytes() for pack in look.mark.segment.columns.packs}
    for number, pack in enumerate(sorted(look.packs.keys() - needed), 1):
        batch += _wanted(pack, look.mark.missing, destination, keys)
        if batch and number % _PACKS_AT_ONCE == 0:
            yield batch
            batch = []
    if batch:
        yield batch


def _wanted(pack: bytes, missing: Set[bytes], destination: Destination, keys: Keys) -> list[Entry]:
    try:
        entries = read_directory(destination, pack, keys)
    except (Damaged, NotFound) as error:
        log.warning("%s cannot be looked into: %s", name_of(pack), error.message)
        return []
    held = any(not missing.isdisjoint(entry.chunks) for entry in entries)
    return entries if held else []
