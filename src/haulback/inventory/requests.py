"""What people ask the API to add or change, other than tasks and kept records."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.inventory.damage import Verification
from haulback.inventory.retention import Retention
from haulback.wire import Ref, Word


class NewNode(msgspec.Struct):
    """A node that speaks the task operations and nothing else."""

    name: str


class ChangedNode(msgspec.Struct):
    """What of a node is to change; absent members stay."""

    name: str | None = None
    nodeConfig: Ref | None = None


class NewPlace(msgspec.Struct, kw_only=True):
    """What hypervisors and destinations share; `path` is a folder on its node."""

    name: str
    path: str | None = None
    driver: str | None = None
    node: Ref | None = None


class NewHypervisor(NewPlace, kw_only=True):
    """A hypervisor to be added: a folder of machines, or with `url` a libvirt.

    The node's own by qemu:///system, another host's by qemu+ssh://user@host/system; `path` is
    where new images go then.
    """

    type: Word | None = None
    url: str | None = None
    hypervisorManager: Ref | None = None
    cluster: Ref | None = None


class ChangedHypervisor(msgspec.Struct, kw_only=True):
    """What of a hypervisor is to change; absent members stay."""

    name: str | None = None
    hypervisorManager: Ref | None = None
    cluster: Ref | None = None


class NewDestination(NewPlace, kw_only=True):
    """A destination to be added; a `type` that is named must be one that is served."""

    type: Word | None = None

    retention: Retention | None = None
    verification: Verification | None = None


class ChangedDestination(msgspec.Struct, kw_only=True):
    """What of a destination is to change; absent members stay."""

    type: Word | None = None
    name: str | None = None
    retention: Retention | None = None
    verification: Verification | None = None


class MachineSettings(msgspec.Struct):
    """What people may set of a machine: portals send the whole record back.

    The commands are for a shell inside it, before and after the moment of a backup; "" takes one
    off.
    """

    vmBackupPolicy: Ref | None = None
    snapshotMgmtPolicy: Ref | None = None
    project: str | None = None
    preCommand: str | None = None
    postCommand: str | None = None


class DiskSettings(msgspec.Struct):
    """What people may set of a disk."""

    excludedFromBackup: bool


class Entities(msgspec.Struct):
    """Machines a portal asks about."""

    entities: list[Ref]


class Hint(Enum):
    """What retention is to do with a backup whatever its age."""

    STANDARD_RETENTION = "STANDARD_RETENTION"
    TO_REMOVE = "TO_REMOVE"
    ARCHIVE = "ARCHIVE"


class TextValue(msgspec.Struct):
    """StringDTO."""

    value: str


class PathRequest(msgspec.Struct):
    """A folder of a file system, by its absolute path."""

    path: str = "/"


class PathsRequest(msgspec.Struct):
    """Files and folders to fetch; `archive`: as a tar, even if it is one file."""

    paths: list[str]
    archive: bool = False


class FlagValue(msgspec.Struct):
    """A yes or a no."""

    value: bool


class Marks(msgspec.Struct):
    """Which locations to mark, and how; an ARCHIVE may have an end."""

    backupLocations: list[Ref]
    retentionHint: Hint
    archiveExpire: int | None = None


class NewUser(msgspec.Struct):
    """A user; `projects` absent: all of them."""

    login: str
    password: str
    roles: list[str]
    projects: list[str] | None = None
    uiTimeZone: str = "UTC"


class ChangedUser(msgspec.Struct):
    """What of a user is to change; absent members stay.  `allProjects` lifts a confinement."""

    password: str | None = None
    roles: list[str] | None = None
    projects: list[str] | None = None
    allProjects: bool | None = None
    uiTimeZone: str | None = None


class NewToken(msgspec.Struct):
    """An API token: a name, roles (those of its user if absent), ms until it ends.

    `projects` absent: those that the caller is narrowed to, or all of its user.
    """

    name: str
    roles: list[str] | None = None
    validFor: int | None = None
    projects: list[str] | None = None


class ProtectedEntities(msgspec.Struct):
    """Guids of machines."""

    protectedEntities: list[Ref]
