"""The roll: the list of backups that the last clean-up saw, and tombstones of deleted backups.

A clean-up that misses a backup of the last roll, without a tombstone for it, must delete nothing,
because its manifest was lost rather than deleted on purpose.  The roll is stored in two folders, so
that one missing folder hides neither manifests nor roll.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Set
from contextlib import suppress

from cryptography.exceptions import InvalidTag

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Conflict, Damaged, NotFound
from haulback.repository.keys import Keys
from haulback.repository.names import Objects, exists, number_name

FOLDERS = ("rolls", "rolls-copy")
TOMBSTONES = "tombstones"
_GUID_BYTES = 16
_KEPT = 2  # a power failure may leave the newest roll in one folder only
_TRIES = 100  # a foreign object may have the next number


class Rolls:
    """The rolls and tombstones on one destination."""

    def __init__(self, destination: ObjectStore, objects: Objects, keys: Keys) -> None:
        self._destination, self._objects, self._keys = destination, objects, keys

    def last(self) -> Set[str]:
        """The guids on the last roll; empty before the first clean-up.

        Raises Damaged when neither copy of the last roll can be read: an older roll does not list
        later backups.
        """
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else frozenset()

    def missing(self, listed: Set[str]) -> set[str]:
        """Backups of the last roll that are neither listed nor deleted on purpose.  Raises
        Damaged.
        """
        absent = self.last() - listed
        return {backup for backup in absent - self.forgotten(absent) if not self._is_marked(backup)}

    def _is_marked(self, backup: str) -> bool:
        """Whether a readable tombstone exists that a listing does not show yet."""
        return exists(self._destination, f"{TOMBSTONES}/{backup}") and self._is_buried(backup)

    def forgotten(self, backups: Set[str]) -> set[str]:
        """The backups with a tombstone that can be read."""
        return {backup for backup in self.tombstones() & backups if self._is_buried(backup)}

    def tombstones(self) -> set[str]:
        """Guids of backups that have a tombstone, sound or damaged."""
        return self._objects.leaves(TOMBSTONES)

    def delete_tombstones(self, backups: Set[str]) -> None:
        """Delete the tombstones of backups that exist again; needs the right to delete."""
        for backup in self.tombstones() & backups:
            self._destination.delete(f"{TOMBSTONES}/{backup}")

    def write_tombstone(self, backup: str) -> None:
        """Write the tombstone of a backup that is deleted on purpose; safe to repeat."""
        sealed = self._keys.seal("tombstone", backup.encode(), b"")
        with suppress(Conflict):
            self._destination.store(f"{TOMBSTONES}/{backup}", sealed)

    def write(self, backups: Set[str]) -> None:
        """Store the roll of the present backups, unless the last roll lists the same.

        Raises Conflict if other clean-ups took a hundred numbers meanwhile.
        """
        numbers = self._numbers()
        self._complete(numbers[-_KEPT:])
        if numbers and self._is(numbers[-1], backups):
            return
        first = numbers[-1] + 1 if numbers else 1
        for number in range(first, first + _TRIES):
            with suppress(Conflict):
                self._store(number, backups)
                return
        raise Conflict(
            "the roll cannot be stored: other clean-ups took a hundred numbers; try again"
        )

    def sweep(self) -> None:
        """Delete all rolls but the last two, and tombstones that are no longer needed.

        Needs the right to delete.  A roll is deleted before the tombstones that explain it.  A
        tombstone beside its manifest means that a STORE failed for good and could not delete.
        """
        numbers = self._numbers()
        for number in numbers[:-_KEPT]:
            for folder in FOLDERS:
                self._destination.delete(number_name(folder, number))
        try:
            asked = {guid for number in numbers[-_KEPT:] for guid in self._read(number)}
        except Damaged:
            return  # the damaged roll may list any of these backups
        over = self.tombstones() - asked
        for guid in over - self._objects.leaves("manifests"):
            self._destination.delete(f"{TOMBSTONES}/{guid}")

    def problems(self) -> dict[str, str]:
        """Rolls and tombstones that are damaged or lack their copy, by object name.

        A power failure may leave the newest roll without its copy; that does not count as damage.
        """
        result: dict[str, str] = {}
        kept = self._numbers()[-_KEPT:]
        for folder in FOLDERS:
            numbers = self._objects.numbers(folder)
            for number in {*numbers, *(kept if folder == FOLDERS[0] else kept[:-1])}:
                name = number_name(folder, number)
                try:
                    self._open(name, number)
                except NotFound:
                    # An older roll was deleted since the listing.
                    if number in self._numbers()[-_KEPT:]:
                        result[name] = (
                            f"{name} is missing; the next clean-up restores this copy of the roll"
                        )
                except Damaged as error:
                    result[name] = error.message
        for backup in self.tombstones():
            if not self._is_buried(backup):
                name = f"{TOMBSTONES}/{backup}"
                result[name] = f"{name} is damaged"
        return result

    def complete(self) -> None:
        """Store the missing copies of the last rolls."""
        self._complete(self._numbers()[-_KEPT:])

    def _complete(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            names = [number_name(folder, number) for folder in FOLDERS]
            held = {name: sealed for name in names if (sealed := self._sealed(name, number))}
            for name in names:
                if held and name not in held:
                    # a damaged copy stays for `repair`, which moves it aside
                    with suppress(Conflict):
                        self._destination.store(name, next(iter(held.values())))

    def _sealed(self, name: str, number: int) -> bytes | None:
        """The bytes of a roll from a copy that can be read."""
        with suppress(Damaged, NotFound):
            self._open(name, number)
            return self._destination.load(name)
        return None

    def _store(self, number: int, backups: Set[str]) -> None:
        plain = b"".join(uuid.UUID(guid).bytes for guid in sorted(backups))
        sealed = self._keys.seal("roll", number_name("roll", number).encode(), plain)
        for folder in FOLDERS:
            self._destination.store(number_name(folder, number), sealed)

    def _is_buried(self, backup: str) -> bool:
        name = f"{TOMBSTONES}/{backup}"
        try:
            self._keys.unseal("tombstone", backup.encode(), self._destination.load(name))
        except NotFound:
            return True  # swept since the listing
        except (InvalidTag, Damaged):
            return False
        return True

    def _numbers(self) -> list[int]:
        return sorted({n for folder in FOLDERS for n in self._objects.numbers(folder)})

    def _is(self, number: int, backups: Set[str]) -> bool:
        """Whether both copies of a roll exist and list exactly these backups."""
        try:
            return all(self._open(number_name(f, number), number) == backups for f in FOLDERS)
        except (Damaged, NotFound):
            return False

    def _read(self, number: int) -> Set[str]:
        for folder in FOLDERS:
            with suppress(Damaged, NotFound):
                return self._open(number_name(folder, number), number)
        raise Damaged(
            f"neither copy of roll {number} can be read; `haulback repository repair` "
            "moves both aside once every backup is accounted for",
            name=number_name(FOLDERS[0], number),
        )

    def _open(self, name: str, number: int) -> Set[str]:
        sealed = self._destination.load(name)
        try:
            plain = self._keys.unseal("roll", number_name("roll", number).encode(), sealed)
        except InvalidTag:
            raise Damaged(f"{name} is damaged", name=name) from None
        return frozenset(_guids(plain))


def _guids(plain: bytes) -> Iterable[str]:
    for at in range(0, len(plain), _GUID_BYTES):
        yield str(uuid.UUID(bytes=plain[at : at + _GUID_BYTES]))
