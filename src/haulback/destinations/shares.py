"""Checks of a folder's location: its share is mounted, and it lies inside no repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from haulback.errors import Conflict, Unavailable

_TABLE = Path("/proc/self/mountinfo")
_IDENTITY = ("haulback.json", "haulback.copy.json")
_KINDS = {
    "NFS": frozenset({"nfs", "nfs4"}),
    "SMB": frozenset({"cifs", "smb3", "smbfs"}),
}
_OCTAL = re.compile(r"\\([0-7]{3})")


class FileSystemMount(NamedTuple):
    """A mounted file system: its folder, its type and its source."""

    folder: str
    kind: str
    source: str


def require_mounted(path: Path, share: str, table: str | None = None) -> None:
    """Check that a folder lies on a share of the kind that its settings name.

    An empty mount point must not look like an empty destination.  `table` is the text of
    /proc/self/mountinfo, which is read by default.  Raises Unavailable.
    """
    kinds = _KINDS.get(share)
    if kinds is None:
        return
    mount = mount_of(path.resolve(), _TABLE.read_text() if table is None else table)
    if mount is None or mount.kind not in kinds:
        on = f"{mount.kind} ({mount.source} on {mount.folder})" if mount else "no mounted folder"
        raise Unavailable(
            f"the {share} share of destination folder {path} is not mounted: the folder is on "
            f"{on}; mount the share, or change the setting share"
        )


def require_no_repository_around(root: Path) -> None:
    """Check that a folder for a new repository lies inside no other.  Raises Conflict."""
    for folder in root.resolve().parents:
        if any((folder / name).is_file() for name in _IDENTITY):
            raise Conflict(
                f"path: {root} lies inside the repository in {folder}; name another folder",
                field="path",
            )


def mount_of(path: Path, table: str) -> FileSystemMount | None:
    """The file system of a folder by the text of a mountinfo table; None without an entry.

    If a folder has several mounts, the last one counts.
    """
    best: FileSystemMount | None = None
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(rest) < 2:
            continue
        mount = FileSystemMount(_plain(fields[4]), rest[0], _plain(rest[1]))
        is_deeper = best is None or len(mount.folder) >= len(best.folder)
        if path.is_relative_to(mount.folder) and is_deeper:
            best = mount
    return best


def _plain(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
