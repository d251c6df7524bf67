"""Damage records: the stored places that cannot be read, with their finders and times.

The records are sealed, numbered and create-only; a later record overrides an earlier one.  Any
writer may record damage; only VERIFY and repair record that a place can be read again
(docs/design/damage.md).
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag

from haulback.destinations.protocol import Item, ObjectStore
from haulback.errors import Conflict, Damaged, NotFound
from haulback.repository.keys import Keys
from haulback.repository.names import Objects, leaf_of, number_name
from haulback.repository.pack import GroupLocation, name_of

if TYPE_CHECKING:  # arrays are loaded on use
    from haulback.repository.index_arrays import Array, ArrayColumns

_FOLDER = "damage"
_TRIES = 100  # attempts to take the next record number while other writers take numbers too
_GROUP = struct.Struct(">QI")
_ANY_SIZE = 1 << 63  # an end beyond the end of every pack
log = logging.getLogger(__name__)


class DamagedPlace(NamedTuple):
    """A place that may be damaged: a pack and a group in it; group None means the whole pack."""

    pack: bytes
    group: bytes | None = None

    def __str__(self) -> str:
        """The place as readable text: the object's name, and the group in it."""
        group = f", group {self.group.hex()}" if self.group else ""
        return f"{name_of(self.pack)}{group}"


class DamageOrigin(NamedTuple):
    """The task that found a damaged place, and the time in epoch milliseconds."""

    by: str
    time: int


class DamageRecord(msgspec.Struct, frozen=True):
    """A damage record; packs and groups are base 64, an empty group means the whole pack."""

    by: str
    time: int
    damaged: list[tuple[bytes, bytes]] = []
    cleared: list[tuple[bytes, bytes]] = []


class RepositoryDamage:
    """The sum of all damage records of a repository; falsy without damage.

    A record of a whole pack means that the pack is missing or too short.  `sizes` are the present
    lengths in bytes of such packs (0 if unknown): groups that end within that length are not
    damaged.
    """

    def __init__(
        self,
        damaged_places: Mapping[DamagedPlace, DamageOrigin] | None = None,
        sizes: Mapping[bytes, int] | None = None,
    ) -> None:
        self.damaged_places, known = dict(damaged_places or {}), sizes or {}
        self._packs = {spot.pack for spot in self.damaged_places}
        self._damaged_packs = {spot.pack for spot in self.damaged_places if spot.group}
        self._whole = {s.pack: known.get(s.pack, 0) for s in self.damaged_places if s.group is None}

    def __bool__(self) -> bool:
        return bool(self.damaged_places)

    def covers(self, group: bytes, place: GroupLocation) -> bool:
        """Whether a group is recorded as damaged at this place."""
        if place.pack not in self._packs:
            return False
        end = place.offset + place.length
        return (
            end > self._whole.get(place.pack, end)
            or DamagedPlace(place.pack, group) in self.damaged_places
        )

    @property
    def whole(self) -> Set[bytes]:
        """The packs that are recorded as wholly damaged."""
        return self._whole.keys()

    def within(self, sizes: Mapping[bytes, int]) -> RepositoryDamage:
        """The same damage with the present lengths of packs in bytes; a pack without a length no
        longer exists.
        """
        return RepositoryDamage(self.damaged_places, sizes) if self._whole else self

    def plus(self, damaged_places: Iterable[DamagedPlace]) -> RepositoryDamage:
        """The same damage and further places, which were found but not recorded."""
        more = dict.fromkeys(damaged_places, DamageOrigin("", 0))
        return RepositoryDamage({**more, **self.damaged_places}, self._whole)

    def mask(self, columns: ArrayColumns) -> Array:
        """A mask over the groups of index columns: True for groups at a damaged place."""
        import numpy as np

        known = [pack.tobytes() for pack in columns.packs]
        if not known or self._packs.isdisjoint(known):
            return np.zeros(len(columns.sessions), bool)
        sizes = [self._whole.get(pack, _ANY_SIZE) for pack in known]
        ends = columns.offsets.astype("<u8") + columns.lengths
        result: Array = ends > np.array(sizes, "<u8")[columns.packs_of]
        hurt = np.array([pack in self._damaged_packs for pack in known], bool)
        for row in np.flatnonzero(hurt[columns.packs_of]).tolist():
            group = _GROUP.pack(int(columns.sessions[row]), int(columns.counters[row]))
            result[row] |= (
                DamagedPlace(known[int(columns.packs_of[row])], group) in self.damaged_places
            )
        return result


NO_DAMAGE = RepositoryDamage()


class DamageLog:
    """The damage records of one repository; each record is read once, because records never
    change.
    """

    def __init__(self, destination: ObjectStore, objects: Objects, keys: Keys) -> None:
        self._destination, self._objects, self._keys = destination, objects, keys
        self._read: dict[int, DamageRecord] = {}
        self.problems: dict[str, str] = {}

    def state(self, items: Iterable[Item] | None = None) -> RepositoryDamage:
        """The present damage: the sum of all records, read from those `items` that a list
        showed.
        """
        listed = self._objects.list(_FOLDER) if items is None else items
        for number in sorted(int(leaf_of(item.name)) for item in listed):
            if number not in self._read:
                self._load(number)
        damaged_places: dict[DamagedPlace, DamageOrigin] = {}
        for number in sorted(self._read):
            _apply(self._read[number], damaged_places)
        return RepositoryDamage(damaged_places) if damaged_places else NO_DAMAGE

    def add(
        self, by: str, time: int, damaged: Iterable[DamagedPlace], cleared: Iterable[DamagedPlace]
    ) -> None:
        """Store one more record, unless it would change nothing.

        Raises Unavailable, or Conflict when other writers took a hundred numbers meanwhile.
        """
        record = DamageRecord(by, time, _plain(damaged), _plain(cleared))
        if not record.damaged and not record.cleared:
            return
        first = max(self._objects.numbers(_FOLDER), default=0) + 1
        for number in range(first, first + _TRIES):  # a folder with such a name takes a number too
            name = number_name(_FOLDER, number)
            sealed = self._keys.seal("damage", name.encode(), msgspec.json.encode(record))
            with suppress(Conflict):  # another writer took the number: its record counts first
                self._destination.store(name, sealed)
                return
        raise Conflict("damage cannot be recorded: other writers took a hundred numbers; try again")

    def _load(self, number: int) -> None:
        name = number_name(_FOLDER, number)
        try:
            plain = self._keys.unseal("damage", name.encode(), self._destination.load(name))
            self._read[number] = msgspec.json.decode(plain, type=DamageRecord)
        except (InvalidTag, msgspec.DecodeError, Damaged):
            if name not in self.problems:
                self.problems[name] = (
                    f"{name} is damaged; `haulback repository repair` moves it aside"
                )
                log.warning("%s", self.problems[name])
        except NotFound:
            log.warning("%s disappeared after the list showed it", name)


def _apply(record: DamageRecord, damaged_places: dict[DamagedPlace, DamageOrigin]) -> None:
    for pack, group in record.damaged:
        damaged_places.setdefault(
            DamagedPlace(pack, group or None), DamageOrigin(record.by, record.time)
        )
    for pack, group in record.cleared:
        damaged_places.pop(DamagedPlace(pack, group or None), None)


def _plain(damaged_places: Iterable[DamagedPlace]) -> list[tuple[bytes, bytes]]:
    return sorted((spot.pack, spot.group or b"") for spot in set(damaged_places))
