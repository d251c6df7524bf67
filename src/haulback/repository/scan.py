"""A scan of a whole repository: its backups, the merged index, its packs, and the live chunks."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from haulback.durable_files import DurableFiles
from haulback.errors import Damaged, NotFound, Unavailable
from haulback.repository import manifest as manifests
from haulback.repository.damage import RepositoryDamage
from haulback.repository.dedup_check import place_again
from haulback.repository.index import Index
from haulback.repository.index_lookup import inside
from haulback.repository.keys import Keys
from haulback.repository.live_chunks import LiveChunks
from haulback.repository.merge import MergePlan, merge
from haulback.repository.pack import GroupEntry, name_of, read_directory
from haulback.repository.reader import Reader
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.segment import Segment

_PACKS_AT_ONCE = 64  # directories in memory at a time
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RepositoryScan:
    """The state of a repository at one moment.  `packs` has sizes in bytes.

    The segment of `mark` is the whole index.  `damaged` are guids of backups that lack data,
    `unreadable` guids of backups whose manifest does not open.  `is_short` is true if the index
    names packs that are missing.  `is_blind` is true if a manifest or a map page could not be read,
    so that no data can be considered dead.  `closed` are packs whose directory could not be read.
    `unlooked` are guids of backups that the scan did not reach in time.
    """

    backups: list[str]
    index: Index
    packs: dict[bytes, int]
    mark: LiveChunks
    damaged: list[str]
    unreadable: list[str]
    is_short: bool
    is_blind: bool
    closed: set[bytes]
    unlooked: list[str]

    def superseded(self) -> set[bytes]:
        """Packs in the index all of whose groups the index also finds in another pack."""
        needed = set(self.mark.segment.packs())
        return (self.index.packs() & self.packs.keys()) - needed


class ScanExtent(NamedTuple):
    """The extent of a scan: all backups in the order of their guids, unless restricted.

    Backups of the scan `before` are skipped.  With `noted`, places that the repository's readers
    could not read count as damaged too.  `known` are guids of backups that exist although a listing
    may not show them.  `forgotten` are guids of given-up backups whose manifest still exists, and
    whose unreadable parts block nothing.  The scan begins with the backup after the guid `after`,
    and ends when `is_over` returns true; it covers at least one backup.
    """

    before: RepositoryScan | None = None
    noted: bool = False
    forgotten: Set[str] = frozenset()
    known: Set[str] = frozenset()
    after: str = ""
    is_over: Callable[[], bool] = lambda: False


_EVERYTHING = ScanExtent()


def scan_completing_index(
    repository: Repository,
    folder: Path,
    resources: Resources,
    extent: ScanExtent = _EVERYTHING,
    keep: Callable[[Path], None] | None = None,
) -> RepositoryScan:
    """Walk the maps of all backups, unless `extent` restricts them.

    A pack outside the index, or another group in the index, may hold data that a backup lacks, so
    the index is first completed from pack directories.  `keep` takes the additional index files;
    without it they are stored.
    """
    disk, confirm = resources.disk, resources.confirm
    keep = keep or repository.index_folder.store
    repository.closed.clear()
    while True:
        scanned = scan(repository, folder, disk, extent)
        mended = False
        for entries in lost_entries(scanned, repository):
            confirm()
            place_again(entries, folder, repository.keys, disk, keep)
            mended = True
        if not mended:
            return scanned


def scan(
    repository: Repository, folder: Path, disk: DurableFiles, walk: ScanExtent = _EVERYTHING
) -> RepositoryScan:
    """Scan once.  Manifests are read first, packs last: an object is stored before its references.

    Raises Unavailable when the identity of the repository cannot be read.
    """
    # a destination without an identity object has lost its content; it is not an empty repository
    if not repository.is_itself():
        raise Unavailable(
            "the identity of the repository cannot be read; mount the destination and try again"
        )
    backups = sorted(repository.objects.leaves("manifests") | _unlisted(repository, walk.known))
    index = repository.index()
    packs = repository.objects.packs()
    whole, is_short = _whole(index, packs, folder, repository.keys, disk)
    noted = repository.findings.all() if walk.noted else ()
    damage = index.damage.plus(noted).within(packs)
    before = walk.before
    mark = LiveChunks(whole, before.mark.pages if before else None, damage)
    marking = _Marking(repository, mark, damage, walk)
    marking.take(backups)
    is_blind = marking.is_blind or bool(before and before.is_blind)
    return RepositoryScan(
        backups,
        index,
        packs,
        mark,
        marking.damaged,
        marking.unreadable,
        is_short,
        is_blind,
        set(repository.closed),
        marking.unlooked,
    )


def _unlisted(repository: Repository, known: Set[str]) -> set[str]:
    """Backups of `known` that a listing may leave out and that are old enough to be scanned."""
    destination, objects = repository.destination, repository.objects
    found: set[str] = set()
    for backup in known - objects.leaves("manifests"):
        with suppress(NotFound, Damaged):
            if objects.is_settled(destination.info(manifests.name_of(backup))):
                found.add(backup)
    return found


class _Marking:
    """Marks the live chunks of backups, one backup after another."""

    def __init__(
        self, repository: Repository, mark: LiveChunks, damage: RepositoryDamage, walk: ScanExtent
    ) -> None:
        self._repository, self._mark, self._walk = repository, mark, walk
        known = Index([mark.segment], damage=damage)
        self._load = Reader(
            repository.destination, known, repository.keys, repository.findings
        ).chunk
        self.damaged: list[str] = []
        self.unreadable: list[str] = []
        self.unlooked: list[str] = []
        self.is_blind = False

    def take(self, backups: list[str]) -> None:
        walk = self._walk
        known = set(walk.before.backups) if walk.before else frozenset()
        new = [backup for backup in backups if backup not in known]
        for number, backup in enumerate(in_turn(new, walk.after)):
            if (number and walk.is_over()) or self.unlooked:
                self.unlooked.append(backup)
                self.is_blind = True
            else:
                self._add(backup)

    def _add(self, backup: str) -> None:
        unread = self._mark.unread
        is_hidden = False
        try:
            if not self._mark.add(self._repository.manifest(backup), self._load):
                self.damaged.append(backup)
        except NotFound:
            return  # deleted since the listing
        except Damaged as error:
            log.warning("%s", error.message)
            self.unreadable.append(backup)
            is_hidden = True
        if backup not in self._walk.forgotten:
            self.is_blind |= is_hidden or self._mark.unread > unread


def in_turn(guids: Iterable[str], after: str) -> list[str]:
    """Guids in ascending order, starting after `after` and wrapping round."""
    order = sorted(guids)
    first = bisect_right(order, after)
    return order[first:] + order[:first]


def _whole(
    index: Index, packs: Mapping[bytes, int], folder: Path, keys: Keys, disk: DurableFiles
) -> tuple[Segment, bool]:
    """The index as one local file without the groups of missing packs, and whether packs are
    missing.
    """
    segments = index.segments
    kept = [inside(segment, packs) for segment in segments]
    is_short = not all(mask.all() for mask in kept)
    if not segments:
        return Segment.build([]), False
    if len(segments) == 1 and not is_short:
        return segments[0], False
    plan = MergePlan(segments, kept=kept, damage=index.damage)
    path = merge(plan, folder, keys, disk)
    whole = Segment.open(path, path.stem, keys)
    disk.unlink(path)
    return whole, is_short


def lost_entries(scanned: RepositoryScan, repository: Repository) -> Iterator[list[GroupEntry]]:
    """Groups with data that a backup lacks, from pack directories, some packs at a time.

    Packs outside the index come first, then packs in it, because the index keeps one of two copies
    of a chunk, and the other copy is needed if that one is damaged.
    """
    missing = scanned.mark.missing
    if not missing:
        return
    batch: list[GroupEntry] = []
    inside_index = set(scanned.mark.segment.packs())
    outside = sorted(scanned.packs.keys() - inside_index)
    order = outside + sorted(scanned.packs.keys() & inside_index)
    for number, pack in enumerate(order, 1):
        batch += _wanted(pack, scanned, repository)
        if batch and number % _PACKS_AT_ONCE == 0:
            yield batch
            batch = []
    if batch:
        yield batch


def _wanted(pack: bytes, scanned: RepositoryScan, repository: Repository) -> list[GroupEntry]:
    """The sound groups of a pack, if one of them holds a missing chunk."""
    try:
        entries = read_directory(repository.destination, pack, repository.keys)
    except (Damaged, NotFound) as error:
        log.warning("pack directory skipped: %s cannot be read: %s", name_of(pack), error.message)
        repository.closed.add(pack)
        return []
    damage = scanned.index.damage
    sound = [entry for entry in entries if not damage.covers(entry.group, entry.place)]
    held = any(not scanned.mark.missing.isdisjoint(entry.chunks) for entry in sound)
    return sound if held else []
