"""Variables of a UEFI firmware, which a machine needs to boot.

The variables are a small file beside the images, and are kept in the machine's definition.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as ET

from haulback.drivers.hypervisor import Machine, UnprotectedPart
from haulback.durable_files import write_private
from haulback.errors import Malformed
from haulback.wire import JsonObject

NVRAM = "nvram"  # member of a definition that holds the variables, compressed
FILE = "nvram.fd"  # file of the variables, beside a machine's images
_LARGEST = 64 * 1024 * 1024  # bytes; ARM firmware has 64 MiB, compressed a few KB
_MOST_PACKED = 4 * 1024 * 1024  # maximum length of the compressed form, in characters
_NVRAMS = Path("/var/lib/libvirt/qemu/nvram")


def path_of(root: ET.Element) -> Path | None:
    """Path of the file with the variables; None for a machine without such a file."""
    found = root.find("os/nvram")
    if found is None:
        return _usual(root)
    source = found.find("source")
    text = (found.text or "").strip() or (source.get("file", "") if source is not None else "")
    return Path(text) if text.startswith("/") else None


def _usual(root: ET.Element) -> Path | None:
    """Default path of the variables, which libvirt before 9.2 does not write into the XML."""
    system, name = root.find("os"), root.findtext("name") or ""
    if system is None or system.get("firmware") != "efi" or "/" in name:
        return None
    path = _NVRAMS / f"{name}_VARS.fd"
    return path if path.is_file() else None


def kept(machine: Machine, root: ET.Element) -> Machine:
    """The machine with its firmware's variables, or with the reason why backups lack them."""
    packed, why = _packed(root)
    if why:
        lost = UnprotectedPart("the firmware's variables", why)
        return machine._replace(apart=(*machine.apart, lost))
    if packed is None:
        return machine
    return machine._replace(definition={**machine.definition, NVRAM: packed})


def _packed(root: ET.Element) -> tuple[str | None, str]:
    """Compressed variables (None without variables), and the reason if they cannot be read."""
    path, place = path_of(root), root.find("os/nvram/source")
    if path is None:
        where = root.find("os/nvram")
        kind = where.get("type", "") if where is not None else ""
        return (
            None,
            f"the variables are not in a file of the host ({kind})" if place is not None else "",
        )
    try:
        raw = _read(path)
    except FileNotFoundError:
        return None, ""  # the machine was never started
    except OSError as error:
        return None, f"{path} cannot be read: {error.strerror}"
    packed = base64.b64encode(zlib.compress(raw)).decode() if raw is not None else ""
    if not packed or len(packed) > _MOST_PACKED:
        return None, f"{path} is too large"
    return packed, ""


def _read(path: Path) -> bytes | None:
    with path.open("rb") as file:
        raw = file.read(_LARGEST + 1)
    return raw if len(raw) <= _LARGEST else None


def write(definition: JsonObject, folder: Path) -> None:
    """Write a backup's variables to a file in `folder`; without variables do nothing.

    Raises Malformed for damaged or too large data.
    """
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
    write_private(folder / FILE, raw)


def placed(root: ET.Element, folders: Iterable[Path], now: ET.Element | None = None) -> str | None:
    """Set the file of the variables in the XML: a file in `folders`, or a new one from the
    template.

    The file of another machine is never used. `now` is the current XML of a machine that is
    restored over itself; it keeps its variables if the backup has none. Returns a sentence if the
    backup's variables are not restored.
    """
    system = root.find("os")
    elements = system.findall("nvram") if system is not None else []
    there = next((folder / FILE for folder in folders if (folder / FILE).exists()), None)
    if system is None or (not there and not elements):
        return None
    if not there and now is not None:
        return _as_they_are(system, elements, now.find("os/nvram"))
    had = any(
        (element.text or "").strip() or element.find("source") is not None for element in elements
    )
    for element in elements[1:]:
        system.remove(element)
    first = elements[0] if elements else ET.SubElement(system, "nvram")
    first[:] = []
    first.attrib.pop("type", None)
    first.text = str(there) if there else None
    if not there and "template" not in first.attrib:
        system.remove(first)
    lost = "the firmware's variables are reset: the backup holds none"
    return lost if had and not there else None


def _as_they_are(system: ET.Element, found: list[ET.Element], now: ET.Element | None) -> str:
    for one in found:
        system.remove(one)
    if now is not None:
        system.append(now)
    return "the firmware's variables stay as they are: the backup holds none"
