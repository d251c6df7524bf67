"""Guids of disks, files and file systems: made from what they belong to, so nothing stores them."""

from __future__ import annotations

import uuid


def disk_guid(entity: str, name: str) -> str:
    """The guid of an entity's disk."""
    return str(uuid.uuid5(uuid.UUID(entity), f"disk/{name}"))


def volume_guid(owner: str, name: str) -> str:
    """The guid of a file system in a backup, or of the same as a mounted backup shows it."""
    return str(uuid.uuid5(uuid.UUID(owner), f"volume/{name}"))


def file_guid(backup: str, name: str) -> str:
    """The guid of the file that holds a disk in a backup."""
    return str(uuid.uuid5(uuid.UUID(backup), f"file/{name}"))
