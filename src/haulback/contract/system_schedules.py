"""Requests of /system-schedules: the work that Haulback does for itself."""

from __future__ import annotations

from enum import Enum

from haulback.contract.prove import BootSign
from haulback.contract.schedules import ScheduledRecord
from haulback.wire import Ref


class SystemTask(Enum):
    """Tasks that Haulback does for itself."""

    INVENTORY = "INVENTORY"
    RETENTION = "RETENTION"
    VERIFY = "VERIFY"
    PROVE = "PROVE"
    TIDY = "TIDY"
    OWN_DATABASE = "OWN_DATABASE"


class SystemSchedule(ScheduledRecord, kw_only=True):
    """A system schedule: its task, which cannot be changed, and its times in the form of a
    schedule.

    PROVE boots at most `most` machines in one fire, `atOnce` at the same time, and waits for
    `sign`; it starts no boot after `startWindowLength` ms.  OWN_DATABASE stores the backup on
    `backupDestination`, by default the only destination.
    """

    task: SystemTask | None = None
    atOnce: int | None = None
    most: int | None = None
    sign: BootSign | None = None
    backupDestination: Ref | None = None
