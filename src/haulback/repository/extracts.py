"""Catalogue extracts: the server's own data about backups, such as locks and marks, stored on the
destination.

A set is a *whole* set, or holds the changes since the sets before; each set has one or more parts.
docs/design/catalogue-on-the-destination.md has the format and the reasons.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import msgspec
import zstandard
from cryptography.exceptions import InvalidTag

from haulback.contract.catalogue import CatalogueItem
from haulback.destinations.protocol import ObjectStore
from haulback.errors import Conflict, Damaged, NotFound
from haulback.repository.keys import Keys
from haulback.repository.names import Objects, number_name
from haulback.units import DAY_MS, MIB

FOLDER = "extracts"
WHOLE_MS = 7 * DAY_MS  # age of the last whole set after which a new whole set is written
MOST_SETS = 60  # sets of changes after a whole set, because more would make reading slow
_PART_ITEMS, _PART_BYTES = 10_000, 8 * MIB
_TRIES = 100  # numbers that other writers may take meanwhile
_LEVEL = 6
_KINDS = ("backup", "entity")  # a newer version may store facts about other objects
_LOST = "locks, marks and proof levels that were recorded there are unknown"
Key = tuple[str, str]  # kind and guid of an item


class ExtractHeader(msgspec.Struct, frozen=True):
    """The first line of a part: `set` is the attempt that wrote it, `time` the server's time (epoch
    ms).
    """

    set: str
    part: int
    last: bool
    whole: bool
    time: int
    server: str
    name: str


class ExtractOrigin(NamedTuple):
    """The writer of a set: the attempt, the server's time (epoch ms), guid and name."""

    attempt: str
    time: int
    server: str = ""
    name: str = ""


class ExtractReport(NamedTuple):
    """The number of items written, and whether the set is a whole set."""

    items: int
    whole: bool


@dataclass
class StoredCatalogue:
    """The facts on a destination: each item as a line of JSON, by kind and guid.

    `time` is the time of the newest set, `whole` the time of the last whole set (epoch ms), None
    without one.  `first` is the number of that set's first part, `sets` counts the sets of changes
    since. `damaged` has a sentence for each unreadable object, `lacking` for each object that is
    missing or has an unknown form.
    """

    lines: dict[Key, bytes] = field(default_factory=dict)
    time: int | None = None
    whole: int | None = None
    first: int = 0
    sets: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> dict[str, str]:
        """A sentence for each unusable object, by object name."""
        return dict(sorted({**self.damaged, **self.lacking}.items()))

    def items(self, kind: str) -> Iterator[CatalogueItem]:
        """The items of a kind, in no order."""
        for key, line in self.lines.items():
            if key[0] == kind:
                yield msgspec.json.decode(line, type=CatalogueItem)

    def facts(self, kind: str, guid: str) -> Mapping[str, object]:
        """The facts about an object; empty if no extract has any."""
        line = self.lines.get((kind, guid))
        return msgspec.json.decode(line, type=CatalogueItem).facts if line else {}


class _Part(NamedTuple):
    number: int
    header: ExtractHeader
    packed: bytes


