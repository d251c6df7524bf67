"""Answers of /alarms."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.wire import JsonObject, Label, Named


class AlarmKind(Enum):
    """Alarm kinds; the comment of each kind names the subjects."""

    SOURCE_NOT_BELIEVED = "SOURCE_NOT_BELIEVED"  # a hypervisor
    MACHINE_UNREADABLE = "MACHINE_UNREADABLE"  # a machine, or its hypervisor
    BACKUP_DAMAGED = "BACKUP_DAMAGED"  # a backup
    BACKUP_MISSING = "BACKUP_MISSING"  # a backup
    CLEANUP_BLOCKED = "CLEANUP_BLOCKED"  # a destination; details: bytes not freed
    REPOSITORY_DAMAGED = "REPOSITORY_DAMAGED"  # a destination
    VERIFY_OVERDUE = "VERIFY_OVERDUE"  # a destination
    DESTINATION_UNRELIABLE = "DESTINATION_UNRELIABLE"  # a destination; no backup was marked
    DESTINATION_AWAY = "DESTINATION_AWAY"  # a destination whose breaker is open: its tasks wait
    DESTINATION_FULL = "DESTINATION_FULL"  # a destination: new backups wait for space
    RETENTION_WAITS = "RETENTION_WAITS"  # a rule, until a user confirms its retention
    DESTINATION_TAKEN_OVER = "DESTINATION_TAKEN_OVER"  # a destination; details: the new owner
    SERVER_HELD = "SERVER_HELD"  # the server's own database; details: time of the restored copy


class AlarmRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """An alarm as the API shows it.

    `since` and `seen` are epoch ms; `details` depend on the alarm kind.
    """

    guid: str
    kind: Label
    subject: Named
    since: int
    seen: int
    text: str
    details: JsonObject
    project: str | None = None
