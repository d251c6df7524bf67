"""What a share is to offer, as its process is told on standard input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec


def files_of(disks: Sequence[str]) -> dict[str, str]:
    """The files that show disks, by their names: as they are where that can be, else numbered."""
    plain = {disk: disk.replace("/", "-") for disk in disks}
    fits = len(set(plain.values())) == len(plain)
    if fits and all(len(os.fsencode(name)) < _LONGEST for name in plain.values()):
        return plain
    return {disk: f"disk{number}" for number, disk in enumerate(disks)}


_LONGEST = 200  # bytes


class Visible(msgspec.Struct):
    """A volume to be seen at `path`; without a volume all of them, each below its name.

    With `disks` they are seen there instead, each a file of its bytes.
    """

    path: str
    volume: str = ""
    disks: list[str] = []


class IscsiOrder(msgspec.Struct, kw_only=True):
    """Disks to offer by iSCSI, the first as LUN 1, to initiators of these names (IQN).

    `port` is the one it had; 0 for a free one, from that of `portal` (ADDRESS:PORT) on.
    """

    disks: list[str]
    clients: list[str]
    port: int = 0
    portal: str = ""


class ShareOrder(msgspec.Struct, kw_only=True):
    """One backup from one destination; `key` opens its repository and is never written down.

    `for_machine`: a machine is to run from it, so QEMU, as whom it runs here, may read it.
    """

    guid: str
    driver: str
    config: dict[str, Any]
    repository: str | None
    key: bytes
    backup: str
    visible: list[Visible] = []
    target: IscsiOrder | None = None
    for_machine: bool = False


class Shared(msgspec.Struct, omit_defaults=True):
    """What is offered: sizes of disks in bytes by name, folders by volume ("": of all).

    `raw` is the folder that shows disks as files, `portal` where iSCSI listens (HOST:PORT).

    `made` are folders that are created for it, the deepest first.  The answer on standard output:
    with an `error` there is no share.
    """

    disks: dict[str, int] = {}
    paths: dict[str, str] = {}
    raw: str = ""
    portal: str = ""
    made: list[str] = []
    error: str = ""