class Extracts:
    """The extracts of one repository."""

    def __init__(self, destination: ObjectStore, objects: Objects, keys: Keys) -> None:
        self._destination, self._objects, self._keys = destination, objects, keys

    def read(self) -> StoredCatalogue:
        """The facts of the newest whole set and of the changes after it.

        An unreadable part makes its set unusable: the set is left out, and `problems` names it.
        """
        stored = StoredCatalogue()
        for parts in self._newest_sets(stored):
            header = parts[0].header
            if header.whole:
                stored.lines.clear()
                stored.whole, stored.first, stored.sets = header.time, parts[0].number, 0
            else:
                stored.sets += 1
            stored.time = max(header.time, stored.time or 0)
            for part in parts:
                _apply(part, stored)
        if stored.whole is None and stored.sets:
            stored.lacking[FOLDER] = f"the last whole extract is missing: {_LOST}"
        return stored

    def write(
        self,
        origin: ExtractOrigin,
        items: Iterable[CatalogueItem],
        is_stored: Callable[[str], bool],
    ) -> ExtractReport:
        """Store the difference between `items` and the stored facts; once a week all items.

        `is_stored` tells whether a backup has a manifest: the facts about such a backup stay, even
        if the server does not know the backup.  Raises Conflict if other writers took a hundred
        numbers meanwhile.
        """
        stored = self.read()
        whole = _needs_whole(stored, origin.time)
        writer = _PartWriter(self._add, origin, whole)
        left = dict(stored.lines)
        for item in items:
            line = msgspec.json.encode(item)
            if left.pop((item.kind, item.guid), b"") != line or whole:
                writer.add(line)
        kept = _still_there(left, is_stored)
        for key, line in left.items():
            if key in kept:
                if whole:
                    writer.add(line)
            elif not whole:
                writer.add(msgspec.json.encode(CatalogueItem(*key, gone=True)))
        writer.close()
        return ExtractReport(writer.items, whole)

    def newest_time(self) -> int:
        """The time (epoch ms) of the newest readable part, 0 without one."""
        for number in reversed(self._objects.numbers(FOLDER)):
            if part := self._part(number, StoredCatalogue()):
                return part.header.time
        return 0

    def problems(self) -> dict[str, str]:
        """Sentences about the unreadable parts, by object name."""
        stored = StoredCatalogue()
        self._newest_sets(stored)
        return stored.damaged

    def sweep(self) -> int:
        """Delete the parts before the last but one whole set; needs the right to delete.

        Parts with facts that only a newer version reads stay, because later sets lack these facts.
        """
        sets = self._newest_sets(StoredCatalogue(), wholes=2)
        firsts = [parts[0].number for parts in sets if parts[0].header.whole]
        if len(firsts) < 2:
            return 0
        numbers = self._objects.numbers(FOLDER)
        old = [number for number in numbers if number < firsts[0] and self._is_understood(number)]
        for number in old:
            self._destination.delete(number_name(FOLDER, number))
        return len(old)

    def _is_understood(self, number: int) -> bool:
        """Whether no fact of a part needs a newer version."""
        scratch = StoredCatalogue()
        if part := self._part(number, scratch):
            _apply(part, scratch)
        return not scratch.lacking

    def _newest_sets(self, stored: StoredCatalogue, wholes: int = 1) -> list[list[_Part]]:
        """The complete sets from the last whole set on (or the last but one), the oldest first.

        `stored` gets the unusable parts.
        """
        parts: dict[str, dict[int, _Part]] = {}
        count = 0
        listed = self._objects.numbers(FOLDER)
        gaps = _gaps(listed)
        for number in sorted([*listed, *gaps], reverse=True):
            part = self._part(number, stored)
            if part is None:
                if number in gaps and (name := number_name(FOLDER, number)) not in stored.problems:
                    stored.lacking[name] = f"{name} is missing: {_LOST}"
                continue
            of_set = parts.setdefault(part.header.set, {})
            of_set[part.header.part] = part
            if part.header.whole and part.header.part == 0 and _is_complete(of_set):
                count += 1
                if count == wholes:
                    break
        complete = [_in_order(of_set) for of_set in parts.values() if _is_complete(of_set)]
        return _since_whole(sorted(complete, key=lambda of_set: of_set[0].number), wholes)

    def _part(self, number: int, stored: StoredCatalogue) -> _Part | None:
        name = number_name(FOLDER, number)
        try:
            plain = self._keys.unseal("extract", name.encode(), self._destination.load(name))
            return _Part(number, _header(plain), plain)
        except NotFound:
            return None  # swept since the listing
        except msgspec.DecodeError:
            stored.lacking[name] = _unknown_form(name)
        except (InvalidTag, Damaged, zstandard.ZstdError):
            stored.damaged[name] = f"{name} is damaged: {_LOST}"
        return None

    def _add(self, plain: bytes) -> None:
        """Store a part under the next free number."""
        first = max(self._objects.numbers(FOLDER), default=0) + 1
        for number in range(first, first + _TRIES):
            name = number_name(FOLDER, number)
            with suppress(Conflict):
                self._destination.store(name, self._keys.seal("extract", name.encode(), plain))
                return
        raise Conflict(
            "the extract cannot be stored: other writers took a hundred numbers; try again"
        )


