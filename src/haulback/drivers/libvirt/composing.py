"""The XML of a new machine: made of the one in its backup, on disks at new places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

from haulback.drivers.hypervisor import Card, Machine
from haulback.drivers.libvirt import apart, belongings, firmware, portable
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.domain import XML, Kept, drop, parse
from haulback.errors import Malformed, Unsupported

_OWN = (XML, firmware.NVRAM, "uuid", "name", "disks")  # members with a place of their own
_MEMORY = 1024  # MiB, for a machine that comes from a platform without memory
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _nobody(_: str) -> None:
    """Hears the sentences about a new machine where no caller wants them."""


class Standing(NamedTuple):
    """How a new machine stands to the machine in its definition, the original.

    `fresh`: a copy beside the original, with addresses of its own.  `now`: the new machine is the
    original, whose XML this is until then, and keeps its belongings.  `layers`: the disks need the
    share below them; while the share is away the machine stops, rather than being told of bad
    blocks.  `tell` hears a sentence about each device that the new machine goes without.
    """

    fresh: bool = False
    now: str | None = None
    layers: bool = False
    tell: Callable[[str], None] = _nobody


def compose(wanted: Machine, places: Mapping[str, Path], kind: str, standing: Standing) -> str:
    """The XML of a new machine whose disks lie at `places`, by name.

    The XML is made of the one in the definition, or without one of the parts that every machine
    needs, as a domain of `kind`.  The share below layers stands in the images only: when the
    layers need the share no more, nothing else has to be changed.
    """
    root = _begun(wanted.definition, kind)
    root.attrib.pop("id", None)
    _set(root, "name", wanted.name)
    _set(root, "uuid", wanted.uuid)
    devices = _only(root, "devices")
    drop(devices, "emulator")  # each host knows where its own is
    if standing.fresh:
        for interface in devices.findall("interface"):
            drop(interface, "mac")
    for card in wanted.cards:
        _connect(devices, card)
    old = xml.kept(root).names
    names = _place(root, old, wanted, places, standing)
    _without_the_rest(root, names, frozenset(map(str, places.values())), standing)
    own = parse(standing.now) if standing.now is not None else None
    if lost := firmware.placed(root, [path.parent for path in places.values()], own):
        standing.tell(lost)
    more = {k: v for k, v in wanted.definition.items() if k not in _OWN}
    known = {**_names_of(root, old), **names}
    xml.keep(root, Kept({device: name for device, name in known.items() if device != name}, more))
    return ET.tostring(root, encoding="unicode")


def _begun(definition: Mapping[str, Any], kind: str) -> ET.Element:
    """The XML of a definition.  libvirt reads all elements of a name, so there is one of each."""
    text = definition.get(XML)
    root = parse(text) if isinstance(text, str) else _plain(definition, kind)
    if root.find("os") is not None:
        _only(root, "os")
    return root


def _only(root: ET.Element, name: str) -> ET.Element:
    """The one element of a name, with the members of all others of that name."""
    first, *others = root.findall(name) or [ET.SubElement(root, name)]
    for other in others:
        first.extend(list(other))
        root.remove(other)
    return first


def _without_the_rest(
    root: ET.Element, restored: Mapping[str, str], files: frozenset[str], standing: Standing
) -> None:
    """Take the devices that a copy may not have, or that a machine has no more."""
    if standing.now is None:
        names = {**xml.kept(root).names, **restored}
        portable.limit(root, portable.Copy(standing.fresh, files, standing.tell, names))
    else:
        belongings.settle(root, parse(standing.now), restored, standing.tell)


def _place(
    root: ET.Element,
    old: Mapping[str, str],
    wanted: Machine,
    places: Mapping[str, Path],
    standing: Standing,
) -> dict[str, str]:
    """Put the disks where they are now; their names by their devices."""
    devices = _only(root, "devices")
    elements = {xml.volume(one, old).name: one for one in xml.data(root)}
    names = {}
    for disk in wanted.disks:
        known = elements.get(disk.was or disk.name)
        element = _new_disk(devices) if known is None else known
        if element.find("shareable") is not None:
            standing.tell(f"{disk.name} is an image of its own: no other machine shares the image")
        xml.lies(element, disk, places[disk.name])
        if standing.layers and (driver := element.find("driver")) is not None:
            driver.attrib |= {"error_policy": "stop", "rerror_policy": "stop"}
        names[apart.device_of(element)] = disk.name
    return names


def _names_of(root: ET.Element, old: Mapping[str, str]) -> dict[str, str]:
    """The names of disks that are in the machine still."""
    there = {apart.device_of(one) for one in xml.data(root)}
    return {device: name for device, name in old.items() if device in there}


def _new_disk(devices: ET.Element) -> ET.Element:
    taken = {target.get("dev") for target in devices.findall("disk/target")}
    free = next((f"vd{letter}" for letter in _LETTERS if f"vd{letter}" not in taken), None)
    if free is None:
        raise Unsupported("the machine has more disks than there are names for")
    element = ET.SubElement(devices, "disk", {"type": "file", "device": "disk"})
    ET.SubElement(element, "target", {"dev": free, "bus": "virtio"})
    return element


def _connect(devices: ET.Element, card: Card) -> None:
    """Put a network card where it is wanted, and under which address."""
    interfaces = devices.findall("interface")
    if card.number >= len(interfaces):
        raise Malformed(f"the machine has no network card {card.number}")
    interface = interfaces[card.number]
    if card.network:
        drop(interface, "source", "virtualport", "portForward", "backend")
        interface.set("type", "network")
        ET.SubElement(interface, "source", {"network": card.network})
    if card.mac:
        drop(interface, "mac")
        ET.SubElement(interface, "mac", {"address": card.mac})


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


def _set(root: ET.Element, name: str, text: str) -> None:
    found = root.find(name)
    if found is None:
        found = ET.SubElement(root, name)
    found.text = text
