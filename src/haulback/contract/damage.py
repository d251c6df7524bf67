"""Damage of stored backups, in the reports of nodes and in answers."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

_OBJECTS = 50  # objects that a report names for a disk
Text = Annotated[str, msgspec.Meta(max_length=2000)]
Guid = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class LocationStatus(Enum):
    """State of a stored backup; GIVEN_UP is a MISSING backup whose loss a user confirmed."""

    PRESENT = "PRESENT"
    DAMAGED = "DAMAGED"
    MISSING = "MISSING"
    GIVEN_UP = "GIVEN_UP"


class LostDisk(msgspec.Struct):
    """Unreadable bytes of one disk."""

    name: Annotated[str, msgspec.Meta(max_length=400)]
    bytes: Bytes


class Loss(msgspec.Struct):
    """The disks of a backup that lack data, and the damaged stored objects."""

    backup: Guid
    disks: list[LostDisk] = []
    objects: Annotated[list[Text], msgspec.Meta(max_length=_OBJECTS)] = []


class DamageReport(msgspec.Struct, omit_defaults=True):
    """Damage found by a task in a destination's repository: `damage` of the task's results.

    `losses` are backups that lack data, `unreadable` backups with an unreadable manifest, `missing`
    backups that are not stored.  `objects` are stored objects that are damaged now.  `unreliable`
    is the reason why no damage was recorded although many reads failed.  `findings` describe
    damaged small objects.  `complete` is true if the task read all backups, so every backup not
    named here is intact.  `found` (epoch ms, the server's clock) is the time of the finding, for
    reports that are sent later; 0: now.
    """

    destination: Guid
    losses: list[Loss] = []
    unreadable: list[Guid] = []
    missing: list[Guid] = []
    objects: list[Text] = []
    findings: list[Text] = []
    unreliable: Text = ""
    complete: bool = False
    found: Bytes = 0


MOST_REPORTS = 50  # most reports of a task or mount
Reports = Annotated[list[DamageReport], msgspec.Meta(max_length=MOST_REPORTS)]


def reports_of(told: object) -> list[DamageReport]:
    """The reports in `damage` of a task's results: one, or a list of them for several destinations.

    Raises msgspec.ValidationError.
    """
    known = msgspec.convert(told, DamageReport | Reports)
    return [known] if isinstance(known, DamageReport) else known


class BackupDamage(msgspec.Struct, omit_defaults=True):
    """The damage of a backup as the catalogue stores it; `since` in epoch ms.

    `foundBy` is the task type and guid of the task that found the damage.  `confirmed` (epoch ms)
    and `confirmedBy` record the user who confirmed that the backup is lost.
    """

    since: int
    foundBy: str
    disks: list[LostDisk] = []
    objects: list[str] = []
    confirmed: int | None = None
    confirmedBy: str | None = None

    @property
    def bytes(self) -> int:
        """Total lost bytes of all disks."""
        return sum(disk.bytes for disk in self.disks)
