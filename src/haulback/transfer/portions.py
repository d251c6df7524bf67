"""The data of a copy, published in portions before its manifest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from haulback.repository.pack_verification import PackMemory
from haulback.repository.repository import Repository
from haulback.repository.repository_state import RepositoryState
from haulback.repository.resources import Resources
from haulback.repository.writer import Writer
from haulback.units import GIB

PORTION = GIB  # stored bytes that are published together


class CopyServices(NamedTuple):
    """Services of the node for a copy: `folder` is staging, empty at first."""

    folder: Path
    resources: Resources
    memory: PackMemory | None = None


class Portions:
    """A writer to `target` whose finished part is published and made reusable from time to time.

    `packs` are the names of the published packs; `stored` is their size in bytes.  A given `look`
    is the state for the first portion, and is read again after each portion; without it each
    portion reads the state when it begins.
    """

    def __init__(
        self, target: Repository, services: CopyServices, look: RepositoryState | None = None
    ) -> None:
        self._target, self._services, self.look = target, services, look
        self._open: Writer | None = None
        self._number = 0
        self.packs: list[str] = []
        self.stored = 0

    @property
    def writer(self) -> Writer:
        """The writer of the present portion."""
        if self._open is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            resources, memory = self._services.resources, self._services.memory
            self._open = self._target.writer(
                self._folder, resources.pool, resources.disk, memory, self.look
            )
        return self._open

    @property
    def _folder(self) -> Path:
        return self._services.folder / f"portion{self._number}"

    @property
    def is_full(self) -> bool:
        """Whether the present portion has the size of a portion."""
        return self._open is not None and self._open.size >= PORTION

    def publish(self) -> None:
        """Publish the present portion, so that the next portion finds its chunks in the index."""
        if self._open is None:
            return
        staged = self._open.finish()
        self._open = None
        self._services.resources.confirm()
        if staged.packs:
            self.packs += self._target.publish_portion(self._folder, staged)
            self.stored += staged.stored
            self.look = self._target.look() if self.look else None
        shutil.rmtree(self._folder, ignore_errors=True)
        self._number += 1

    def abandon(self) -> None:
        """Close the files of the present portion, which stays unpublished."""
        if self._open:
            self._open.abandon()
