"""Append-only view of a destination: stored objects cannot be deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import Item, list_many
from haulback.errors import Forbidden


class AddOnly(PassThrough):
    """Passes all operations through to the destination, except `delete`.

    `sweep` stays allowed: half-written objects are not part of any backup.
    """

    allows_deletion = False

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        return list_many(self._destination, folders)

    def delete(self, name: str) -> None:
        """Refuse the deletion. Raises Forbidden."""
        raise Forbidden(f"{name} is not deleted: this task may not delete objects", name=name)
