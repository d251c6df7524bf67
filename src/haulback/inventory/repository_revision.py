"""The repository revision that nodes need, and the task types that write repositories."""

from __future__ import annotations

REVISION = 2  # repository format that a writing node must support (repository/config.py)
WRITING = frozenset(
    ("EXPORT", "STORE", "BACKUP_CLEANUP", "BACKUP_DESTINATION_SYNC", "DELETE", "REPAIR")
)
