"""A machine's XML: read without trust, and what it says of the machine's disks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import msgspec

from haulback.drivers.hypervisor import Apart, Disk, Machine
from haulback.drivers.libvirt import apart
from haulback.errors import Malformed

LARGEST = 4 * 1024 * 1024
XML = "domain"  # the member of a definition that holds the platform's own XML
_SPACE = "urn:haulback:machine:1"
_OURS = f"{{{_SPACE}}}machine"
_NEXT = "the machine gets the disk at its next start"
_RUNS = "which can be read while the machine runs and not while the machine is off"
_ELSEWHERE = ("source", "backingStore", "mirror", "auth", "encryption", "shareable")
ET.register_namespace("haulback", _SPACE)


class Volume(NamedTuple):
    """A disk as the XML has it: its name in backups, its device, and where it lies.

    `path` is None for what is no file or block device of the host; then `where` says what it is.
    `shared`: other machines use the disk too, maybe on other hosts.
    """

    name: str
    device: str
    format: str
    path: Path | None
    where: str = ""
    pool: tuple[str, str] | None = None
    shared: bool = False


class Kept(msgspec.Struct):
    """What of a definition libvirt has no place for: names of disks by device, and the rest."""

    names: dict[str, str] = {}
    more: dict[str, Any] = {}


def parse(text: str) -> ET.Element:
    """Raises Malformed for what is no XML of a machine; entities are not for us."""
    if len(text) > LARGEST or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Malformed("the machine's XML is too large or brings entities of its own")
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise Malformed(f"the machine's XML cannot be read: {error}") from None


def kept(root: ET.Element) -> Kept:
    """What an import left in the XML for us."""
    found = root.find(f"metadata/{_OURS}")
    try:
        return msgspec.json.decode(found.text or "", type=Kept) if found is not None else Kept()
    except msgspec.MsgspecError as error:
        raise Malformed(f"the machine's metadata cannot be read: {error}") from None


def keep(root: ET.Element, ours: Kept) -> None:
    """Leave members in the XML that libvirt has no place for; raises Malformed for no JSON."""
    metadata = root.find("metadata")
    if metadata is None:
        metadata = ET.SubElement(root, "metadata")
    for old in metadata.findall(_OURS):
        metadata.remove(old)
    if not ours.names and not ours.more:
        return
    try:
        text = msgspec.json.encode(ours).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise Malformed(f"the definition is not JSON: {error}") from None
    ET.SubElement(metadata, _OURS).text = text


def volumes(root: ET.Element) -> list[Volume]:
    """The disks of a machine that backups hold; see `apart` for the others."""
    names = kept(root).names
    return [volume(one, names) for one in data(root)]


def data(root: ET.Element) -> list[ET.Element]:
    """The elements of those disks."""
    disks = root.findall("devices/disk")
    return [one for one in disks if not apart.is_drive(one) and apart.why(one) is None]


def volume(element: ET.Element, names: Mapping[str, str]) -> Volume:
    """A disk by its element and the names of disks by device.  Raises Malformed without one."""
    driver, source = element.find("driver"), element.find("source")
    device = apart.device_of(element)
    if not device:
        raise Malformed("a disk of the machine has no device name")
    form = driver.get("type", "raw") if driver is not None else "raw"
    kind, name = element.get("type", "file"), names.get(device, device)
    place = (
        source.get({"file": "file", "block": "dev"}.get(kind, ""), "") if source is not None else ""
    )
    pool = None
    if kind == "volume" and source is not None:
        pool = (source.get("pool", ""), source.get("volume", ""))
    shared = element.find("shareable") is not None
    return Volume(name, device, form, Path(place) if place else None, kind, pool, shared)


def places(root: ET.Element) -> set[Path]:
    """The files and block devices that disks of any kind refer to."""
    sources = root.findall("devices/disk//source")
    named = (one.get(name) for one in sources for name in ("file", "dev"))
    return {Path(one) for one in named if one}


def machine(text: str, sized: Iterable[tuple[Volume, int]], live: str = "") -> Machine:
    """A machine from its XML, its disks and their sizes in bytes; `live` is its XML right now."""
    root = parse(text)
    uuid, name, ours = root.findtext("uuid", ""), root.findtext("name", ""), kept(root)
    disks = tuple(Disk(volume.name, size, volume.format) for volume, size in sized)
    now = apart.found(parse(live), ours.names) if live else []
    told = [*_unread(root, {disk.name for disk in disks}), *apart.found(root, ours.names), *now]
    lacks = tuple({one.name: one for one in told}.values())
    return Machine(uuid, name, disks, {**ours.more, "uuid": uuid, XML: text}, apart=lacks)


def _unread(root: ET.Element, read: Set[str]) -> list[Apart]:
    """The disks that backups hold, and that cannot be read as the machine is now."""
    return [
        Apart(one.name, _NEXT if one.path or one.pool else f"a {one.where} disk, {_RUNS}")
        for one in volumes(root)
        if one.name not in read
    ]


def moved(text: str, places: Mapping[str, Path]) -> str:
    """The same machine with its disks, by name, at other places."""
    root = parse(text)
    names = kept(root).names
    for element in data(root):
        found = volume(element, names)
        lies(element, Disk(found.name, 0, found.format), places[found.name])
    return ET.tostring(root, encoding="unicode")


def lies(element: ET.Element, disk: Disk, path: Path) -> None:
    """Name the place of a disk's image, a file of the machine's own."""
    element.set("type", "file")
    for name in _ELSEWHERE:
        drop(element, name)
    driver = element.find("driver")
    if driver is None:
        driver = ET.Element("driver", {"name": "qemu"})
        element.insert(0, driver)
    driver.set("type", disk.format)
    element.insert(1, ET.Element("source", {"file": str(path)}))


def drop(element: ET.Element, *names: str) -> None:
    """Remove the children of those names."""
    for name in names:
        for old in element.findall(name):
            element.remove(old)
