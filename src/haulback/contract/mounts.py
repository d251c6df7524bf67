"""Requests and answers of /mounted-backups: mounts, their file systems, files and iSCSI targets."""

from __future__ import annotations

from enum import Enum

import msgspec

from haulback.wire import JsonObject, Label, Named


class MountMode(Enum):
    """Mount modes of a backup."""

    AUTO = "AUTO"
    CLOUD_DOWNLOAD = "CLOUD_DOWNLOAD"
    CLOUD_PST_DOWNLOAD = "CLOUD_PST_DOWNLOAD"
    INSTANT_RESTORE = "INSTANT_RESTORE"
    ISCSI = "ISCSI"
    MANUAL = "MANUAL"
    OS_DOWNLOAD = "OS_DOWNLOAD"


class PathRequest(msgspec.Struct):
    """A folder of a file system, by its absolute path."""

    path: str = "/"


class PathsRequest(msgspec.Struct):
    """Files and folders to download; with `archive` as a tar, even for one file."""

    paths: list[str]
    archive: bool = False


class MountedBackup(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A mounted backup, now or earlier; times in epoch ms, sizes in bytes.

    `unmountTime` is the time when the mount will end, or when it ended.  `machine` is the uuid of a
    machine that runs from the mount.
    """

    guid: str
    name: str
    backup: JsonObject
    protectedEntity: Named
    mode: Label
    state: Label
    node: Named
    mountedFileSystemCount: int
    mountedFileCount: int
    creationTime: int
    mountTime: int | None = None
    unmountTime: int | None = None
    hypervisor: Named | None = None
    machine: str | None = None


class BackupFileSystem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A file system of a backup; size in bytes.

    `readable` is true if the root folder was opened.  `reason` says why the file system cannot be
    read, or is a warning.  `features` are the notable features that the superblock names, such as
    encrypt or casefold.
    """

    guid: str
    volume: str
    type: str
    label: str
    size: int
    uuid: str | None = None
    readable: bool = True
    reason: str | None = None
    features: list[str] = []


class MountedFileSystem(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A file system of a mounted backup; `mountPath` is a path on the node."""

    guid: str
    mountedBackup: Named
    fileSystem: BackupFileSystem
    mountPath: str | None = None


class Lun(msgspec.Struct):
    """An iSCSI LUN; size in bytes."""

    lun: int
    disk: str
    size: int


class IscsiTarget(msgspec.Struct, kw_only=True):
    """An iSCSI target: `portal` is HOST:PORT, `user` and `secret` are the CHAP login."""

    target: str
    portal: str
    user: str
    secret: str
    allowedClients: list[str]
    disks: list[Lun]


class MountedFile(msgspec.Struct, kw_only=True):
    """A disk of a mounted backup; `path` is its file on the node, or its name; size in bytes."""

    guid: str
    path: str
    size: int
    randomAccess: bool


class FileRow(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A directory entry; `modified` in epoch ms, `permissions` in the nine letters of `ls -l`.

    `fileType`: DIRECTORY, REGULAR_FILE, SYMLINK, BROKEN_SYMLINK or OTHER.  `contents`: READABLE,
    NOT_READABLE with the `reason`, or NOT_TRIED: a listing does not open files.  `readable` is
    absent for a file that was not tried.
    """

    name: str
    fileType: Label
    size: int
    modified: int
    owner: str
    group: str
    permissions: list[str]
    contents: Label
    target: str | None = None
    readable: bool | None = None
    reason: str | None = None


class FileDetails(FileRow, omit_defaults=True, kw_only=True):
    """A directory entry that was opened and read.

    `contents` is NOT_TRIED only if reading took too long.  `stored` is the size of a file without
    its holes in bytes, `read` the number of bytes that were read; files with the same `inode` and
    more than one of `links` are hard links.  `attributes` are names of extended attributes,
    `missing` is the reason why some cannot be delivered; access lists are written in the form of
    getfacl.  `features` are features of the file, such as its compression.
    """

    read: int
    stored: int
    inode: str
    links: int
    attributes: list[str] = []
    accessList: str | None = None
    defaultAccessList: str | None = None
    features: list[str] = []
    missing: str | None = None
