"""Checks of a folder's location: its share is mounted, and it lies inside no repository."""

from __future__ import annotations

from pathlib import Path

from haulback.errors import Conflict, Unavailable
from haulback.mount_table import mount_of

_IDENTITY = ("haulback.json", "haulback.copy.json")
_KINDS = {
    "NFS": frozenset({"nfs", "nfs4"}),
    "SMB": frozenset({"cifs", "smb3", "smbfs"}),
}


def require_mounted(path: Path, share: str, table: str | None = None) -> None:
    """Check that a folder lies on a share of the kind that its settings name.

    An empty mount point must not look like an empty destination.  `table` is the text of
    /proc/self/mountinfo, which is read by default.  Raises Unavailable.
    """
    kinds = _KINDS.get(share)
    if kinds is None:
        return
    mount = mount_of(path.resolve(), table)
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
