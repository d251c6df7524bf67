"""A fake destination in memory, for the conformance suite and for tests without a real store.

The fake has no local paths, and can imitate a limited remote store: listings that lag, or creates
that are not exclusive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from haulback.clock import Clock, SystemClock
from haulback.destinations.protocol import Item
from haulback.errors import Conflict, Damaged, Malformed, NotFound

_PART = r"[a-z0-9][a-z0-9._-]*"
_NAME = re.compile(rf"{_PART}(/{_PART})*")


class ManualClock(SystemClock):
    """A monotonic clock that stands still until `wait` moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self.seconds += seconds


class _Version(NamedTuple):
    """A state of a name: its bytes, None for a deleted name, and the time when the state began."""

    data: bytes | None
    since: float


class MemoryBucket:
    """The objects of a fake store; several MemoryStores share them, as processes share a real
    store.

    `listing_delay` is the number of seconds that lists lag behind; `exclusive_create` False makes
    a create replace an existing object. Foreign names in `foreign` are listed too.
    """

    def __init__(
        self,
        *,
        listing_delay: float = 0.0,
        exclusive_create: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.listing_delay, self.exclusive_create = listing_delay, exclusive_create
        self.clock = clock or SystemClock()
        self.foreign: dict[str, int] = {}
        self.half_written: list[tuple[str, str, bytes]] = []  # (owner, name, bytes)
        self._versions: dict[str, list[_Version]] = {}
        # makes each operation atomic, as in a real store
        self._lock = Lock()

    def put(self, name: str, data: bytes) -> None:
        """Create an object. Raises Conflict for an existing name."""
        with self._lock:
            if self.exclusive_create and self._now(name) is not None:
                raise Conflict(f"{name} exists already", name=name)
            self._change(name, data)

    def remove(self, name: str) -> None:
        """Delete an object; a missing one is no error."""
        with self._lock:
            if self._now(name) is not None:
                self._change(name, None)

    def get(self, name: str) -> bytes:
        """Bytes of an object. Raises NotFound."""
        data = self._now(name)
        if data is None:
            raise NotFound(f"{name} is not stored", name=name)
        return data

    def info(self, name: str) -> Item:
        """Name, size and time of an object. Raises NotFound."""
        self.get(name)
        return _item(name, self._versions[name][-1])

    def listed(self) -> dict[str, Item]:
        """Each object that a list shows now by name; a lagging list shows an older state."""
        moment = self.clock.monotonic() - self.listing_delay
        with self._lock:
            shown = {n: Item(n, size) for n, size in self.foreign.items()}
            for name, each in self._versions.items():
                version = _state(each, moment)
                if version and version.data is not None:
                    shown[name] = _item(name, version)
            return shown

    def _now(self, name: str) -> bytes | None:
        versions = self._versions.get(name)
        return versions[-1].data if versions else None

    def _change(self, name: str, data: bytes | None) -> None:
        version = _Version(data, self.clock.monotonic())
        if self.listing_delay:
            self._versions.setdefault(name, []).append(version)
        else:
            self._versions[name] = [version]


def _state(versions: list[_Version], moment: float) -> _Version | None:
    """The state of a name at a moment, None for a name that did not exist then."""
    return next((each for each in reversed(versions) if each.since <= moment), None)


def _item(name: str, version: _Version) -> Item:
    return Item(name, len(version.data or b""), int(version.since * 1000))


class MemoryStore:
    """A process's view of a MemoryBucket; `owner` names the attempt, as in every store."""

    def __init__(self, bucket: MemoryBucket | None = None, owner: str = "by-hand") -> None:
        self.bucket, self.owner = bucket or MemoryBucket(), owner

    def store(self, name: str, data: bytes) -> None:
        self.bucket.put(_checked(name), bytes(data))

    def adopt(self, name: str, path: Path) -> None:
        data = path.read_bytes()
        try:
            self.store(name, data)
        except Conflict:
            if self.bucket.get(name) != data:
                raise
        path.unlink()

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self.bucket.get(_checked(name))
        end = len(data) if length is None else offset + length
        if end > len(data):
            raise Damaged(f"{name} is truncated at byte {len(data)}", name=name)
        return data[offset:end]

    def info(self, name: str) -> Item:
        return self.bucket.info(_checked(name))

    def list(self, prefix: str) -> Iterator[Item]:
        below = _checked(prefix) + "/"
        for name, item in self.bucket.listed().items():
            if name.startswith(below):
                yield item

    def entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        below = _checked(folder) + "/" if folder else ""
        parts = [n[len(below) :].split("/") for n in self.bucket.listed() if n.startswith(below)]
        yield from {(first, not rest) for first, *rest in parts}

    def delete(self, name: str) -> None:
        self.bucket.remove(_checked(name))

    def sweep(self, alive: Set[str]) -> int:
        before = len(self.bucket.half_written)
        self.bucket.half_written = [h for h in self.bucket.half_written if h[0] in alive]
        return before - len(self.bucket.half_written)

    def local_path(self, name: str) -> Path | None:  # noqa: ARG002 - the Protocol's parameter
        return None


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Malformed(f"{name!r} is not an object name")
    return name
