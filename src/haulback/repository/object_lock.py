"""Locks that the store itself keeps: a backup's packs before its manifest, then the manifest.

A lock ends at midnight UTC, one day after the requested time or later: all backups of a day have
the same end, so that a pack is locked again at most once a day, however many backups reuse it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Protocol

from haulback.destinations.pass_through import allows_deletion, innermost
from haulback.destinations.protocol import IDENTITY, Lockable, ObjectStore
from haulback.errors import Damaged, Forbidden, NotFound
from haulback.repository import manifest as manifests
from haulback.repository import pack as packs
from haulback.repository.config import CONFIG_COPY
from haulback.repository.index import Index
from haulback.repository.manifest import Manifest
from haulback.repository.map_walk import PageSources, new_refs
from haulback.repository.mapping import LoadPage
from haulback.retry import Backoff, retry
from haulback.units import DAY_MS

_BACKOFF = Backoff(pause=0.5, factor=2.0, longest=30.0, attempts=6)
_AT_ONCE = 256  # objects whose locks one call extends


class LockMemory(Protocol):
    """The ends of locks (epoch ms) that the store has confirmed, by object name."""

    def until(self, name: str) -> int:
        """The confirmed end of a lock; 0 if unknown."""

    def learn(self, name: str, until: int) -> None:
        """Record a confirmed end."""


class NewLockMemory:
    """A cache of this process only."""

    def __init__(self) -> None:
        self._ends: dict[str, int] = {}

    def until(self, name: str) -> int:
        return self._ends.get(name, 0)

    def learn(self, name: str, until: int) -> None:
        self._ends[name] = until


def lock_end(now: int, lock: int) -> int:
    """The end of a lock of `lock` ms that begins at `now`, both epoch ms."""
    return ((now + lock) // DAY_MS + 2) * DAY_MS


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class ObjectLocks:
    """The locks of a repository's objects; without a store that keeps locks, all calls do
    nothing.
    """

    def __init__(self, destination: ObjectStore, now: Callable[[], int] = _now_ms) -> None:
        store = innermost(destination)
        self._store = store if isinstance(store, Lockable) and store.holds_locks else None
        self._may_delete = allows_deletion(destination)
        self._now = now
        self.memory: LockMemory = NewLockMemory()

    @property
    def are_kept(self) -> bool:
        """Whether the store keeps locks."""
        return self._store is not None

    def hold_data(
        self, manifest: Manifest, parent: Manifest | None, lock: int, index: Index, load: LoadPage
    ) -> None:
        """Lock all packs of a backup for `lock` ms from now, before its manifest is stored.

        Packs of a parent with an equally long lock are locked already.  Raises Damaged or
        Misconfigured if a lock fails; the backup must not be stored then.
        """
        if self._store is None or not lock:
            return
        end = lock_end(self._now(), lock)
        if parent and self.memory.until(_backup(parent)) < end:
            parent = None
        names = {IDENTITY, CONFIG_COPY}
        for batch in new_refs(manifest, parent, PageSources(load, load)):
            needed, _ = index.packs_of([ref.id for ref in batch.refs])
            names.update(map(packs.name_of, needed))
        self._hold(names, end)

    def hold_manifest(self, manifest: Manifest, lock: int) -> None:
        """Lock a stored manifest, whose packs are locked already."""
        if self._store is not None and lock:
            end = lock_end(self._now(), lock)
            self._hold([manifests.name_of(manifest.backup)], end)
            self.memory.learn(_backup(manifest), end)

    def held(self, names: Iterable[str]) -> set[str]:
        """The objects among `names` that are under an object lock now."""
        return {name for name in names if self._until(name) > self._now()}

    def held_packs(self, ids: Set[bytes]) -> set[bytes]:
        """The packs among `ids` that are under an object lock now."""
        held = self.held(map(packs.name_of, ids)) if self._store else set()
        return {pack for pack in ids if packs.name_of(pack) in held}

    def hidden(self) -> dict[str, str]:
        """Locked objects that were deleted or replaced, with the reason."""
        store = self._store
        return {} if store is None else retry(store.hidden, _BACKOFF)

    def unhide(self, name: str) -> None:
        """Show a hidden object again: delete the markers and versions that hide it.

        Raises Forbidden without the right to delete.
        """
        store = self._store
        if not self._may_delete:
            raise Forbidden(f"{name} stays hidden: this task may not delete objects", name=name)
        if store is not None:
            retry(lambda: store.unhide(name), _BACKOFF)

    def _until(self, name: str) -> int:
        store = self._store
        if store is None:
            return 0
        if (known := self.memory.until(name)) > self._now():
            return known
        try:
            return retry(lambda: store.locked_until(name), _BACKOFF) or 0
        except (NotFound, Damaged):
            return 0

    def _hold(self, names: Iterable[str], end: int) -> None:
        wanted = sorted(name for name in names if self.memory.until(name) < end)
        for batch in _batches(wanted):
            self._lock(batch, end)
            for name in batch:
                self.memory.learn(name, end)

    def _lock(self, names: list[str], end: int) -> None:
        store = self._store
        if store is not None:
            retry(lambda: store.lock(names, end), _BACKOFF)


def _backup(manifest: Manifest) -> str:
    """The name under which the memory records that all packs of a backup are locked."""
    return f"packs of {manifest.backup}"


def _batches(names: list[str]) -> Iterator[list[str]]:
    for low in range(0, len(names), _AT_ONCE):
        yield names[low : low + _AT_ONCE]
