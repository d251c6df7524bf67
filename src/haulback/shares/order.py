"""What a share is to offer, as its process is told on standard input."""

from __future__ import annotations

from typing import Any

import msgspec


class Visible(msgspec.Struct):
    """A volume to be seen at `path`; without a volume all of them, each below its name."""

    path: str
    volume: str = ""


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
    for_machine: bool = False


class Shared(msgspec.Struct, omit_defaults=True):
    """What is offered: sizes of disks in bytes by name, folders by volume ("": of all).

    `made` are folders that are created for it, the deepest first.  The answer on standard output:
    with an `error` there is no share.
    """

    disks: dict[str, int] = {}
    paths: dict[str, str] = {}
    made: list[str] = []
    error: str = ""
