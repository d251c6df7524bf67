"""API requests that add or change objects, other than tasks and configuration records."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from haulback.inventory.damage import Verification
from haulback.inventory.retention import Retention
from haulback.wire import Ref, Word


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

    type: Word | None = None
    url: str | None = None
    hypervisorManager: Ref | None = None
    cluster: Ref | None = None


class ChangedHypervisor(msgspec.Struct, kw_only=True):
    """Changes of a hypervisor; absent members stay."""

    name: str | None = None
    hypervisorManager: Ref | None = None
    cluster: Ref | None = None


class NewDestination(NewPlace, kw_only=True):
    """A destination to be added; a `type` that is named must be one that is served."""

    type: Word | None = None

    retention: Retention | None = None
    verification: Verification | None = None


class ChangedDestination(msgspec.Struct, kw_only=True):
    """Changes of a destination; absent members stay."""

    type: Word | None = None
    name: str | None = None
    retention: Retention | None = None
    verification: Verification | None = None


class ProjectName(msgspec.Struct):
    """A project as machines name it."""

    guid: str


class MachineSettings(msgspec.Struct):
    """Settings of a machine; portals send the whole machine record back.

    `project` is its uuid, or an object with the guid of its record or its uuid as `guid`.

    The commands are for a shell inside it, before and after the moment of a backup; "" takes one
    off.
    """

    vmBackupPolicy: Ref | None = None
    snapshotMgmtPolicy: Ref | None = None
    project: ProjectName | None = None
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


class MarkedLocation(msgspec.Struct):
    """A location as portals send it back, with the hint that is wanted.

    `guid` is that of the location or, as one portal sends it, of its backup; `archiveExpire` is
    epoch ms or a date in ISO 8601, and counts with ARCHIVE alone.
    """

    guid: str
    retentionHint: Hint
    backup: Ref | None = None
    archiveExpire: Any = None


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
