"""Map pages of a backup that is being published, read from its staging folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import ObjectStore
from haulback.repository.names import leaf_of
from haulback.repository.pack import name_of
from haulback.repository.segment import Segment

_MOST = 64  # packs that are open at once, enough for the pages of 4 TiB of disks


class StagedPacks(PassThrough):
    """A store whose packs are read from files of the staging folder, also after their upload.

    The check before a manifest would otherwise load pages that this process has just sent.  A pack
    that an earlier attempt published is read from the store.
    """

    def __init__(self, destination: ObjectStore, files: Iterable[Path]) -> None:
        super().__init__(destination)
        self._handles: dict[str, int] = {}
        for path in files:
            with suppress(FileNotFoundError):
                if len(self._handles) < _MOST:
                    name = name_of(bytes.fromhex(path.stem))
                    self._handles[name] = os.open(path, os.O_RDONLY)

    def __enter__(self) -> StagedPacks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._handles:
            os.close(self._handles.popitem()[1])

    def records(self, segments: Iterable[Segment]) -> Iterator[tuple[bytes, bytes]]:
        """(group, record) of the groups of `segments` in the open packs."""
        for segment in segments:
            for name, handle in self._handles.items():
                for group, place in segment.groups_in(bytes.fromhex(leaf_of(name))):
                    yield group, os.pread(handle, place.length, place.offset)

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        handle = self._handles.get(name)
        if handle is not None and length is not None:
            data = os.pread(handle, length, offset)
            if len(data) == length:
                return data
        return super().load(name, offset, length)
