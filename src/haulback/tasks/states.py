"""Task states and the state changes that users may make."""

from __future__ import annotations

from enum import Enum

from haulback.errors import Conflict, Forbidden


class State(Enum):
    """The contract's five task states; the internal state PLANNED is only shown in workflows."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        return self in FINAL


class BackupType(Enum):
    """Backup types."""

    FULL = "FULL"
    INCREMENTAL = "INCREMENTAL"
    SYNCHRONIZATION = "SYNCHRONIZATION"
    SYNTHETIC = "SYNTHETIC"


class EntityType(Enum):
    """Types of protected entities."""

    APP = "APP"
    CLOUD = "CLOUD"
    CLOUD_GROUP = "CLOUD_GROUP"
    CLOUD_SITE = "CLOUD_SITE"
    CLOUD_TEAMS = "CLOUD_TEAMS"
    CLOUD_USER = "CLOUD_USER"
    OS = "OS"
    OS_AGENT = "OS_AGENT"
    STORAGE = "STORAGE"
    VM = "VM"


class MountMode(Enum):
    """Mount modes of a backup."""

    AUTO = "AUTO"
    CLOUD_DOWNLOAD = "CLOUD_DOWNLOAD"
    CLOUD_PST_DOWNLOAD = "CLOUD_PST_DOWNLOAD"
    INSTANT_RESTORE = "INSTANT_RESTORE"
    ISCSI = "ISCSI"
    MANUAL = "MANUAL"
    OS_DOWNLOAD = "OS_DOWNLOAD"


class Allocation(Enum):
    """Allocation formats of restored disks."""

    PREALLOCATED = "PREALLOCATED"
    SPARSE = "SPARSE"


PLANNED = "PLANNED"
FINAL = frozenset({State.FINISHED, State.FAILED, State.CANCELLED})
_BY_USER = {State.QUEUED: {State.CANCELLED, State.QUEUED}, State.RUNNING: {State.CANCELLED}}


def check_move(now: State, to: State) -> None:
    """Check a state change that a user requests.

    Raises Conflict when the state forbids the change, Forbidden when only the task's node may make
    the change.
    """
    if to in _BY_USER.get(now, set()):
        return
    if to in (State.RUNNING, State.FINISHED, State.FAILED):
        raise Forbidden(f"only the node that runs a task may set it {to.value}")
    if now.final:
        raise Conflict(f"the task is {now.value}, which is final", state=now.value)
    raise Conflict(f"a task cannot go from {now.value} to {to.value}", state=now.value)
