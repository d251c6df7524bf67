"""The roll of a repository: the backups that the last clean-up saw, and tombstones of those gone.

A clean-up that misses a backup of the last roll, without a tombstone that says that the backup was
forgotten on purpose, must delete nothing: the manifest was lost, not removed.  The roll stands in
two folders, so that one folder that is away hides neither manifests nor roll.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Set
from contextlib import suppress

from cryptography.exceptions import InvalidTag

from haulback.destinations.protocol import Destination
from haulback.errors import Conflict, Damaged, NotFound
from haulback.repository.keys import Keys
from haulback.repository.names import Objects, number_name

FOLDERS = ("rolls", "rolls-copy")
TOMBSTONES = "tombstones"
_GUID_BYTES = 16
_KEPT = 2  # a power cut may leave the newest roll in one folder only


class Rolls:
    """Rolls and tombstones on one destination."""

    def __init__(self, destination: Destination, objects: Objects, keys: Keys) -> None:
        self._destination, self._objects, self._keys = destination, objects, keys

    def last(self) -> Set[str]:
        """The guids on the last roll; empty before the first clean-up.

        Raises Damaged when neither copy of the last roll can be read: an older one would not know
        of later backups.
        """
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else frozenset()

    def tombstones(self) -> set[str]:
        """Guids of backups that were forgotten on purpose."""
        return self._objects.leaves(TOMBSTONES)

    def bury(self, backup: str) -> None:
        """Record that a backup is forgotten on purpose; twice is fine."""
        sealed = self._keys.seal("tombstone", backup.encode(), b"")
        with suppress(Conflict):
            self._destination.store(f"{TOMBSTONES}/{backup}", sealed)

    def write(self, backups: Set[str]) -> None:
        """Store the roll of the backups that are there now, unless the last one says the same."""
        numbers = self._numbers()
        if numbers and self._is(numbers[-1], backups):
            return
        name = number_name("roll", numbers[-1] + 1 if numbers else 1)
        plain = b"".join(uuid.UUID(guid).bytes for guid in sorted(backups))
        sealed = self._keys.seal("roll", name.encode(), plain)
        for folder in FOLDERS:
            self._destination.store(f"{folder}/{name.rpartition('/')[2]}", sealed)

    def sweep(self) -> None:
        """Delete rolls before the last two, and tombstones that no roll asks for any more.

        Needs the right to delete.  The roll goes before the tombstones that explain it.
        """
        numbers = self._numbers()
        for number in numbers[:-_KEPT]:
            for folder in FOLDERS:
                self._destination.delete(number_name(folder, number))
        try:
            asked = {guid for number in numbers[-_KEPT:] for guid in self._read(number)}
        except Damaged:
            return  # the roll that cannot be read may ask for any of them
        for guid in self.tombstones() - asked:
            self._destination.delete(f"{TOMBSTONES}/{guid}")

    def problems(self) -> dict[str, str]:
        """Damaged copies of rolls, by object name."""
        found: dict[str, str] = {}
        for folder in FOLDERS:
            for number in self._objects.numbers(folder):
                name = number_name(folder, number)
                try:
                    self._open(name, number)
                except (Damaged, NotFound) as error:
                    found[name] = error.message
        return found

    def _numbers(self) -> list[int]:
        return sorted({n for folder in FOLDERS for n in self._objects.numbers(folder)})

    def _is(self, number: int, backups: Set[str]) -> bool:
        """Whether both copies of a roll stand and list exactly these backups."""
        try:
            return all(self._open(number_name(f, number), number) == backups for f in FOLDERS)
        except (Damaged, NotFound):
            return False

    def _read(self, number: int) -> Set[str]:
        for folder in FOLDERS:
            with suppress(Damaged, NotFound):
                return self._open(number_name(folder, number), number)
        raise Damaged(
            f"neither copy of roll {number} can be read; `haulback repository repair` sets both "
            "aside once every backup is accounted for",
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
