"""Files that a qcow2 image needs besides itself: its backing files and external data files."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from haulback.drivers.images import overlay
from haulback.errors import Unavailable

_VERSION_3 = struct.Struct(">4sI92xI")  # magic, version, length of the header
_EXTENSION = struct.Struct(">II")  # type and length of a header extension
_DATA_FILE = 0x44415441
_MOST = 64 * 1024  # bytes of a header with its extensions
_DEEPEST = 200  # images in a chain
_READ_ONLY = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def others(path: Path) -> list[Path]:
    """Local files that an image needs, its data file and backing files, the top of the chain first.

    Backing files on a network are left out. Raises Unavailable for a missing or unreadable file,
    and for a chain without an end.
    """
    needed: list[Path] = []
    at: Path | None = path
    while at is not None:
        if len(needed) > _DEEPEST:
            raise Unavailable(f"{path} has more than {_DEEPEST} backing files")
        needed += _data_files(at)
        below = overlay.below(at)
        at = below.resolve() if isinstance(below, Path) else None
        needed += [at] if at else []
    for file in needed:
        _check(file, path)
    return needed


def _check(needed: Path, path: Path) -> None:
    try:
        os.close(os.open(needed, _READ_ONLY))
    except OSError as error:
        raise Unavailable(f"{path} needs {needed}: {error.strerror}") from None


def _data_files(path: Path) -> Iterator[Path]:
    """The external data file of an image, if the image has one."""
    try:
        with closing(os.fdopen(os.open(path, _READ_ONLY), "rb")) as file:
            head = file.read(_MOST)
    except OSError:
        return
    if len(head) < _VERSION_3.size:
        return
    magic, version, at = _VERSION_3.unpack_from(head)
    while magic == b"QFI\xfb" and version >= 3 and at + _EXTENSION.size <= len(head):
        kind, length = _EXTENSION.unpack_from(head, at)
        at += _EXTENSION.size
        if kind == _DATA_FILE:
            name = os.fsdecode(head[at : at + length])
            if ":" not in name.partition("/")[0]:  # else the data is on a network
                yield (path.parent / name).resolve()
        if not kind:
            return
        at += length + -length % 8
