"""Pending deletes: the packs to be deleted, and the tasks that may still use them.

Every drop from the index and every deletion of a pack is *announced* here first.  A STORE reads the
announcements after its manifest is stored, a clean-up lists manifests after its announcement: in
any order, one of the two sees the other's object (docs/design/locking.md).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Set

import msgspec
from cryptography.exceptions import InvalidTag

from haulback.destinations.protocol import ObjectStore
from haulback.errors import Damaged, NotFound
from haulback.repository.config import check_revision
from haulback.repository.keys import Keys
from haulback.repository.names import Objects

_FOLDER = "graves"
_NAME_BYTES = 16
log = logging.getLogger(__name__)


class PendingDelete(msgspec.Struct, frozen=True):
    """Packs to delete once no task in `pins` is active; without pins they are only announced."""

    packs: list[bytes]
    pins: list[str] | None = None


def add(
    destination: ObjectStore, keys: Keys, packs: Iterable[bytes], pins: Iterable[str] | None
) -> str:
    """Store a pending delete and return its object name."""
    entry = PendingDelete(sorted(packs), None if pins is None else sorted(pins))
    leaf = os.urandom(_NAME_BYTES).hex()
    sealed = keys.seal("grave", leaf.encode(), msgspec.json.encode(entry))
    destination.store(f"{_FOLDER}/{leaf}", sealed)
    return f"{_FOLDER}/{leaf}"


def read(
    objects: Objects, keys: Keys, problems: dict[str, str] | None = None
) -> dict[str, PendingDelete]:
    """Every pending delete by its object name.  Raises RepositoryError for a newer revision.

    A damaged pending delete is put into `problems` and otherwise ignored: its packs get another
    pending delete in the next clean-up, which confirms its own announcements before it deletes.

    An announcement is removed only after the pending delete that follows it is stored.  A listing
    that runs during both steps may miss both, but a second listing cannot.
    """
    names = [item.name for _ in range(2) for item in objects.list(_FOLDER)]
    return Opener(objects.destination, keys).opened(names, problems)


class Opener:
    """Opens pending deletes, each once: their objects never change."""

    def __init__(self, destination: ObjectStore, keys: Keys) -> None:
        self._destination, self._keys = destination, keys
        self._kept: dict[str, PendingDelete] = {}

    def opened(
        self, names: Iterable[str], problems: dict[str, str] | None = None
    ) -> dict[str, PendingDelete]:
        """The pending deletes of these objects; `problems` and errors as in `read`."""
        result: dict[str, PendingDelete] = {}
        for name in dict.fromkeys(names):
            if check_revision(name):
                continue
            try:
                kept = self._kept.get(name)
                result[name] = kept or _open(name, self._destination.load(name), self._keys)
            except NotFound:
                continue  # removed since the listing
            except Damaged as error:
                log.warning("%s", error.message)
                if problems is not None:
                    problems[name] = error.message
        self._kept = dict(result)
        return result


def announced(entries: Mapping[str, PendingDelete]) -> set[bytes]:
    """Packs that a clean-up may be removing from the index or deleting now."""
    return {pack for entry in entries.values() if entry.pins is None for pack in entry.packs}


def waiting(entries: Mapping[str, PendingDelete]) -> set[bytes]:
    """Packs that wait for the end of a task."""
    return {pack for entry in entries.values() if entry.pins is not None for pack in entry.packs}


def ended(entries: Mapping[str, PendingDelete], alive: Set[str]) -> dict[str, PendingDelete]:
    """The pending deletes that no longer wait for a task in `alive`."""
    return {
        name: entry
        for name, entry in entries.items()
        if entry.pins is not None and not any(pin in alive for pin in entry.pins)
    }


def _open(name: str, sealed: bytes, keys: Keys) -> PendingDelete:
    leaf = name.rpartition("/")[2]
    try:
        plain = keys.unseal("grave", leaf.encode(), sealed)
        return msgspec.json.decode(plain, type=PendingDelete)
    except (InvalidTag, msgspec.DecodeError) as error:
        raise Damaged(f"{name} is damaged; the next clean-up replaces it", name=name) from error
