"""Derived guids (UUIDv5) of disks, files and file systems; derived guids need not be stored."""

from __future__ import annotations

import uuid


def disk_guid(entity: str, name: str) -> str:
    """Guid of an entity's disk."""
    return str(uuid.uuid5(uuid.UUID(entity), f"disk/{name}"))


def volume_guid(owner: str, name: str) -> str:
    """Guid of a file system of a backup or of a mounted backup; `owner` is the guid of either."""
    return str(uuid.uuid5(uuid.UUID(owner), f"volume/{name}"))


def file_guid(backup: str, name: str) -> str:
    """Guid of the backup file that holds a disk."""
    return str(uuid.uuid5(uuid.UUID(backup), f"file/{name}"))
