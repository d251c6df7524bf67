"""What every destination offers: names to bytes, create-only, with conditional writes."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple, Protocol


class Item(NamedTuple):
    """One stored object: its name (slash separated, never starting with one) and size in bytes."""

    name: str
    size: int


class Destination(Protocol):
    """A store of named bytes.  Objects never change once stored.

    Raises `NotFound` for a missing name, `Conflict` when `store` or `adopt` meets a taken name,
    `Damaged` for an object that the store holds and cannot read, `Unavailable` when the store
    itself does not answer.
    """

    def store(self, name: str, data: bytes) -> None:
        """Create one object, durable and atomically visible; Conflict if the name is taken."""

    def adopt(self, name: str, path: Path) -> None:
        """Create one object from a local, already synced file, which is consumed.

        On the same file system this writes no byte a second time.  Publishing the same content
        under the same name twice is not an error: a repeated STORE must succeed.
        """

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of one object; `offset` and `length` in bytes.  A short object raises Damaged."""

    def info(self, name: str) -> Item:
        """Size of one object."""

    def list(self, prefix: str) -> Iterator[Item]:
        """Objects whose name starts with the folder `prefix`, in no particular order.

        Files that no Haulback wrote may be among them, whatever their name.
        """

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Everything directly in a folder ("" is the root): its name, and whether it is a file."""

    def delete(self, name: str) -> None:
        """Remove one object; a missing one is fine."""

    def sweep(self, alive: Set[str]) -> int:
        """Remove half-written objects of attempts not in `alive`; returns how many."""

    def local_path(self, name: str) -> Path | None:
        """Where the object lies on this machine, if it does (to map it into memory)."""
