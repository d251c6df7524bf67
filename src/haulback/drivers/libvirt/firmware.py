"""The variables of a UEFI firmware: a machine that boots by them needs them as much as its disks.

They are a small file beside the images, kept with the machine's definition.
"""

from __future__ import annotations

import base64
import binascii
import logging
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from haulback.disk import write_private
from haulback.drivers.hypervisor import Machine
from haulback.errors import Malformed

log = logging.getLogger(__name__)
NVRAM = "nvram"  # the member of a definition that holds them, packed
_FILE = "nvram.fd"
_LARGEST = 64 * 1024 * 1024  # those of ARM; packed they are a few KB
_MOST_PACKED = 4 * 1024 * 1024
_NVRAMS = Path("/var/lib/libvirt/qemu/nvram")


def path_of(root: ET.Element) -> Path | None:
    """Where they lie, for a machine that has some of its own already."""
    found = root.find("os/nvram")
    if found is None:
        return _usual(root)
    source = found.find("source")
    text = (found.text or "").strip() or (source.get("file", "") if source is not None else "")
    return Path(text) if text.startswith("/") else None


def _usual(root: ET.Element) -> Path | None:
    """Where libvirt (before 9.2) puts them without saying so, once the machine has been started."""
    system, name = root.find("os"), root.findtext("name") or ""
    if system is None or system.get("firmware") != "efi" or "/" in name:
        return None
    path = _NVRAMS / f"{name}_VARS.fd"
    return path if path.is_file() else None


def kept(machine: Machine, root: ET.Element) -> Machine:
    """The machine with its variables as they are now, if it has some."""
    path = path_of(root)
    try:
        raw = _read(path) if path else None
    except OSError as error:
        log.warning("%s: the variables of its firmware cannot be read: %s", machine.name, error)
        raw = None
    if raw is None:
        return machine
    packed = base64.b64encode(zlib.compress(raw)).decode()
    if len(packed) > _MOST_PACKED:
        log.warning("%s: the variables of its firmware are too large to be kept", machine.name)
        return machine
    return machine._replace(definition={**machine.definition, NVRAM: packed})


def _read(path: Path) -> bytes | None:
    with path.open("rb") as file:
        raw = file.read(_LARGEST + 1)
    return raw if len(raw) <= _LARGEST else None


def write(definition: dict[str, Any], room: Path) -> None:
    """Put those of a backup into a room.  Raises Malformed for what was never written by us."""
    packed = definition.get(NVRAM)
    if packed is None:
        return
    try:
        unpack = zlib.decompressobj()
        raw = unpack.decompress(base64.b64decode(str(packed), validate=True), _LARGEST)
        if not unpack.eof:
            raise Malformed("the firmware's variables are larger than 64 MiB")
    except (binascii.Error, zlib.error):
        raise Malformed("the firmware's variables cannot be read") from None
    write_private(room / _FILE, raw)


def placed(root: ET.Element, rooms: Iterable[Path]) -> None:
    """Those in one of the rooms, or fresh ones of the firmware's template; never another's."""
    found, system = root.find("os/nvram"), root.find("os")
    there = next((room / _FILE for room in rooms if (room / _FILE).exists()), None)
    if found is None:
        if there and system is not None:
            ET.SubElement(system, "nvram").text = str(there)
        return
    for source in found.findall("source"):
        found.remove(source)
    found.attrib.pop("type", None)
    found.text = str(there) if there else None
    if system is not None and not there and "template" not in found.attrib:
        system.remove(found)