class _PartWriter:
    """The parts of one set; a part is stored as soon as it is full."""

    def __init__(self, store: Callable[[bytes], None], origin: ExtractOrigin, whole: bool) -> None:
        self._store, self._origin, self._whole = store, origin, whole
        self._lines: list[bytes] = []
        self._size = self._number = self.items = 0

    def add(self, line: bytes) -> None:
        if len(self._lines) >= _PART_ITEMS or self._size >= _PART_BYTES:
            self._flush(last=False)
        self._lines.append(line)
        self._size += len(line)
        self.items += 1

    def close(self) -> None:
        """Store the last part, without which the set does not count."""
        self._flush(last=True)

    def _flush(self, *, last: bool) -> None:
        attempt, time, server, name = self._origin
        header = ExtractHeader(attempt, self._number, last, self._whole, time, server, name)
        plain = b"\n".join([msgspec.json.encode(header), *self._lines])
        self._store(zstandard.ZstdCompressor(level=_LEVEL).compress(plain))
        self._lines, self._size = [], 0
        self._number += 1


def _needs_whole(stored: StoredCatalogue, now: int) -> bool:
    return (
        stored.whole is None
        or not 0 <= now - stored.whole < WHOLE_MS
        or stored.sets >= MOST_SETS
        or bool(stored.problems)
    )


def _still_there(left: Mapping[Key, bytes], is_stored: Callable[[str], bool]) -> set[Key]:
    """The items of backups that have a manifest, of their entities, and of unknown kinds."""
    kept = {key for key in left if key[0] not in _KINDS}
    for key, line in left.items():
        if key[0] == "backup" and is_stored(key[1]):
            entity = msgspec.json.decode(line, type=CatalogueItem).facts.get("entity")
            kept |= {key, ("entity", str(entity))}
    return kept


def _lines(packed: bytes) -> Iterator[bytes]:
    with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
        for line in io.BufferedReader(reader, MIB):
            yield line.rstrip(b"\n")


def _header(packed: bytes) -> ExtractHeader:
    return msgspec.json.decode(next(_lines(packed), b""), type=ExtractHeader)


def _apply(part: _Part, stored: StoredCatalogue) -> None:
    """Apply the items of a part; an item of an unknown form is left out and reported."""
    rows = _lines(part.packed)
    next(rows)
    for line in rows:
        try:
            item = msgspec.json.decode(line, type=CatalogueItem)
        except msgspec.DecodeError:
            name = number_name(FOLDER, part.number)
            stored.lacking[name] = _unknown_form(name)
            continue
        if item.gone:
            stored.lines.pop((item.kind, item.guid), None)
        else:
            stored.lines[item.kind, item.guid] = line


def _unknown_form(name: str) -> str:
    return f"{name} has the form of another version: {_LOST}; a newer Haulback reads them"


def _gaps(listed: Sequence[int]) -> set[int]:
    """The numbers between listed numbers, of lost or not yet listed parts: at most a hundred for
    each gap.
    """
    pairs = pairwise(listed)
    return {number for low, high in pairs for number in range(max(low + 1, high - _TRIES), high)}


def _is_complete(parts: Mapping[int, _Part]) -> bool:
    last = max(parts)
    return parts[last].header.last and len(parts) == last + 1


def _in_order(parts: Mapping[int, _Part]) -> list[_Part]:
    return [parts[number] for number in sorted(parts)]


def _since_whole(sets: list[list[_Part]], wholes: int) -> list[list[_Part]]:
    """The sets from the last whole set on, or from the last but one; all sets if there are
    fewer.
    """
    places = [place for place, parts in enumerate(sets) if parts[0].header.whole]
    return sets[places[-wholes] :] if len(places) >= wholes else sets
