"""Guids of disks and of files of backups: made from what they belong to, so nothing stores them."""

from __future__ import annotations

import uuid


def disk_guid(entity: str, name: str) -> str:
    """The guid of an entity's disk."""
    return str(uuid.uuid5(uuid.UUID(entity), f"disk/{name}"))


def file_guid(backup: str, name: str) -> str:
    """The guid of the file that holds a disk in a backup."""
    return str(uuid.uuid5(uuid.UUID(backup), f"file/{name}"))
