"""Restore target in a folder below a restore root: complete or absent."""

from __future__ import annotations

import os
from pathlib import Path

from haulback.errors import Conflict, Forbidden, Malformed
from haulback.node.state_dir import StateDir

MARK = ".haulback"  # holds the guid of the task that restored the folder
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class FolderRestore:
    """A hidden folder in the restore root that `commit` renames to the requested folder.

    `made` is the requested folder if an earlier attempt of the same task completed it.  Raises
    Malformed for a relative path, Forbidden outside the restore roots, Conflict when the folder is
    in use.
    """

    def __init__(self, home: StateDir, path: str, task: str, attempt: str) -> None:
        self.final, self._root = _checked(home, Path(path))
        self._disk = home.disk
        self.folder = home.restore_folder(self._root, attempt)
        self.made = self.final if _mark_of(self.final) == task else None
        if self.made:
            return
        if _is_taken(self.final):
            raise Conflict(
                f"restorePath: {path} exists and is not empty; name a new folder",
                field="restorePath",
            )
        self._disk.make_folder(self.folder)
        self._disk.write_file(self.folder / MARK, task.encode())

    def commit(self) -> Path:
        """Move the hidden folder to its place.  Raises Forbidden or Conflict.

        The path is walked from the root without following links, since a link may appear after the
        check.
        """
        self._disk.sync_folder(self.folder)
        root = os.open(self._root, _FOLDER)
        try:
            parent = _walk(root, self.final.parent.relative_to(self._root).parts)
            try:
                os.rename(self.folder.name, self.final.name, src_dir_fd=root, dst_dir_fd=parent)
                os.fsync(parent)
            finally:
                if parent != root:
                    os.close(parent)
            os.fsync(root)
        except NotADirectoryError:
            raise Forbidden(f"{self.final} is no longer below {self._root}") from None
        except OSError as error:
            raise Conflict(f"{self.final} cannot be made: {error.strerror}") from None
        finally:
            os.close(root)
        return self.final


def _walk(root: int, parts: tuple[str, ...]) -> int:
    """Open the folder `parts` below `root`, creating missing folders durably."""
    at = root
    for part in parts:
        try:
            os.mkdir(part, dir_fd=at)
            os.fsync(at)
        except FileExistsError:
            pass
        below = os.open(part, _FOLDER, dir_fd=at)
        if at != root:
            os.close(at)
        at = below
    return at


def _checked(home: StateDir, path: Path) -> tuple[Path, Path]:
    """Resolve links and dots of the path, and find its restore root."""
    if not path.is_absolute():
        raise Malformed("restorePath: give the absolute path of a folder", field="restorePath")
    resolved = path.resolve()
    for root in home.roots:
        if resolved != root and resolved.is_relative_to(root):
            root.mkdir(parents=True, exist_ok=True)
            return resolved, root
    allowed = ", ".join(map(str, home.roots)) or "none is configured"
    raise Forbidden(
        f"restorePath: {path} is not below a restore root of this node ({allowed}); name "
        "a folder below a restore root, or start the node with another --restore-root"
    )


def _mark_of(path: Path) -> str | None:
    try:
        return (path / MARK).read_text()[:100]
    except (OSError, UnicodeDecodeError):
        return None


def _is_taken(path: Path) -> bool:
    return path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir())))
