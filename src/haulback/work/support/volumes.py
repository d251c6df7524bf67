"""File systems of a backup, as a node reports them."""

from __future__ import annotations

from haulback.contract.store import BackupVolume
from haulback.filesystems.records import Volume as Found


def as_volume(volume: Found, path: str = "") -> BackupVolume:
    """The inventory record of a file system; `path` is its folder on the node."""
    return BackupVolume(
        name=volume.name,
        type=volume.type,
        size=volume.size,
        label=volume.label,
        uuid=volume.uuid,
        readable=volume.readable,
        reason=volume.reason,
        path=path,
        features=list(volume.features),
    )
