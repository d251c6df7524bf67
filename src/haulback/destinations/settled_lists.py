"""Listings of a store that lag: they show at least the writes of their own process.

Objects of other processes appear late in such listings; docs/design/locking.md explains why no
backup is lost, and where a clean-up waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import Item, ObjectStore, list_many
from haulback.errors import Conflict, Damaged, NotFound

T = TypeVar("T")


class SettledLists(PassThrough):
    """A store whose listings include the names that this process stored, without those it deleted.

    A name that was not found counts as deleted. If listing and process disagree about a name, the
    object is looked up, because another process may have stored or deleted it since. No call
    waits.
    """

    def __init__(self, destination: ObjectStore) -> None:
        super().__init__(destination)
        # guards the two sets, because threads share an open repository
        self._lock = Lock()
        self._there: set[str] = set()
        self._gone: set[str] = set()

    def store(self, name: str, data: bytes) -> None:
        self._noting(name, lambda: super(SettledLists, self).store(name, data))
        self._note(name, is_there=True)

    def adopt(self, name: str, path: Path) -> None:
        self._noting(name, lambda: super(SettledLists, self).adopt(name, path))
        self._note(name, is_there=True)

    def delete(self, name: str) -> None:
        super().delete(name)
        self._note(name, is_there=False)

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._noting(name, lambda: super(SettledLists, self).load(name, offset, length))

    def info(self, name: str) -> Item:
        item = self._noting(name, lambda: super(SettledLists, self).info(name))
        self._note(name, is_there=True)
        return item

    def list(self, prefix: str) -> Iterator[Item]:
        return self._settled((prefix,), lambda: super(SettledLists, self).list(prefix))

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        return self._settled(folders, lambda: list_many(self._destination, folders))

    def _settled(
        self, folders: Sequence[str], list_them: Callable[[], Iterator[Item]]
    ) -> Iterator[Item]:
        with self._lock:
            there, gone = set(self._there), set(self._gone)
        shown, below = set(), tuple(f"{folder}/" for folder in folders)
        for item in list_them():
            shown.add(item.name)
            if item.name not in gone or self._is_there(item.name):
                yield item
        for name in sorted(there - shown):
            with suppress(NotFound, Damaged):  # another process deleted the object
                if name.startswith(below):
                    yield self.info(name)

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        below = f"{folder}/" if folder else ""
        with self._lock:
            there = [name[len(below) :] for name in self._there if name.startswith(below)]
            gone = {name for name in self._gone if name.startswith(below)}
        own = {first: not rest for first, *rest in (name.split("/") for name in there)}
        for name, is_file in super().entries(folder):
            own.pop(name, None)
            if below + name not in gone or self._is_there(below + name):
                yield name, is_file
        yield from own.items()

    def _is_there(self, name: str) -> bool:
        try:
            self.info(name)
        except NotFound:
            return False
        except Damaged:
            return True
        return True

    def _noting(self, name: str, call: Callable[[], T]) -> T:
        try:
            result = call()
        except Conflict:
            self._note(name, is_there=True)
            raise
        except NotFound:
            self._note(name, is_there=False)
            raise
        return result

    def _note(self, name: str, *, is_there: bool) -> None:
        with self._lock:
            (self._there if is_there else self._gone).add(name)
            (self._gone if is_there else self._there).discard(name)
