"""API requests that add or change objects, other than tasks and configuration records."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.inventory.damage import Verification
from haulback.inventory.retention import Retention
from haulback.wire import Ref


class NewNode(msgspec.Struct):
    """Request to add a third-party node, which uses only the task operations."""

    name: str


class ChangedNode(msgspec.Struct):
    """Changes of a node; absent members stay."""

    name: str | None = None
    nodeConfig: Ref | None = None


class NewPlace(msgspec.Struct, kw_only=True):
    """Members common to hypervisors and destinations; `path` is a folder on the node."""

    name: str
    path: str | None = None
    driver: str | None = None
    node: Ref | None = None


class NewHypervisor(NewPlace, kw_only=True):
    """Request to add a hypervisor: a folder of machines, or with `url` a libvirt.

    The URL of the node's own libvirt is qemu:///system, of another host
    qemu+ssh://user@host/system; `path` is then the storage folder for new disk images.
    """

    url: str | None = None
    hypervisorManager: Ref | None = None
    cluster: Ref | None = None


class ChangedHypervisor(msgspec.Struct, kw_only=True):
    """Changes of a hypervisor; absent members stay."""

    name: str | None = None
    hypervisorManager: Ref | None = None
    cluster: Ref | None = None


class NewDestination(NewPlace, kw_only=True):
    """Request to add a destination."""

    retention: Retention | None = None
    verification: Verification | None = None


class ChangedDestination(msgspec.Struct, kw_only=True):
    """Changes of a destination; absent members stay."""

    name: str | None = None
    retention: Retention | None = None
    verification: Verification | None = None


class MachineSettings(msgspec.Struct):
    """Settings of a machine; portals send the whole machine record back.

    `preCommand` and `postCommand` are shell commands in the guest before and after the snapshot of
    a backup; "" removes a command.
    """

    vmBackupPolicy: Ref | None = None
    snapshotMgmtPolicy: Ref | None = None
    project: str | None = None
    preCommand: str | None = None
    postCommand: str | None = None


class DiskSettings(msgspec.Struct):
    """Settings of a disk."""

    excludedFromBackup: bool


class Entities(msgspec.Struct):
    """References to machines."""

    entities: list[Ref]


class Hint(Enum):
    """Retention hint of a backup: overrides its age."""

    STANDARD_RETENTION = "STANDARD_RETENTION"
    TO_REMOVE = "TO_REMOVE"
    ARCHIVE = "ARCHIVE"


class TextValue(msgspec.Struct):
    """A text value (StringDTO)."""

    value: str


class PathRequest(msgspec.Struct):
    """A folder of a file system, by its absolute path."""

    path: str = "/"


class PathsRequest(msgspec.Struct):
    """Files and folders to download; `archive`: as a tar, even for one file."""

    paths: list[str]
    archive: bool = False


class FlagValue(msgspec.Struct):
    """A boolean value."""

    value: bool


class Marks(msgspec.Struct):
    """Retention hint for backup locations; `archiveExpire` (epoch ms) may end an ARCHIVE."""

    backupLocations: list[Ref]
    retentionHint: Hint
    archiveExpire: int | None = None


class NewUser(msgspec.Struct):
    """Request to add a user; without `projects` the user sees all projects."""

    login: str
    password: str
    roles: list[str]
    projects: list[str] | None = None
    uiTimeZone: str = "UTC"


class ChangedUser(msgspec.Struct):
    """Changes of a user; absent members stay.  `allProjects` lifts the limit to projects."""

    password: str | None = None
    roles: list[str] | None = None
    projects: list[str] | None = None
    allProjects: bool | None = None
    uiTimeZone: str | None = None


class NewToken(msgspec.Struct):
    """Request to make an API token; `roles` default to the user's roles, `validFor` in ms.

    `projects` default to the projects of the caller's token, or to all projects of the user.
    """

    name: str
    roles: list[str] | None = None
    validFor: int | None = None
    projects: list[str] | None = None


class ProtectedEntities(msgspec.Struct):
    """References to protected entities."""

    protectedEntities: list[Ref]
