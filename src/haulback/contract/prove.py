"""Request, order and result of PROVE."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

import msgspec

from haulback.contract.order_records import BackupDestination, BackupPlace, Hypervisor
from haulback.wire import Ref


class BootSign(Enum):
    """Signs that a machine booted."""

    AGENT = "AGENT"
    TEXT = "TEXT"
    SCREEN = "SCREEN"


class ProveRequest(msgspec.Struct):
    """The backup to prove, the hypervisor, and the sign of a successful boot; `timeout` in ms.

    `text` is the text of the console where the sign is TEXT; the guest agent runs `script`, which
    must exit with 0.
    """

    backup: Ref
    hypervisor: Ref | None = None
    sign: BootSign | None = None
    text: str | None = None
    script: str | None = None
    timeout: int | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class ProveOrder(msgspec.Struct):
    """The backup to boot, the hypervisor, and the sign of a successful boot; `timeout` in ms.

    `others` are other locations of the backup.
    """

    backup: str
    destination: BackupDestination
    hypervisor: Hypervisor
    sign: BootSign
    text: str
    script: str
    timeout: int
    others: list[BackupPlace] = []


Words = Annotated[str, msgspec.Meta(max_length=1 << 17)]


class Script(msgspec.Struct):
    """The exit code and the output of a script in the guest."""

    exitCode: int
    output: Words


class Evidence(msgspec.Struct, omit_defaults=True):
    """Evidence of a boot.  `took` is ms until the sign; `disks` the root hash of each disk's map.

    `screenshot` is a PNG in base64.
    """

    sign: Literal["AGENT", "TEXT", "SCREEN"]
    took: int
    disks: dict[str, str]
    console: Words = ""
    text: Words | None = None
    script: Script | None = None
    screenshot: Annotated[str, msgspec.Meta(max_length=2 << 20)] | None = None
