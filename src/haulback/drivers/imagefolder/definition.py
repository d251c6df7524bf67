"""Machine definition file (machine.json) of the image folder; its content is not trusted."""

from __future__ import annotations

import re
import uuid

import msgspec

from haulback.drivers.imagefolder import definition_faults
from haulback.drivers.images.image import ImageFile
from haulback.errors import Malformed
from haulback.texts import is_printable
from haulback.wire import JsonObject

FILE = "machine.json"
LARGEST = 1024 * 1024  # bytes of a definition file

_FILE_NAME = re.compile(r"[^/\0\x01-\x1f]{1,255}")
_UNSAFE = re.compile(r"[^\w .()+-]")


class Definition(msgspec.Struct, frozen=True):
    """Members of machine.json that the driver needs; `whole` is the complete content."""

    uuid: str
    name: str
    disks: tuple[ImageFile, ...] = ()
    whole: JsonObject = {}


def decode(data: bytes) -> Definition:
    """Parse and check a machine.json.

    Raises Malformed with the bad member, its line if it has one, and the remedy.
    """
    if len(data) > LARGEST:
        raise Malformed(
            f"{FILE} is larger than {LARGEST} bytes; shorten the file, which describes the "
            "machine and holds no data"
        )
    try:
        whole = msgspec.json.decode(data, type=JsonObject)
        definition = msgspec.convert({**whole, "whole": whole}, Definition)
    except RecursionError:
        raise Malformed(f"{FILE} is nested too deeply; remove the inner objects") from None
    except msgspec.ValidationError as error:
        raise Malformed(f"{FILE}: {definition_faults.of_member(data, error)}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Malformed(f"{FILE}: {definition_faults.of_syntax(data)}") from None
    try:
        identity = canonical(definition.uuid)
    except Malformed as error:
        raise Malformed(f"{FILE}: `uuid`: {error.message}; `uuidgen` prints a new one") from None
    return msgspec.structs.replace(_checked(definition), uuid=identity)


def encode(definition: JsonObject) -> bytes:
    """Content of a machine.json, indented. Raises Malformed for a definition that is not JSON."""
    try:
        return msgspec.json.format(msgspec.json.encode(definition), indent=2) + b"\n"
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise Malformed(f"the definition is not JSON: {error}") from None


def canonical(text: str) -> str:
    """A uuid in lower case with hyphens. Raises Malformed for any other text."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise Malformed(f"{text[:80]!r} is not a uuid") from None


def new_uuid() -> str:
    """A new random uuid."""
    return str(uuid.uuid4())


def folder_name(name: str) -> str:
    """A machine's name as a folder name: no separators, not hidden, at most 120 bytes.

    The limit leaves room for suffixes within the 255 bytes of a file name.
    """
    safe = _UNSAFE.sub("_", name).strip(" .")
    return safe.encode()[:120].decode(errors="ignore").strip(" .") or "machine"


def image_names(disks: list[tuple[str, str]]) -> list[str]:
    """A unique image file name for each (disk name, format)."""
    taken: set[str] = set()
    names = []
    for name, suffix in disks:
        stem = folder_name(name)
        file, number = f"{stem}.{suffix}", 1
        while file.casefold() in taken:
            number += 1
            file = f"{stem} ({number}).{suffix}"
        taken.add(file.casefold())
        names.append(file)
    return names


def _checked(definition: Definition) -> Definition:
    if not is_printable(definition.name, 255):
        raise Malformed(f"{FILE}: `name` must be 1 to 255 printable characters")
    for member in ("name", "file"):
        values = [getattr(disk, member) for disk in definition.disks]
        if len(set(values)) != len(values) or not all(values):
            raise Malformed(f"{FILE}: each disk needs a `{member}` of its own")
    for disk in definition.disks:
        if not _FILE_NAME.fullmatch(disk.file) or disk.file in (".", "..", FILE):
            raise Malformed(
                f"{FILE}: disk {disk.name!r}: `file` must be the name of an image in the "
                f"machine's folder, not {disk.file[:80]!r}"
            )
    return definition
