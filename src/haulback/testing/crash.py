"""Simulated power loss: a disk that stops at the n-th operation and loses unsynced data."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import IO

from haulback.durable_files import DurableFiles


class PowerLost(BaseException):
    """Simulated end of the process; a BaseException, so that no `except Exception` handles it."""


class CrashingDisk(DurableFiles):
    """A Disk that counts operations and raises PowerLost at operation number `fail_at`.

    `drop_unsynced` then loses the data that was not durable: bytes of files that were not synced
    since their last write (a random prefix survives, as after a torn write), and names whose folder
    was not synced. `seed` selects the random choices.
    """

    def __init__(self, fail_at: int | None = None, seed: int = 0) -> None:
        self.operations, self.fail_at = 0, fail_at
        self._random = random.Random(seed)
        self._dirty: dict[Path, int] = {}
        self._names: dict[Path, Path | None] = {}
        self._open: list[IO[bytes]] = []

    def create(self, path: Path) -> IO[bytes]:
        self._step()
        file = super().create(path)
        self._open.append(file)
        self._names[path] = None
        self._dirty[path] = 0
        return file

    def write(self, file: IO[bytes], data: bytes | bytearray | memoryview) -> None:
        self._step()
        self._dirty.setdefault(Path(file.name), os.fstat(file.fileno()).st_size)
        super().write(file, data)

    def sync(self, file: IO[bytes]) -> None:
        self._step()
        super().sync(file)
        self._dirty.pop(Path(file.name), None)

    def link(self, source: Path, target: Path) -> None:
        self._step()
        super().link(source, target)
        self._names[target] = None

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        super().replace(source, target)
        self._names[target] = source
        self._names.pop(source, None)
        if source in self._dirty:
            self._dirty[target] = self._dirty.pop(source)

    def unlink(self, path: Path) -> None:
        self._step()
        super().unlink(path)
        self._names.pop(path, None)

    def sync_folder(self, folder: Path) -> None:
        self._step()
        super().sync_folder(folder)
        for path in [path for path in self._names if path.parent == folder]:
            del self._names[path]

    def drop_unsynced(self) -> None:
        """Apply the power loss: drop unsynced bytes and a random half of the unsynced names."""
        for file in self._open:
            file.close()
        for path, durable in self._dirty.items():
            if path.exists():
                os.truncate(path, self._random.randint(durable, path.stat().st_size))
        for path, before in self._names.items():
            if path.exists() and self._random.random() < 0.5:
                if before is None:
                    path.unlink()
                else:
                    path.rename(before)

    def _step(self) -> None:
        self.operations += 1
        if self.fail_at is not None and self.operations >= self.fail_at:
            raise PowerLost
