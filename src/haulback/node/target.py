"""Where files are restored to: below a configured root, complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from haulback.disk import translate
from haulback.errors import Conflict, Forbidden, Malformed
from haulback.node.home import Home


class FolderTarget:
    """A hidden folder in the root that becomes the wanted one.  Raises Forbidden or Conflict."""

    def __init__(self, home: Home, path: str, attempt: str) -> None:
        self.final, root = _checked(home, Path(path))
        self._disk = home.disk
        if _is_taken(self.final):
            raise Conflict(f"restorePath: {path} exists and is not empty", field="restorePath")
        self.folder = home.room(root, attempt)
        self._disk.make_folder(self.folder)

    def commit(self) -> Path:
        self._disk.sync_folder(self.folder)
        self.final.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(self.folder, self.final)
        except OSError as error:
            if _is_taken(self.final):
                raise Conflict(f"{self.final} came into being meanwhile") from None
            raise translate(error, self.final) from error
        self._disk.sync_folder(self.final.parent)
        return self.final


def _checked(home: Home, path: Path) -> tuple[Path, Path]:
    """The path without links and dots, and the root it lies below."""
    if not path.is_absolute():
        raise Malformed("restorePath: name a folder by its absolute path", field="restorePath")
    resolved = path.resolve()
    for root in home.roots:
        if resolved != root and resolved.is_relative_to(root):
            root.mkdir(parents=True, exist_ok=True)
            return resolved, root
    allowed = ", ".join(map(str, home.roots)) or "none is configured"
    raise Forbidden(f"restorePath: {path} is not below a restore root of this node ({allowed})")


def _is_taken(path: Path) -> bool:
    return path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir())))
