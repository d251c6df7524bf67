"""Disks and other members in the XML of a machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from xml.etree import ElementTree as ET

import msgspec

from haulback.drivers.hypervisor import Machine, MachineDisk, UnprotectedPart
from haulback.drivers.images.image import is_full
from haulback.drivers.libvirt import network_disks, unprotected_devices
from haulback.errors import Malformed
from haulback.libvirt_xml import XML, parse
from haulback.wire import JsonObject

_SPACE = "urn:haulback:machine:1"
OURS = f"{{{_SPACE}}}machine"
_NEXT = "the machine gets this disk at its next start"
POOL = "a volume of a network pool, which Haulback can read only while the machine runs"
_OFF = "only while the machine is off: "
# Members of a disk element that are removed when the disk gets an image of its own.
_ELSEWHERE = ("source", "backingStore", "mirror", "auth", "encryption", "shareable")
ET.register_namespace("haulback", _SPACE)


class DomainDisk(NamedTuple):
    """A disk as the XML describes it: its name in backups, its device name, and its image.

    `path` is None for a disk that is neither a file nor a block device of the host; `where` is then
    its type. `shared` is set if other machines use the disk too, possibly on other hosts. `off` is
    the reason why the disk cannot be read while the machine is off, `tree` QEMU's description of a
    disk on a network.
    """

    name: str
    device: str
    format: str
    path: Path | None
    where: str = ""
    pool: tuple[str, str] | None = None
    shared: bool = False
    off: str = ""
    tree: JsonObject | None = None


class DefinitionExtras(msgspec.Struct):
    """Members of a definition without a place in libvirt's XML: disk names, and other members."""

    names: dict[str, str] = {}
    more: JsonObject = {}


def kept(root: ET.Element) -> DefinitionExtras:
    """Haulback's members in the metadata of the XML. Raises Malformed for damaged metadata."""
    element = root.find(f"metadata/{OURS}")
    try:
        return (
            msgspec.json.decode(element.text or "", type=DefinitionExtras)
            if element is not None
            else DefinitionExtras()
        )
    except msgspec.MsgspecError as error:
        raise Malformed(f"the machine's metadata cannot be read: {error}") from None


def keep(root: ET.Element, ours: DefinitionExtras) -> None:
    """Store Haulback's members in the metadata of the XML. Raises Malformed for values that are not
    JSON.
    """
    metadata = root.find("metadata")
    if metadata is None:
        metadata = ET.SubElement(root, "metadata")
    for old in metadata.findall(OURS):
        metadata.remove(old)
    if not ours.names and not ours.more:
        return
    try:
        text = msgspec.json.encode(ours).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise Malformed(f"the definition is not JSON: {error}") from None
    ET.SubElement(metadata, OURS).text = text


def volumes(root: ET.Element) -> list[DomainDisk]:
    """Disks of a machine that backups contain; `apart` lists the others."""
    names = kept(root).names
    return [volume(one, names) for one in data(root)]


def data(root: ET.Element) -> list[ET.Element]:
    """Elements of the disks that backups contain."""
    disks = root.findall("devices/disk")
    return [
        one
        for one in disks
        if not unprotected_devices.is_drive(one) and unprotected_devices.why(one) is None
    ]


def volume(element: ET.Element, names: Mapping[str, str]) -> DomainDisk:
    """Describe a disk element; `names` maps device names to disk names.

    Raises Malformed for a disk without a device name.
    """
    driver, source = element.find("driver"), element.find("source")
    device = unprotected_devices.device_of(element)
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
    path = Path(place) if place else None
    off, tree = network_disks.unreadable(element), network_disks.tree(element)
    return DomainDisk(name, device, form, path, kind, pool, shared, off, tree)


def places(root: ET.Element) -> set[Path]:
    """Paths of all files and block devices that disks of any type refer to."""
    sources = root.findall("devices/disk//source")
    named = (one.get(name) for one in sources for name in ("file", "dev"))
    return {Path(one) for one in named if one}


def machine(
    text: str,
    sized: Iterable[tuple[DomainDisk, int]],
    live: str = "",
    lost: Mapping[str, str] = MappingProxyType({}),
) -> Machine:
    """Description of a machine.

    `text` is its inactive XML, `sized` its disks with sizes in bytes, `live` its current XML if it
    runs. `lost` maps disks that should be readable but are not to the reasons.
    """
    sized = list(sized)
    root = parse(text)
    uuid, name, ours = root.findtext("uuid", ""), root.findtext("name", ""), kept(root)
    disks = tuple(
        MachineDisk(volume.name, size, volume.format, _is_allocated(volume.path, size))
        for volume, size in sized
    )
    now = unprotected_devices.found(parse(live), ours.names) if live else []
    known = {disk.name for disk in disks} | lost.keys()
    told = [
        *(UnprotectedPart(name, why) for name, why in lost.items()),
        *_unread(root, known, runs=bool(live)),
        *(
            UnprotectedPart(disk.name, f"{_OFF}{disk.off}", off=True)
            for disk, _ in sized
            if live and disk.off
        ),
        *unprotected_devices.found(root, ours.names),
        *now,
    ]
    lacks = tuple({part.name: part for part in told}.values())
    return Machine(uuid, name, disks, {**ours.more, "uuid": uuid, XML: text}, apart=lacks)


def _is_allocated(path: Path | None, size: int) -> bool:
    try:
        return path is not None and is_full(path.stat(), size)
    except OSError:
        return False


def _unread(root: ET.Element, read: Set[str], *, runs: bool) -> list[UnprotectedPart]:
    """Disks that backups contain, but that cannot be read in the machine's present state."""
    unread = [one for one in volumes(root) if one.name not in read]
    return [UnprotectedPart(one.name, _NEXT if runs else one.off or POOL) for one in unread]


def moved(text: str, places: Mapping[str, Path]) -> str:
    """The XML with the machine's disks at other paths, by disk name."""
    root = parse(text)
    names = kept(root).names
    for element in data(root):
        found = volume(element, names)
        lies(element, MachineDisk(found.name, 0, found.format), places[found.name])
    return ET.tostring(root, encoding="unicode")


def lies(element: ET.Element, disk: MachineDisk, path: Path) -> None:
    """Set the image of a disk to a file that belongs to this machine only."""
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
    """Remove the children with these names."""
    for name in names:
        for old in element.findall(name):
            element.remove(old)
