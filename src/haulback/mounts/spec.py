"""Structs that a mount's process exchanges with the node as JSON."""

from __future__ import annotations

import msgspec

from haulback.contract.mount import IscsiOrder, PublishedFolder
from haulback.wire import JsonObject


class MountPlace(msgspec.Struct, kw_only=True):
    """Another location of a backup, whose data replaces data that cannot be read.

    `destination` is the guid by which damage is reported.
    """

    destination: str = ""
    driver: str
    config: JsonObject
    repository: str | None
    key: bytes
    backup: str


class MountSpec(msgspec.Struct, kw_only=True):
    """Request to mount one backup of one destination.

    `key` opens the repository and is never written to disk. `for_machine` is set if a machine will
    run from the mount: QEMU's user then gets access to the socket.
    """

    guid: str
    destination: str = ""
    driver: str
    config: JsonObject
    repository: str | None
    key: bytes
    backup: str
    visible: list[PublishedFolder] = []
    target: IscsiOrder | None = None
    for_machine: bool = False
    others: list[MountPlace] = []


class MountState(msgspec.Struct, omit_defaults=True):
    """The disks and folders of a mount; the process writes this answer to standard output.

    `disks` maps disk names to sizes in bytes, `paths` maps volumes ("" for all) to mount folders.
    `raw` is the folder that shows disks as files, `portal` the iSCSI address (HOST:PORT). `made`
    lists the folders to create, deepest first. A non-empty `error` means that there is no mount.
    `is_ready`: the process serves the disks; the record of a start that has not ended lists none.
    """

    disks: dict[str, int] = {}
    paths: dict[str, str] = {}
    raw: str = ""
    portal: str = ""
    made: list[str] = []
    error: str = ""
    is_ready: bool = False
