"""The index files on a destination: opened, rebuilt when damaged, merged, swept."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from haulback.destinations.protocol import Item, ObjectStore
from haulback.durable_files import DurableFiles
from haulback.errors import Damaged, NotFound, Unavailable
from haulback.repository.damage import RepositoryDamage
from haulback.repository.index_cache import IndexCache
from haulback.repository.index_tiers import due
from haulback.repository.keys import Keys
from haulback.repository.names import Objects, exists, leaf_of
from haulback.repository.pack import GroupEntry, name_of, read_directory
from haulback.repository.segment import Segment

_LISTINGS = 10  # a merge may replace files between a listing and an opening
_PACKS_A_SEGMENT = 256  # chunks of an index file rebuilt in memory: 16 GiB of packs
log = logging.getLogger(__name__)


class IndexFolder:
    """The folder `index/` of one repository; index files opened before stay mapped.

    An index file that fails its hash counts as absent; groups that no other file lists are read
    from the directories of the packs.  `damaged` names such files, `closed` are packs whose
    directory could not be read then.
    """

    def __init__(
        self, destination: ObjectStore, objects: Objects, keys: Keys, cache: IndexCache
    ) -> None:
        self._destination, self._objects, self._keys = destination, objects, keys
        self._cache = cache
        self._opened: dict[str, Segment] = {}
        self._listed: set[str] = set()  # the names of the last listing, and those stored since
        self._rebuilt: list[Segment] = []
        self._held: list[Segment] = []
        self.damaged: dict[str, str] = {}
        self.closed: set[bytes] = set()

    def segments(self, items: Iterable[Item] | None = None) -> list[Segment]:
        """The index files in force, chosen from the listed `items`.  Raises Unavailable."""
        for _ in range(_LISTINGS):
            try:
                live = self._live(self._objects.list("index") if items is None else items)
            except NotFound:
                # swept after the listing; the file that replaces it is in the next listing
                items = None
                continue
            live += self._held
            return live + self._rebuild(live) if self.damaged else live
        raise Unavailable("the index changes faster than it can be read; try again")

    def names(self) -> set[str]:
        """The names of all index files in the folder."""
        return self._objects.leaves("index")

    def store(self, path: Path) -> None:
        """Move a local index file to the destination, named by the hash of its content."""
        self._objects.own.add(f"index/{path.stem}")
        self._listed.add(path.stem)
        kept = self._cache.keep(path)
        self._destination.adopt(f"index/{path.stem}", path)
        if self._destination.local_path(f"index/{path.stem}") is not None:
            with suppress(NotFound, Damaged):
                kept = self._cache.open(path.stem, 0)
        if kept:
            self._opened[path.stem] = kept

    def publish(self, path: Path) -> None:
        """Store a staged index file, unless an earlier attempt has taken it away: the checks of a
        STORE find out whether the destination has it.
        """
        if path.exists():
            self.store(path)

    def hold(self, path: Path) -> None:
        """Use a local index file that is not stored, as a preview does, which changes nothing."""
        self._held.append(Segment.open(path, path.stem, self._keys))

    def use(self, segments: Iterable[Segment]) -> None:
        """Take over index files that another object of this process has opened."""
        self._opened.update({segment.name: segment for segment in segments if segment.name})

    def opened(self, names: Sequence[str]) -> list[Segment] | None:
        """Index files that are open already; None unless all of them are."""
        segments = [self._opened[name] for name in names if name in self._opened]
        return segments if len(segments) == len(names) else None

    def is_due(self, segments: Sequence[Segment]) -> bool:
        """Whether a damaged index file can be rebuilt, or index files can be merged."""
        return bool(self.damaged or due(segments))

    def mend(self, folder: Path, disk: DurableFiles) -> int:
        """Store the entries rebuilt for damaged index files; return the number of new files.

        The last new file replaces the damaged files: their entries are in the index again.  While a
        pack's directory cannot be read, a damaged index file stays, because it may be readable
        later. `folder` holds the file temporarily.
        """
        self.segments()
        over = [] if self.closed else sorted(self.damaged)
        rebuilt = [segment.renamed() for segment in self._rebuilt]
        if over:
            last = rebuilt.pop() if rebuilt else Segment.build([])
            rebuilt.append(last.renamed(*over))
        self._rebuilt = []
        for segment in rebuilt:
            self.store(segment.write(folder, self._keys, disk))
        return len(rebuilt)

    def merge(
        self,
        folder: Path,
        disk: DurableFiles,
        damage: RepositoryDamage,
        live: Sequence[Segment] | None = None,
    ) -> tuple[int, list[Segment]]:
        """Merge index files so that their number stays logarithmic; return the number of merges,
        and the index files in force.

        Only adds to the destination; `folder` holds the merged file temporarily.  `live` are the
        index files in force, from a listing of a moment ago; without `live` the folder is listed.
        """
        from haulback.repository.merge import MergePlan, merge

        if live is None:
            self.mend(folder, disk)
            live = self.segments()
        done = 0
        while segments := due(live):
            names = {segment.name for segment in segments}
            replaced = names.union(*(segment.replaces for segment in segments))
            plan = MergePlan(segments, sorted(replaced & self._listed), damage=damage)
            path = merge(plan, folder, self._keys, disk)
            size = path.stat().st_size
            self.store(path)
            merged = self._opened.get(path.stem) or self._cache.open(path.stem, size)
            live = [merged, *(segment for segment in live if segment not in segments)]
            done += 1
        return done, [*live]

    def sweep(self) -> int:
        """Delete index files that an opened file replaces; needs the right to delete.

        If listings lag, the replacing file must be old enough for every listing, because otherwise
        a listing might show neither of the two.
        """
        old = self._names_until_horizon()
        replaced = {
            name for segment in self.segments() if segment.name in old for name in segment.replaces
        }
        gone = sorted(self.names() & replaced)
        for name in gone:
            self._destination.delete(f"index/{name}")
        return len(gone)

    def _names_until_horizon(self) -> set[str]:
        """The index files that every listing shows, even without this process's own files."""
        own, self._objects.own = self._objects.own, set()
        try:
            return self.names()
        finally:
            self._objects.own = own

    def _live(self, listed: Iterable[Item]) -> list[Segment]:
        """The index files that no other file replaces; a merged file is larger than each of the
        files that it replaces.
        """
        items = sorted(listed, key=lambda item: item.size, reverse=True)
        self._listed = {leaf_of(item.name) for item in items}
        opened: dict[str, Segment] = {}
        replaced: set[str] = set()
        damaged: dict[str, str] = {}
        for name, size in ((leaf_of(item.name), item.size) for item in items):
            if name in replaced:
                continue
            try:
                opened[name] = self._opened.get(name) or self._cache.open(name, size)
            except Damaged as error:
                damaged[name] = error.message
            except NotFound:
                # A listing that lags shows the name again, unless the store is asked for the
                # object.
                exists(self._destination, f"index/{name}")
                raise
            else:
                replaced.update(opened[name].replaces)
        self._opened = opened
        self._cache.sweep(opened.keys() - replaced)
        self._remember(damaged.items() - {(n, m) for n, m in damaged.items() if n in replaced})
        return [segment for name, segment in opened.items() if name not in replaced]

    def _remember(self, damaged: Iterable[tuple[str, str]]) -> None:
        before, self.damaged = self.damaged, dict(damaged)
        for name in self.damaged.keys() - before.keys():
            log.warning("%s; its entries are read from the packs", self.damaged[name])

    def _rebuild(self, live: Sequence[Segment]) -> list[Segment]:
        """Index files in memory for packs that no index file on the destination names."""
        stored, known = self._objects.packs().keys(), _packs(live)
        # Other tasks may have completed the index since, or deleted the packs.
        self._rebuilt = [
            segment for segment in self._rebuilt if (_packs([segment]) - known) & stored
        ]
        self.closed.clear()
        lost = sorted(stored - known - _packs(self._rebuilt))
        for low in range(0, len(lost), _PACKS_A_SEGMENT):
            entries: list[GroupEntry] = []
            for pack in lost[low : low + _PACKS_A_SEGMENT]:
                entries += self._directory(pack)
            if entries:
                self._rebuilt.append(Segment.build(entries))
        return self._rebuilt

    def _directory(self, pack: bytes) -> list[GroupEntry]:
        try:
            return read_directory(self._destination, pack, self._keys)
        except NotFound:
            return []  # a clean-up deleted the pack after the listing
        except Damaged as error:
            log.warning("%s: %s", name_of(pack), error.message)
            self.closed.add(pack)
            return []


def _packs(segments: Iterable[Segment]) -> set[bytes]:
    return {pack for segment in segments for pack in segment.packs()}
