"""Protocol of all destinations: create-only objects by name, with conditional writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

IDENTITY = "haulback.json"  # the object that distinguishes a repository from an empty store


class Item(NamedTuple):
    """A stored object: its name (parts separated by slashes, no leading slash) and size in
    bytes.

    `stored` is the time at which the object got its name, epoch ms by the store's own clock; None
    if the store does not report it.
    """

    name: str
    size: int
    stored: int | None = None


class ObjectStore(Protocol):
    """A store of named objects that never change once they are stored.

    Raises NotFound for a missing name, Conflict when `store` or `adopt` finds an existing name,
    Damaged for an object that exists but cannot be read, Unavailable when the store does not
    respond.
    """

    def store(self, name: str, data: bytes) -> None:
        """Create an object, durable and atomically visible; Conflict if the name exists."""

    def adopt(self, name: str, path: Path) -> None:
        """Create an object from a local, already synced file; the file is removed.

        On the same file system the data is not copied. The same content under an existing name is
        no error, because a repeated STORE task must succeed.
        """

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read bytes of an object; `offset` and `length` are in bytes.

        Raises Damaged for an object that is shorter than requested.
        """

    def info(self, name: str) -> Item:
        """Name and size of an object."""

    def list(self, prefix: str) -> Iterator[Item]:
        """Objects below the folder `prefix`, in no particular order.

        Foreign files with any name may be among them.
        """

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        """All entries of a folder ("" for the root), each with its name and whether it is a
        file.
        """

    def delete(self, name: str) -> None:
        """Remove an object; a missing object is no error."""

    def sweep(self, alive: Set[str]) -> int:
        """Remove half-written objects of attempts that are not in `alive`; returns their number."""

    def local_path(self, name: str) -> Path | None:
        """Path of the object on this machine, for mapping into memory; None for remote stores."""


@runtime_checkable
class ListsMany(Protocol):
    """A store that lists several folders by fewer requests than folders."""

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        """Objects below the folders, in no particular order.

        The identity object may be among the items: it proves that the list came from the store.
        """


def list_many(destination: ObjectStore, folders: Sequence[str]) -> Iterator[Item]:
    """Objects below several folders; a store with one list per folder lists them in this order.

    The identity object may be among the items, as in `ListsMany`.
    """
    if isinstance(destination, ListsMany):
        return destination.list_many(folders)
    return chain.from_iterable(destination.list(folder) for folder in folders)


@runtime_checkable
class Preparable(Protocol):
    """A store that creates its own location before the first use."""

    def prepare(self) -> None:
        """Create the location if the settings request it; an existing location is no error."""


@runtime_checkable
class Probeable(ObjectStore, Protocol):
    """A store that can be probed in a separate folder."""

    @property
    def is_single_writer(self) -> bool:
        """Whether the settings allow a store that replaces objects."""

    @property
    def has_parts(self) -> bool:
        """Whether a large object is uploaded in parts."""

    def scratch(self, token: str) -> Probeable:
        """An empty store of this kind below `.probe/`, named by the token."""

    def drop(self) -> None:
        """Remove the empty folders of a probe."""

    def check_neighbours(self) -> None:
        """Raise Conflict if the location belongs to another repository or program."""

    def clock_ms(self) -> int | None:
        """The store's own time, epoch ms; None if the store reports none."""

    def links(self) -> bool | None:
        """Whether a hard link refuses an existing name; None for a store without links."""

    def may_replace(self, name: str) -> bool:
        """Whether the credentials that add objects can replace an object; the object is replaced
        then.
        """

    def may_delete(self, name: str) -> bool:
        """Whether the credentials that add objects can delete an object; the object is deleted
        then.
        """


@runtime_checkable
class Lockable(Protocol):
    """A store that itself protects objects for a time, against every credential."""

    @property
    def holds_locks(self) -> bool:
        """Whether the settings request that the store keeps locked objects."""

    def check_lock(self) -> None:
        """Test the lock of an object of a probe.  Raises Misconfigured if the lock does not
        hold.
        """

    def lock(self, names: Iterable[str], until: int) -> None:
        """Lock objects at least until a time (epoch ms), and read each lock back.

        Raises NotFound, Damaged for a hidden object, Misconfigured for a lock that does not hold.
        """

    def locked_until(self, name: str) -> int | None:
        """The end of an object's lock, epoch ms; None for an object without a lock."""

    def hidden(self) -> dict[str, str]:
        """Locked objects that were deleted or replaced, with the reason."""

    def unhide(self, name: str) -> None:
        """Make a hidden object visible again; needs the right to delete.  Raises Conflict."""
