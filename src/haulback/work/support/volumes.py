"""File systems of a backup, as a node reports them."""

from __future__ import annotations

from haulback.contract.store import BackupVolume
from haulback.filesystems.records import Volume as Found


def as_volume(found: Found, path: str = "") -> BackupVolume:
    """A file system as the inventory keeps it; `path` is where a node shows it."""
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
