"""The index: it finds the group that holds a chunk, and the place of a group, in a few sorted index
files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import TYPE_CHECKING

from haulback.repository.damage import NO_DAMAGE, RepositoryDamage
from haulback.repository.pack import GroupLocation
from haulback.repository.segment import Segment

if TYPE_CHECKING:  # arrays are loaded on use
    from haulback.repository.index_arrays import Array

# Chunks in an index from which look-ups use arrays.  With fewer chunks, as of 64 GiB of data, the
# import of numpy takes longer than all look-ups of an increment.
_ARRAYS_FROM = 1 << 20


class Index:
    """The current index files of a repository, with the index files of a running session."""

    def __init__(
        self,
        segments: Iterable[Segment] = (),
        without: Set[bytes] = frozenset(),
        damage: RepositoryDamage = NO_DAMAGE,
    ) -> None:
        """Chunks in the packs `without`, or at damaged places, count as not stored.

        The packs `without` may be about to be deleted; a damaged place is read when there is no
        other place.
        """
        self.segments = list(segments)
        self.without, self.damage = without, damage
        self.is_damaged = False
        self._hidden: dict[int, Array] = {}
        if without or damage:
            for segment in self.segments:
                self._hide(segment)

    def _hide(self, segment: Segment) -> None:
        damaged = self.damage.mask(segment.columns)
        self.is_damaged = self.is_damaged or bool(damaged.any())
        hidden = damaged
        if self.without:
            from haulback.repository.index_lookup import inside

            hidden = damaged | inside(segment, self.without)
        if hidden.any():
            self._hidden[id(segment)] = hidden

    def __len__(self) -> int:
        return sum(len(segment) for segment in self.segments)

    def add(self, segment: Segment) -> None:
        self.segments.insert(0, segment)

    def remove(self, names: Iterable[str]) -> None:
        gone = set(names)
        self.segments = [segment for segment in self.segments if segment.name not in gone]

    def find(self, chunks: Sequence[bytes]) -> list[bytes | None]:
        """The group of each chunk, None for a chunk that is not stored.  Ask in batches."""
        if len(self) >= _ARRAYS_FROM:
            from haulback.repository.index_lookup import find

            return find(self.segments, self._hidden, chunks)
        result: list[bytes | None] = [None] * len(chunks)
        for segment, which, rows in self._matches_in_turn(chunks):
            for i, group in zip(which, segment.group_ids(rows), strict=True):
                result[i] = group
        return result

    def hints(self, chunks: Sequence[bytes]) -> dict[bytes, bytes]:
        """The groups of chunks that count as not stored: groups at a damaged place, or in a pack
        about to be deleted.
        """
        result: dict[bytes, bytes] = {}
        for segment in self.segments if self._hidden else ():
            if (hidden := self._hidden.get(id(segment))) is None:
                continue
            for chunk in chunks:
                row = segment.group_of(chunk)
                if row is not None and hidden[row]:
                    [result[chunk]] = segment.group_ids([row])
        return result

    def groups_of(self, chunk: bytes) -> list[bytes]:
        """Every group that holds a chunk; groups at damaged places come last."""
        sound, hidden = self._groups_of(chunk)
        return list(dict.fromkeys(sound + hidden))

    def sound_groups_of(self, chunk: bytes) -> list[bytes]:
        """The groups of a chunk that a STORE may reuse: at sound places, in packs that stay."""
        return self._groups_of(chunk)[0]

    def _groups_of(self, chunk: bytes) -> tuple[list[bytes], list[bytes]]:
        sound: list[bytes] = []
        hidden: list[bytes] = []
        for segment in self.segments:
            row = segment.group_of(chunk)
            if row is not None:
                is_hidden = id(segment) in self._hidden and self._hidden[id(segment)][row]
                (hidden if is_hidden else sound).extend(segment.group_ids([row]))
        return sound, hidden

    def packs_of(self, chunks: Sequence[bytes]) -> tuple[set[bytes], list[bytes]]:
        """The packs that hold the chunks, and the chunks that are not stored."""
        packs, missing = set[bytes](), set(range(len(chunks)))
        for segment, which, rows in self._matches(chunks):
            missing.difference_update(which)
            packs |= segment.packs_at(rows)
        return packs, [chunks[i] for i in sorted(missing)]

    def _matches(self, chunks: Sequence[bytes]) -> Iterator[tuple[Segment, list[int], list[int]]]:
        """(index file, which of the chunks it holds, their group rows); each chunk at most once."""
        if len(self) >= _ARRAYS_FROM:
            from haulback.repository.index_lookup import matches

            return matches(self.segments, self._hidden, chunks)
        return self._matches_in_turn(chunks)

    def _matches_in_turn(
        self, chunks: Sequence[bytes]
    ) -> Iterator[tuple[Segment, list[int], list[int]]]:
        missing = list(range(len(chunks)))
        for segment in self.segments if chunks else ():
            hidden = self._hidden.get(id(segment))
            owners = [segment.group_of(chunks[i]) for i in missing]
            hits = [
                (i, row)
                for i, row in zip(missing, owners, strict=True)
                if row is not None and not (hidden is not None and hidden[row])
            ]
            if hits:
                rows = dict(hits)
                yield segment, list(rows), list(rows.values())
                missing = [i for i in missing if i not in rows]

    def packs(self) -> set[bytes]:
        """Every pack that an index file names."""
        return {pack for segment in self.segments for pack in segment.packs()}

    def ends(self) -> dict[bytes, int]:
        """The least length in bytes of each pack: the end of its last group."""
        found: dict[bytes, int] = {}
        for segment in self.segments:
            for pack, end in segment.ends().items():
                found[pack] = max(end, found.get(pack, 0))
        return found

    def least(self, pack: bytes) -> int:
        """The least length in bytes of a pack; 0 for a pack that is not in the index."""
        places = (place for segment in self.segments for _, place in segment.groups_in(pack))
        return max((place.offset + place.length for place in places), default=0)

    def place(self, group: bytes) -> GroupLocation | None:
        """The place of a group, or None."""
        return next(self.places(group), None)

    def places(self, group: bytes) -> Iterator[GroupLocation]:
        """Every place of a group; damaged places come last.

        A group has two places when a clean-up copied it and its old pack is not deleted yet.
        """
        damaged: list[GroupLocation] = []
        for segment in self.segments:
            if place := segment.place(group):
                if self.damage.covers(group, place):
                    damaged.append(place)
                else:
                    yield place
        yield from damaged
