"""Files that a qcow2 image needs besides itself: its backing files and external data files.

A raw file holds what its guest wrote, which may look like the header of an image. Only files that
are recorded as qcow2 images are therefore followed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from haulback.drivers.images import overlay
from haulback.drivers.images.image import open_disk
from haulback.errors import Malformed, Unavailable, Unsupported

_HEAD = struct.Struct(">4sI92xI")  # magic, version, length of the header (since version 3)
_LENGTH_2 = 72  # bytes of a header of version 2
_EXTENSION = struct.Struct(">II")  # type and length of a header extension
_FORMAT, _DATA_FILE = 0xE2792ACA, 0x44415441
_MOST = 64 * 1024  # bytes of a header including its extensions
_DEEPEST = 200  # images in a chain at most


def others(path: Path) -> list[Path]:
    """Local files that an image needs, its data file and backing files, the top of the chain first.

    The names are relative to the names by which the images are opened, not to the targets of links,
    as QEMU reads them. Backing files on a network are left out. Raises Unavailable for a missing or
    unreadable file and for a chain without an end, Malformed for a file that is neither a regular
    file nor a block device, Unsupported for a backing file without a recorded format and for a data
    file without a full path.
    """
    needed: list[Path] = []
    at: Path | None = path
    while at is not None:
        if len(needed) > _DEEPEST:
            raise Unavailable(f"{path} has more than {_DEEPEST} backing files")
        extensions = dict(_extensions(at))
        files = _data_files(at, extensions)
        told = overlay.backing_name(at)
        below = None if told is None else overlay.parsed(at, told)
        if told is not None and not _is_format_known(told, extensions):
            raise Unsupported(
                f"{at} does not record the format of its backing file; record it by "
                f"`qemu-img rebase -u -b {told} -F FORMAT {at}`"
            )
        files += [below] if isinstance(below, Path) else []
        for file in files:
            _check(file, path)
        needed += files
        is_followed = isinstance(below, Path) and extensions.get(_FORMAT) == b"qcow2"
        at = files[-1] if is_followed else None
    return needed


def recorded_format(path: Path) -> str:
    """Format of the backing file of an image, as the image records it; "" if it does not."""
    return dict(_extensions(path)).get(_FORMAT, b"").decode(errors="replace")


def _is_format_known(told: str, extensions: dict[int, bytes]) -> bool:
    """Whether QEMU knows the format of a backing file without reading the file."""
    if extensions.get(_FORMAT):
        return True
    with suppress(msgspec.MsgspecError):
        if told.startswith("json:"):
            return "driver" in msgspec.json.decode(told[5:], type=dict)
    return False


def _check(needed: Path, path: Path) -> None:
    try:
        os.close(open_disk(needed))
    except OSError as error:
        raise Unavailable(f"{path} needs {needed}: {error.strerror}") from None
    except Malformed as error:
        raise Malformed(f"{path} needs {needed}: {error.message}") from None


def _extensions(path: Path) -> Iterator[tuple[int, bytes]]:
    """Types and contents of the header extensions of an image; none of a file that is no image."""
    try:
        with closing(os.fdopen(open_disk(path), "rb")) as file:
            head = file.read(_MOST)
    except OSError as error:
        raise Unavailable(f"cannot read the header of {path}: {error.strerror}") from None
    if len(head) < _HEAD.size:
        return
    magic, version, length = _HEAD.unpack_from(head)
    at = length if version >= 3 else _LENGTH_2
    while magic == b"QFI\xfb" and at + _EXTENSION.size <= len(head):
        kind, length = _EXTENSION.unpack_from(head, at)
        at += _EXTENSION.size
        if not kind:
            return
        yield kind, head[at : at + length]
        at += length + -length % 8


def _data_files(path: Path, extensions: dict[int, bytes]) -> list[Path]:
    """The external data file of an image; none if the data is in the image or on a network.

    Raises Unsupported for a relative name: QEMU reads such a name against its working folder.
    """
    name = os.fsdecode(extensions.get(_DATA_FILE, b""))
    if not name or ":" in name.partition("/")[0]:
        return []
    if not name.startswith("/"):
        raise Unsupported(
            f"{path} names its data file ({name}) without the full path, so QEMU looks for it in"
            " its working folder; record the full path by"
            f" `qemu-img amend -o data_file={path.parent / name} {path}`"
        )
    return [Path(name)]
