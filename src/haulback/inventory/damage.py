"""The state of a stored backup on its destination, and the report by which nodes change it."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

REVISION = 2  # of the repository format that a node must know to write (repository/config.py)
WRITING = frozenset(("EXPORT", "STORE", "BACKUP_CLEANUP", "DELETE", "REPAIR"))
_OBJECTS = 50
Text = Annotated[str, msgspec.Meta(max_length=2000)]
Guid = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class LocationStatus(Enum):
    """The state of a stored backup.  GIVEN_UP is a MISSING one whose loss a person confirmed."""

    PRESENT = "PRESENT"
    DAMAGED = "DAMAGED"
    MISSING = "MISSING"
    GIVEN_UP = "GIVEN_UP"


class DiskLoss(msgspec.Struct):
    """Bytes of one disk that cannot be read."""

    name: Annotated[str, msgspec.Meta(max_length=400)]
    bytes: Bytes


class Loss(msgspec.Struct):
    """The disks of a backup that lack data, and the stored objects to blame."""

    backup: Guid
    disks: list[DiskLoss] = []
    objects: Annotated[list[Text], msgspec.Meta(max_length=_OBJECTS)] = []


class DamageReport(msgspec.Struct, omit_defaults=True):
    """Faults that a task found in the repository of a destination: `damage` of its results.

    `losses` are backups that lack data, `unreadable` those whose manifest does not open, `missing`
    those that are not there.  `objects` are stored objects that are damaged now.  `unreliable` says
    why nothing was recorded although much could not be read.  `findings` are sentences about small
    objects.  `complete`: all backups were looked at, so that those not named are whole.
    """

    destination: Guid
    losses: list[Loss] = []
    unreadable: list[Guid] = []
    missing: list[Guid] = []
    objects: list[Text] = []
    findings: list[Text] = []
    unreliable: Text = ""
    complete: bool = False


class Damage(msgspec.Struct, omit_defaults=True):
    """The damage of a backup as the catalogue keeps it; `since` in epoch ms.

    `foundBy` is the kind of task and its guid, `confirmed` (epoch ms) and `confirmedBy` a person's
    word that the backup is lost.
    """

    since: int
    foundBy: str
    disks: list[DiskLoss] = []
    objects: list[str] = []
    confirmed: int | None = None
    confirmedBy: str | None = None

    @property
    def bytes(self) -> int:
        """Bytes that are lost in all."""
        return sum(disk.bytes for disk in self.disks)


class Verification(msgspec.Struct, kw_only=True):
    """How a destination is verified by itself: every byte within so many `days`.

    `active` false: only when asked.  `seconds` bounds a nightly run.
    """

    active: bool = True
    days: int = 30
    seconds: int = 14_400


class VerifyState(msgspec.Struct, omit_defaults=True):
    """How far a destination is verified; times in epoch ms.

    `cursor` is the last pack read; `begun` when the round under way began, `completed` when the
    last whole one ended; `ran` when the last task ended, `planned` when the last nightly one was
    planned.  `looked` is the backup after which the next task looks at maps first.
    """

    cursor: str = ""
    begun: int = 0
    completed: int = 0
    ran: int = 0
    planned: int = 0
    looked: str = ""
