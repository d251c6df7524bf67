"""Images that hold what is written over another disk: made over a share's, and what they lie on."""

from __future__ import annotations

import os
import struct
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from haulback.drivers.images import qemu
from haulback.errors import Unavailable

_HEAD = struct.Struct(">4sIQI")
_LONGEST = 1023  # as the format has it
_READ_ONLY = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # nobody waits for a pipe's other end


class Exported(NamedTuple):
    """A disk that an NBD server at a UNIX socket offers under a name."""

    socket: str
    name: str


class _Server(msgspec.Struct):
    path: str


class _Below(msgspec.Struct):
    """How QEMU names a disk of an NBD server."""

    server: _Server | None = None
    export: str = ""
    file: _Below | None = None


def make(path: Path, below: Exported) -> None:
    """Create an image that holds what is written over a raw disk."""
    server = {"type": "unix", "path": below.socket}
    disk = {"driver": "nbd", "server": server, "export": below.name}
    told = msgspec.json.encode({"driver": "raw", "file": disk}).decode()
    qemu.make_over(path, f"json:{told}")


def below(path: Path) -> Path | Exported | str | None:
    """What a qcow2 image lies on, also of one that is in use; its own words when not understood.

    One that is missing or no qcow2 image lies on nothing.  Raises Unavailable when it cannot be
    looked into.
    """
    try:
        with closing(os.fdopen(os.open(path, _READ_ONLY), "rb")) as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size or head[:4] != b"QFI\xfb":
                return None
            _, _, offset, length = _HEAD.unpack(head)
            if not offset:
                return None
            file.seek(offset)
            said = file.read(min(length, _LONGEST)).decode(errors="replace")
    except FileNotFoundError:
        return None
    except (OSError, OverflowError) as error:
        raise Unavailable(f"cannot look into {path}: {error}") from None
    if not said.startswith("json:"):
        return said if ":" in said.partition("/")[0] else path.parent / said
    with suppress(msgspec.MsgspecError):
        told = msgspec.json.decode(said[5:], type=_Below)
        disk = told.file or told
        if disk.server:
            return Exported(disk.server.path, disk.export)
    return said
