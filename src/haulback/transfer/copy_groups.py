"""Copy of a backup between repositories of one family: sealed groups are copied without
decompression.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from haulback.errors import BaseGone, Damaged
from haulback.repository.group import Group, decode
from haulback.repository.group_runs import GroupRuns, SealedGroup
from haulback.repository.index import Index
from haulback.repository.manifest import Manifest
from haulback.repository.map_walk import PageSources, new_refs
from haulback.repository.pages import ChunkRef
from haulback.repository.repository import Repository
from haulback.transfer.portions import CopyServices, Portions

# The smallest share of needed plain bytes for which a whole group is copied, so that a copy
# occupies at most about 1.05 times the bytes that the backup needs.
_SHARE = 0.95
_LACKING = 16_384  # chunks that wait for their groups: about 1 GiB of a disk, 10 MB of memory
_CARRIED = 4_096  # most of them whose groups may be needed again


class LackingChunk(NamedTuple):
    """A chunk that the target lacks: its reference in the source's map."""

    ref: ChunkRef
    is_page: bool


class GroupCopy:
    """Copies the data of one backup from `source` to `target`, and publishes it in portions.

    A copy that `heals` copies all readable chunks; `left` counts the unreadable chunks.
    """

    def __init__(
        self,
        source: Repository,
        target: Repository,
        services: CopyServices,
        *,
        heals: bool = False,
    ) -> None:
        self._source, self._target, self._services = source, target, services
        index = source.index()
        self._index, self._reader = index, source.reader()
        self._runs = GroupRuns(source.destination, index, source.keys, source.findings)
        self._lacking: dict[bytes, LackingChunk] = {}
        self._carried: set[bytes] = set()
        self._done: set[bytes] = set()  # chunks in the present portion
        self._portions = Portions(target, services)
        self._heals, self.left = heals, 0

    @property
    def packs(self) -> list[str]:
        """The names of the published packs."""
        return self._portions.packs

    @property
    def stored(self) -> int:
        """The size of the published packs in bytes."""
        return self._portions.stored

    def copy(self, manifest: Manifest, older: Manifest | None) -> None:
        """Copy all data of a backup that the target lacks; `older` is a backup of the target.

        Raises BaseGone or Damaged when the source lacks data; published portions stay.
        """
        old_pages = self._target.reader(thorough=False).chunk if older else self._reader.chunk
        try:
            for batch in new_refs(manifest, older, PageSources(self._reader.chunk, old_pages)):
                self._look(batch.refs, batch.are_pages)
            self._copy_lacking(is_last=True)
            self._publish()
        except BaseException:
            self._portions.abandon()
            raise

    def _look(self, refs: list[ChunkRef], are_pages: bool) -> None:
        ids = [ref.id for ref in refs if ref.id not in self._done and ref.id not in self._lacking]
        lacks = self._portions.writer.lacks(ids) if ids else set()
        self._lacking.update(
            (ref.id, LackingChunk(ref, are_pages)) for ref in refs if ref.id in lacks
        )
        if len(self._lacking) >= _LACKING:
            self._copy_lacking(is_last=False)

    def _copy_lacking(self, *, is_last: bool) -> None:
        """Copy the groups of the chunks that the target lacks."""
        groups = by_group(self._index, [chunk.ref for chunk in self._lacking.values()])
        carried: dict[bytes, LackingChunk] = {}
        for sealed in self._runs.read(groups, self._services.resources.pool):
            self._services.resources.meter(len(sealed.record))
            wanted = groups[sealed.group.id]
            may_wait = not is_last and wanted.isdisjoint(self._carried)
            if may_wait and not is_whole(sealed.group, wanted) and len(carried) < _CARRIED:
                carried.update((chunk, self._lacking[chunk]) for chunk in wanted)
            else:
                self._take(sealed, wanted)
        self._copy_rest([c for c in self._lacking if c not in self._done and c not in carried])
        self._lacking, self._carried = carried, set(carried)
        if self._portions.is_full:
            self._publish()

    def _take(self, sealed: SealedGroup, wanted: set[bytes]) -> None:
        """Copy a group unchanged, or only its needed chunks."""
        held = sorted(wanted & sealed.group.places.keys(), key=lambda c: sealed.group.places[c])
        if not held:
            return
        if is_whole(sealed.group, wanted):
            self._portions.writer.copy(sealed.group, sealed.record, self._lacking[held[0]].is_page)
            self._done.update(sealed.group.places)
            return
        try:
            group = decode(sealed.record, sealed.group.id, self._source.keys)
            pieces = [(chunk, group.chunk(chunk)) for chunk in held]
        except Damaged:
            return  # the chunks are searched in other groups
        for chunk, data in pieces:
            self._add(chunk, data)

    def _add(self, chunk: bytes, data: memoryview) -> None:
        if self._source.keys.chunk_id(data) != chunk:
            return
        if self._lacking[chunk].is_page:
            self._portions.writer.add_page(bytes(data))
        else:
            self._portions.writer.add([(chunk, data)])
        self._done.add(chunk)

    def _copy_rest(self, chunks: list[bytes]) -> None:
        """Copy chunks whose groups could not be read, from any place.  Raises BaseGone, Damaged."""
        for chunk in chunks:
            try:
                self._add(chunk, self._reader.chunk(self._lacking[chunk].ref))
            except (BaseGone, Damaged):
                if not self._heals:
                    raise
                self.left += 1

    def _publish(self) -> None:
        self._portions.publish()
        self._done.clear()


def by_group(index: Index, refs: Iterable[ChunkRef]) -> dict[bytes, set[bytes]]:
    """The chunks of references by the group that holds them.

    The group in a map is a hint: a chunk whose group no longer exists is looked up in the index.
    """
    result: dict[bytes, set[bytes]] = defaultdict(set)
    astray = []
    for chunk, group in refs:
        if group in result or index.place(group):
            result[group].add(chunk)
        else:
            astray.append(chunk)
    for chunk, other in zip(astray, index.find(astray) if astray else (), strict=True):
        if other:
            result[other].add(chunk)
    return result


def is_whole(group: Group, wanted: set[bytes]) -> bool:
    """Whether nearly all bytes of a group are needed."""
    total = sum(length for _, length in group.places.values())
    needed = sum(length for chunk, (_, length) in group.places.items() if chunk in wanted)
    return needed >= total * _SHARE
