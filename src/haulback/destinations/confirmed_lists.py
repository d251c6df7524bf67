"""Listings of a remote store: an empty listing counts only if the identity object can be read.

A captive portal, a proxy or a wrong route may answer a listing with a page without objects.  A
bucket that was deleted and created again returns an empty listing.  Neither may look like an empty
repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import IDENTITY, Item, ObjectStore, list_many
from haulback.errors import NotFound, Unavailable


class ConfirmedLists(PassThrough):
    """A store whose empty listings are confirmed by the identity object, which is read after the
    listing.

    Raises Unavailable for an empty listing if a web page is returned instead of the identity
    object, or if the object no longer exists although this process has read it before.
    """

    def __init__(self, destination: ObjectStore) -> None:
        super().__init__(destination)
        self._was_read = False

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().load(name, offset, length)
        self._was_read = self._was_read or (name == IDENTITY and not _is_page(data))
        return data

    def list(self, prefix: str) -> Iterator[Item]:
        items = [*super().list(prefix)]
        if not items:
            self._confirm(prefix)
        return iter(items)

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        """The objects in several folders, confirmed once: by the identity object in the listing, or
        by reading it if a folder is empty.
        """
        items = [*list_many(self._destination, folders)]
        shown = {item.name.partition("/")[0] for item in items}
        empty = [folder for folder in folders if folder not in shown]
        if IDENTITY in shown:
            self._was_read = True
        elif empty:
            self._confirm(" and ".join(empty))
        return (item for item in items if item.name != IDENTITY)

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        entries = [*super().entries(folder)]
        if not entries:
            self._confirm(folder or "the root")
        return iter(entries)

    def _confirm(self, folder: str) -> None:
        try:
            data = self.load(IDENTITY)
        except NotFound:
            if self._was_read:
                raise Unavailable(
                    f"the destination lists nothing below {folder}, and {IDENTITY} is gone: the "
                    "store was emptied or made again; nothing was changed"
                ) from None
            return
        if _is_page(data):
            raise Unavailable(
                f"the destination lists nothing below {folder}, and a web page comes in place of "
                f"{IDENTITY}: a proxy or a portal answers in place of the store; check "
                "`endpoint` and `proxy`"
            )


def _is_page(data: bytes) -> bool:
    """Whether bytes are a web page; damaged bytes of a configuration are not."""
    return data.lstrip()[:1] == b"<"
