"""A machine's XML: what it says of its disks, and the XML of a new machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import msgspec

from haulback.drivers.hypervisor import Card, Disk, Machine
from haulback.drivers.libvirt import firmware
from haulback.errors import Malformed, Unsupported

LARGEST = 4 * 1024 * 1024
XML = "domain"  # the member of a definition that holds the platform's own XML
_SPACE = "urn:haulback:machine:1"
_OURS = f"{{{_SPACE}}}machine"
_OWN = (XML, firmware.NVRAM, "uuid", "name", "disks")  # members with a place of their own
_MEMORY = 1024  # MiB, for a machine that comes from a platform without memory
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
ET.register_namespace("haulback", _SPACE)


class Volume(NamedTuple):
    """A disk as the XML has it: its name in backups, its device, and where it lies.

    `path` is None for what is no file or block device of the host; then `where` says what it is.
    """

    name: str
    device: str
    format: str
    path: Path | None
    where: str = ""
    pool: tuple[str, str] | None = None


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


def volumes(root: ET.Element) -> list[Volume]:
    """The disks that hold data of the machine; no CDs, nothing read-only."""
    names = kept(root).names
    return [_volume(one, names) for one in _elements(root)]


def _elements(root: ET.Element) -> list[ET.Element]:
    return [
        one
        for one in root.findall("devices/disk")
        if one.get("device", "disk") == "disk"
        and one.find("readonly") is None
        and one.find("transient") is None
    ]


def _volume(element: ET.Element, names: Mapping[str, str]) -> Volume:
    target, driver, source = (element.find(name) for name in ("target", "driver", "source"))
    device = target.get("dev", "") if target is not None else ""
    if not device:
        raise Malformed("a disk of the machine has no device name")
    form = driver.get("type", "raw") if driver is not None else "raw"
    kind, name = element.get("type", ""), names.get(device, device)
    place = (
        source.get({"file": "file", "block": "dev"}.get(kind, ""), "") if source is not None else ""
    )
    pool = None
    if kind == "volume" and source is not None:
        pool = (source.get("pool", ""), source.get("volume", ""))
    return Volume(name, device, form, Path(place) if place else None, kind, pool)


def machine(text: str, sized: Iterable[tuple[Volume, int]]) -> Machine:
    """A machine from its XML, its disks and their sizes in bytes."""
    root = parse(text)
    uuid, name, ours = root.findtext("uuid", ""), root.findtext("name", ""), kept(root)
    disks = tuple(Disk(volume.name, size, volume.format) for volume, size in sized)
    return Machine(uuid, name, disks, {**ours.more, "uuid": uuid, XML: text})


def moved(text: str, places: Mapping[str, Path]) -> str:
    """The same machine with its disks, by name, at other places."""
    root = parse(text)
    names = kept(root).names
    for element in _elements(root):
        volume = _volume(element, names)
        _lies(element, Disk(volume.name, 0, volume.format), places[volume.name])
    return ET.tostring(root, encoding="unicode")


def compose(
    wanted: Machine,
    places: Mapping[str, Path],
    kind: str,
    *,
    fresh: bool,
    layers: bool = False,
) -> str:
    """The XML of a new machine whose disks lie at `places`, by name.

    Made of the XML in its definition, or without one of what every machine needs, as a domain of
    `kind`.  `fresh`: it stands beside the one it is a copy of, and gets addresses of its own.
    `layers`: its disks need what is under them; while that is away the machine stops, rather than
    being told of bad blocks.  What that is stands in the images only: when they need it no more,
    nothing else has to be changed.
    """
    text = wanted.definition.get(XML)
    root = parse(text) if isinstance(text, str) else _plain(wanted.definition, kind)
    root.attrib.pop("id", None)
    _set(root, "name", wanted.name)
    _set(root, "uuid", wanted.uuid)
    devices = root.find("devices")
    if devices is None:
        devices = ET.SubElement(root, "devices")
    _drop(devices, "emulator")  # each host knows where its own is
    if fresh:
        for interface in devices.findall("interface"):
            _drop(interface, "mac")
    for card in wanted.cards:
        _connect(devices, card)
    _empty_drives(devices)
    firmware.placed(root, (path.parent for path in places.values()))
    names = _place(root, devices, wanted, places, layers=layers)
    more = {k: v for k, v in wanted.definition.items() if k not in _OWN}
    _keep(root, Kept(names, more))
    return ET.tostring(root, encoding="unicode")


def _place(
    root: ET.Element,
    devices: ET.Element,
    wanted: Machine,
    places: Mapping[str, Path],
    *,
    layers: bool,
) -> dict[str, str]:
    """Put the disks where they are now; the names of those not called after their device."""
    old = kept(root).names
    elements = {_volume(one, old).name: one for one in _elements(root)}
    for name, element in elements.items():
        if name not in {disk.was or disk.name for disk in wanted.disks}:
            devices.remove(element)
    names = {}
    for disk in wanted.disks:
        known = elements.get(disk.was or disk.name)
        element = _new_disk(devices) if known is None else known
        _lies(element, disk, places[disk.name])
        if layers and (driver := element.find("driver")) is not None:
            driver.attrib |= {"error_policy": "stop", "rerror_policy": "stop"}
        device = _volume(element, {}).device
        if device != disk.name:
            names[device] = disk.name
    return names


def _new_disk(devices: ET.Element) -> ET.Element:
    taken = {target.get("dev") for target in devices.findall("disk/target")}
    free = next((f"vd{letter}" for letter in _LETTERS if f"vd{letter}" not in taken), None)
    if free is None:
        raise Unsupported("the machine has more disks than there are names for")
    element = ET.SubElement(devices, "disk", {"type": "file", "device": "disk"})
    ET.SubElement(element, "target", {"dev": free, "bus": "virtio"})
    return element


def _lies(element: ET.Element, disk: Disk, path: Path) -> None:
    element.set("type", "file")
    for name in ("source", "backingStore", "mirror", "auth", "encryption"):
        _drop(element, name)
    driver = element.find("driver")
    if driver is None:
        driver = ET.Element("driver", {"name": "qemu"})
        element.insert(0, driver)
    driver.set("type", disk.format)
    element.insert(1, ET.Element("source", {"file": str(path)}))


def _connect(devices: ET.Element, card: Card) -> None:
    """Put a network card where it is wanted, and under which address."""
    interfaces = devices.findall("interface")
    if card.number >= len(interfaces):
        raise Malformed(f"the machine has no network card {card.number}")
    interface = interfaces[card.number]
    if card.network:
        for name in ("source", "virtualport", "portForwarding", "backend"):
            _drop(interface, name)
        interface.set("type", "network")
        ET.SubElement(interface, "source", {"network": card.network})
    if card.mac:
        _drop(interface, "mac")
        ET.SubElement(interface, "mac", {"address": card.mac})


def _empty_drives(devices: ET.Element) -> None:
    """What lay in a CD or floppy drive need not exist here."""
    for drive in devices.findall("disk"):
        if drive.get("device") in ("cdrom", "floppy"):
            _drop(drive, "source")


def _plain(definition: Mapping[str, Any], kind: str) -> ET.Element:
    memory, cpus = definition.get("memory", _MEMORY), definition.get("cpus", 1)
    if not isinstance(memory, int) or not isinstance(cpus, int) or memory < 1 or cpus < 1:
        raise Malformed("memory (MiB) and cpus of a machine are numbers above 0")
    return ET.fromstring(
        f"<domain type='{kind}'><name/><uuid/><memory unit='MiB'>{memory}</memory>"
        f"<vcpu>{cpus}</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>"
        "<features><acpi/><apic/></features><devices>"
        "<serial type='pty'/><console type='pty'/>"
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "</devices></domain>"
    )


def _keep(root: ET.Element, ours: Kept) -> None:
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


def _set(root: ET.Element, name: str, text: str) -> None:
    found = root.find(name)
    if found is None:
        found = ET.SubElement(root, name)
    found.text = text


def _drop(element: ET.Element, name: str) -> None:
    for old in element.findall(name):
        element.remove(old)
