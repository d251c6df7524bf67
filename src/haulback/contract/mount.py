"""Requests, order and result of MOUNT."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from haulback.contract.damage import Reports
from haulback.contract.mounts import MountMode
from haulback.contract.order_records import BackupDestination, BackupPlace, Hypervisor
from haulback.contract.restore import LocationRef
from haulback.contract.store import BackupVolume
from haulback.wire import Name, Ref

_LONGEST = 200  # bytes of a file name; file systems allow 255


class PublishedFolder(msgspec.Struct):
    """A folder to mount at `path`.

    The folder shows `volume`, or all volumes, each in a sub-folder. With `disks` the folder shows
    these disks as raw files instead.
    """

    path: str
    volume: str = ""
    disks: list[str] = []


class IscsiOrder(msgspec.Struct, kw_only=True):
    """Disks to offer by iSCSI (the first is LUN 1) and names of the allowed initiators (IQN).

    `port` is the previous port of the share; 0 takes the first free port, starting at the port of
    `portal` (ADDRESS:PORT).
    """

    disks: list[str]
    clients: list[str]
    port: int = 0
    portal: str = ""


class MountedFileSystemChoice(msgspec.Struct):
    """MountedFileSystemRequest."""

    fileSystem: Ref | None = None
    mountPath: str | None = None


class MountedDisk(msgspec.Struct):
    """A disk to share."""

    backupFile: Ref


class MountRequest(msgspec.Struct, kw_only=True):
    """RestoreAndMountTaskRequest; `unmountTime` in ms, 0 without end."""

    mode: MountMode
    backup: Ref | None = None
    backupLocation: LocationRef | None = None
    mountedFileSystems: list[MountedFileSystemChoice] | None = None
    mountedDisks: list[MountedDisk] | None = None
    allowedClients: list[str] | None = None
    unmountTime: int | None = None
    node: Ref | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class RemountRequest(msgspec.Struct, kw_only=True):
    """MountTaskRequest."""

    mountedBackup: Ref
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class MountOrder(msgspec.Struct, kw_only=True):
    """The backup to mount, and the folders, the iSCSI target or the hypervisor that receive its
    disks.

    `others` are other locations of the backup.
    """

    mount: str
    backup: str
    destination: BackupDestination
    visible: list[PublishedFolder] = []
    target: IscsiOrder | None = None
    hypervisor: Hypervisor | None = None
    others: list[BackupPlace] = []


class MountDamage(msgspec.Struct):
    """The damage that the readers of a mount have found so far, by destination."""

    reports: Reports


class MountResult(msgspec.Struct):
    """The node's report: file systems and disks, sizes in bytes; see `mounts.spec.MountState`."""

    disks: dict[Name, int] = {}
    raw: str = ""
    portal: str = ""
    volumes: list[BackupVolume] = []


def files_of(disks: Sequence[str]) -> dict[str, str]:
    """File names that represent disks, by disk name.

    Slashes become hyphens. If two names collide or a name is too long, all files are numbered.
    """
    plain = {disk: disk.replace("/", "-") for disk in disks}
    fits = len(set(plain.values())) == len(plain)
    if fits and all(len(os.fsencode(name)) < _LONGEST for name in plain.values()):
        return plain
    return {disk: f"disk{number}" for number, disk in enumerate(disks)}
