"""The check of reused data: an index entry alone does not prove that a chunk is stored.

Each pack that a backup reuses beyond its parent is checked once by length and directory, and a
random sample of the reused groups is read and authenticated (docs/design/damage.md states the
probability).  Chunks of a refused group are stored again.
"""

from __future__ import annotations

from collections.abc import Collection
from random import Random, SystemRandom
from typing import Protocol

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Damaged, NotFound
from haulback.repository.index import Index
from haulback.repository.keys import Keys
from haulback.repository.pack import GroupLocation, name_of, read_directory
from haulback.repository.reader import Findings, read_group

ALWAYS = 8  # the first reused groups, which are all read
SHARE = 1 / 50  # the probability that a later group is read
_GROUPS_KNOWN = 1 << 16  # about 10 MB of memory; 1 TiB has a million groups


class PackMemory(Protocol):
    """Packs that passed an earlier check, by id and length in bytes."""

    def knows(self, pack: bytes, length: int) -> bool:
        """Whether a pack of this length passed a recent check."""

    def learn(self, pack: bytes, length: int) -> None:
        """Remember that a pack passed its check."""


class ReuseProof:
    """The reuse checks of one writer.  Places that fail are noted in `findings`."""

    def __init__(
        self,
        destination: ObjectStore,
        index: Index,
        keys: Keys,
        findings: Findings,
        memory: PackMemory | None = None,
    ) -> None:
        self._destination, self._index, self._keys = destination, index, keys
        self._findings, self._memory = findings, memory
        self._chance: Random = SystemRandom()
        self._groups: dict[bytes, bool] = {}
        self._packs: dict[bytes, bool] = {}
        self._suspect: set[bytes] = set()
        self._sampled = 0

    def sound(self, groups: Collection[bytes]) -> set[bytes]:
        """The groups among these that the writer may reuse."""
        return {group for group in groups if self._judge(group)}

    def _judge(self, group: bytes) -> bool:
        """Check a group; a group whose result was evicted is checked again.

        A refused group stays refused: its pack is suspect, or its place is recorded as damaged.
        """
        if group not in self._groups:
            if len(self._groups) >= _GROUPS_KNOWN:
                self._groups.clear()
            places = self._index.places(group)
            self._groups[group] = any(self._is_sound(group, place) for place in places)
        return self._groups[group]

    def _is_sound(self, group: bytes, place: GroupLocation) -> bool:
        if self._index.damage.covers(group, place):
            return False
        if place.pack not in self._packs:
            self._packs[place.pack] = self._check_pack(place)
        return self._packs[place.pack] and (not self._is_chosen(place) or self._read(group, place))

    def _check_pack(self, place: GroupLocation) -> bool:
        name = name_of(place.pack)
        try:
            size = self._destination.info(name).size
            if self._memory and self._memory.knows(place.pack, size):
                return True
            entries = read_directory(self._destination, place.pack, self._keys, size)
        except NotFound:
            self._findings.note_pack(place.pack, 0, f"{name} is missing")
            return False
        except Damaged as error:
            self._suspect.add(place.pack)
            return self._closed(place, error)
        if any(entry.place.offset + entry.place.length > size for entry in entries):
            return False
        if self._memory:
            self._memory.learn(place.pack, size)
        return True

    def _closed(self, place: GroupLocation, error: Damaged) -> bool:
        """Refuse a pack without a readable directory: readers can use it, but new backups must
        not.
        """
        least = self._index.least(place.pack)
        if self._destination.info(name_of(place.pack)).size < least:
            self._findings.note_pack(place.pack, least, error.message)
        return False

    def _is_chosen(self, place: GroupLocation) -> bool:
        if place.pack in self._suspect:
            return True
        self._sampled += 1
        return self._sampled <= ALWAYS or self._chance.random() < SHARE

    def _read(self, group: bytes, place: GroupLocation) -> bool:
        try:
            result = read_group(self._destination, group, place, self._keys)
            for chunk in result.places:
                if self._keys.chunk_id(result.chunk(chunk)) != chunk:
                    raise Damaged(f"chunk {chunk.hex()} does not match its id")
        except (NotFound, Damaged) as error:
            self._suspect.add(place.pack)
            self._findings.note(group, place, error.message)
            return False
        return True
