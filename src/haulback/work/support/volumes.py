"""File systems of a backup, as a node reports them."""

from __future__ import annotations

from haulback.contract.store import BackupVolume
from haulback.filesystems.records import Volume as Found


def as_volume(found: Found, path: str = "") -> BackupVolume:
    """The inventory record of a file system; `path` is its folder on the node."""
    return BackupVolume(
        name=found.name,
        type=found.type,
        size=found.size,
        label=found.label,
        uuid=found.uuid,
        readable=found.readable,
        reason=found.reason,
        path=path,
    )
