"""Overlay images (qcow2) on top of a share's disk, and the backing file of an image."""

from __future__ import annotations

import os
import struct
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from haulback.drivers.images import qemu
from haulback.drivers.images.image import open_disk
from haulback.errors import Malformed, Unavailable

_HEAD = struct.Struct(">4sIQI")  # magic, version, offset and length of the backing file's name
_LONGEST = 1023  # bytes of a backing file's name, by the qcow2 format


class NbdExport(NamedTuple):
    """A disk that the NBD server at a UNIX socket exports under a name."""

    socket: str
    name: str


class _Server(msgspec.Struct):
    path: str


class _Below(msgspec.Struct):
    """QEMU's JSON form of the name of an NBD disk."""

    server: _Server | None = None
    export: str = ""
    file: _Below | None = None


def make(path: Path, below: NbdExport) -> None:
    """Create an overlay image on top of an exported raw disk."""
    server = {"type": "unix", "path": below.socket}
    disk = {"driver": "nbd", "server": server, "export": below.name}
    told = msgspec.json.encode({"driver": "raw", "file": disk}).decode()
    qemu.make_over(path, f"json:{told}")


def below(path: Path) -> Path | NbdExport | str | None:
    """Backing file of a qcow2 image, which may be in use.

    Returns a path, an NBD export, or QEMU's own text for other kinds. None for a missing file, a
    file that is no qcow2 image, or an image without a backing file. Raises Unavailable when the
    image cannot be read.
    """
    told = backing_name(path)
    return None if told is None else parsed(path, told)


def backing_name(path: Path) -> str | None:
    """The text in the header of a qcow2 image that names its backing file; see `below`."""
    try:
        with closing(os.fdopen(open_disk(path), "rb")) as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size or head[:4] != b"QFI\xfb":
                return None
            _, _, offset, length = _HEAD.unpack(head)
            if not offset:
                return None
            file.seek(offset)
            return file.read(min(length, _LONGEST)).decode(errors="replace")
    except (FileNotFoundError, Malformed):
        return None
    except (OSError, OverflowError) as error:
        raise Unavailable(f"cannot read the header of {path}: {error}") from None


def parsed(path: Path, said: str) -> Path | NbdExport | str:
    """The backing file of the image at `path`, which the text in its header names."""
    if not said.startswith("json:"):
        return said if ":" in said.partition("/")[0] else path.parent / said
    with suppress(msgspec.MsgspecError):
        told = msgspec.json.decode(said[5:], type=_Below)
        disk = told.file or told
        if disk.server:
            return NbdExport(disk.server.path, disk.export)
    return said
