"""Staging folders and restore folders of an attempt."""

from __future__ import annotations

from pathlib import Path

from haulback.node.restore_target import FolderRestore
from haulback.node.state_dir import StateDir


class TaskStaging:
    """Staging of attempt number `number` of the task `guid`; creates the folder of the attempt."""

    def __init__(self, guid: str, number: int, home: StateDir) -> None:
        self._guid, self._attempt, self._home = guid, f"{guid}-{number}", home
        self.folder = home.stage(self._attempt)

    def of(self, attempt: str) -> Path:
        return self._home.staging(attempt)

    def discard(self, attempt: str) -> None:
        self._home.discard(attempt)

    def leftovers(self) -> list[str]:
        return self._home.leftovers()

    def restore_folder(self, path: str) -> FolderRestore:
        return FolderRestore(self._home, path, self._guid, self._attempt)
