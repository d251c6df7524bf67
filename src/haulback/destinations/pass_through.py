"""Base of the wrappers of a store; all operations are passed to the wrapped store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import chain
from pathlib import Path

from haulback.destinations.protocol import Item, ObjectStore


def innermost(destination: ObjectStore) -> ObjectStore:
    """The store below all wrappers, for capabilities that only some stores have."""
    while isinstance(destination, PassThrough):
        destination = destination._destination
    return destination


def allows_deletion(destination: ObjectStore) -> bool:
    """Whether all wrappers of a store allow deletion."""
    while isinstance(destination, PassThrough):
        if not destination.allows_deletion:
            return False
        destination = destination._destination
    return True


def parallelism_of(destination: ObjectStore) -> int:
    """The number of requests that a store accepts at once; 1 if the store declares none."""
    most: int = getattr(destination, "parallelism", 1)
    return most


def close(destination: ObjectStore) -> None:
    """Free the threads of a store's wrappers; the store can still be used."""
    while isinstance(destination, PassThrough):
        destination.close()
        destination = destination._destination


class PassThrough:
    """Passes all operations of an ObjectStore through; a wrapper overrides those it changes."""

    allows_deletion = True

    def __init__(self, destination: ObjectStore) -> None:
        self._destination = destination

    @property
    def parallelism(self) -> int:
        """The number of requests that the wrapped store takes at once."""
        return parallelism_of(self._destination)

    def store(self, name: str, data: bytes) -> None:
        self._destination.store(name, data)

    def adopt(self, name: str, path: Path) -> None:
        self._destination.adopt(name, path)

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._destination.load(name, offset, length)

    def info(self, name: str) -> Item:
        return self._destination.info(name)

    def list(self, prefix: str) -> Iterator[Item]:
        return self._destination.list(prefix)

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        """Objects below several folders, by the wrapper's own `list` of each."""
        return chain.from_iterable(self.list(folder) for folder in folders)

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        return self._destination.entries(folder)

    def delete(self, name: str) -> None:
        self._destination.delete(name)

    def sweep(self, alive: Set[str]) -> int:
        return self._destination.sweep(alive)

    def local_path(self, name: str) -> Path | None:
        return self._destination.local_path(name)

    def close(self) -> None:
        """Free the resources of this wrapper, such as threads."""
