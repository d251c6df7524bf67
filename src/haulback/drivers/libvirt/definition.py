"""XML of a new machine, derived from the XML in its backup, with disks at new paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from haulback.drivers.hypervisor import Machine, NetworkCardSettings
from haulback.drivers.libvirt import copied_members, firmware, retained_devices, unprotected_devices
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.domain import DefinitionExtras, drop
from haulback.drivers.libvirt.identities import NewIdentity, forget, renew
from haulback.errors import Malformed, Unsupported
from haulback.libvirt_xml import XML, parse
from haulback.wire import JsonMapping

AUTOSTART = "haulback:autostart"  # member of a definition whose machine starts with its host
# Members of a definition that are not kept as metadata.
_OWN = (XML, firmware.NVRAM, AUTOSTART, "uuid", "name", "disks")
_MEMORY = 1024  # MiB, for a definition that names no memory size
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _nobody(_: str) -> None:
    """Ignore a sentence about a new machine."""


class CopyMode(NamedTuple):
    """Relation of a new machine to the original machine in its definition.

    `fresh` marks a copy beside the original, which gets addresses of its own. `now` is the current
    XML of a machine that is restored over itself and keeps its devices. `layers` marks disks that
    are overlays on a share: the machine then pauses on disk errors, so that the guest sees no
    errors while the mount is unavailable. `tell` is called with a sentence about each device that
    the new machine lacks.
    """

    fresh: bool = False
    now: str | None = None
    layers: bool = False
    tell: Callable[[str], None] = _nobody


def compose(wanted: Machine, places: Mapping[str, Path], kind: str, standing: CopyMode) -> str:
    """XML of a new machine; `places` maps disk names to image paths.

    The XML is derived from the definition's XML, or built as a minimal domain of type `kind`. The
    share below overlays is named only in the images' headers, so the XML needs no change when the
    overlays become independent of the share.
    """
    root = _begun(wanted.definition, kind)
    root.attrib.pop("id", None)
    _set(root, "name", wanted.name)
    devices = _only(root, "devices")
    _choose_emulator(devices, standing)
    old = xml.kept(root).names
    renew(root, NewIdentity(wanted.uuid, standing.fresh, standing.tell, old))
    for card in wanted.cards:
        _connect(devices, card)
    names = _place(root, old, wanted, places, standing)
    _without_the_rest(root, names, frozenset(map(str, places.values())), standing)
    own = parse(standing.now) if standing.now is not None else None
    if lost := firmware.placed(root, [path.parent for path in places.values()], own):
        standing.tell(lost)
    more = {k: v for k, v in wanted.definition.items() if k not in _OWN}
    known = {**_names_of(root, old), **names}
    xml.keep(
        root,
        DefinitionExtras({device: name for device, name in known.items() if device != name}, more),
    )
    return ET.tostring(root, encoding="unicode")


def _begun(definition: JsonMapping, kind: str) -> ET.Element:
    """Parsed XML of a definition, with a single `os` element.

    libvirt reads all elements with a name, so later ones must not escape the checks.
    """
    text = definition.get(XML)
    root = parse(text) if isinstance(text, str) else _plain(definition, kind)
    if root.find("os") is not None:
        _only(root, "os")
    return root


def _only(root: ET.Element, name: str) -> ET.Element:
    """The single element of a name; further elements of that name are merged into it."""
    first, *others = root.findall(name) or [ET.SubElement(root, name)]
    for other in others:
        first.extend(list(other))
        root.remove(other)
    return first


def _choose_emulator(devices: ET.Element, standing: CopyMode) -> None:
    """Keep the path of QEMU that a machine has now; for other machines the host chooses."""
    drop(devices, "emulator")
    if standing.now is not None:
        devices.extend(parse(standing.now).findall("devices/emulator"))


def _without_the_rest(
    root: ET.Element, restored: Mapping[str, str], files: frozenset[str], standing: CopyMode
) -> None:
    """Remove devices that a copy must not have, or that the machine no longer has."""
    if standing.now is None:
        names = {**xml.kept(root).names, **restored}
        copied_members.limit(root, copied_members.Copy(standing.fresh, files, standing.tell, names))
    else:
        retained_devices.settle(root, parse(standing.now), restored, standing.tell)


def _place(
    root: ET.Element,
    old: Mapping[str, str],
    wanted: Machine,
    places: Mapping[str, Path],
    standing: CopyMode,
) -> dict[str, str]:
    """Set the image paths of all disks; returns disk names by device name."""
    devices = _only(root, "devices")
    elements = {xml.volume(element, old).name: element for element in xml.data(root)}
    names = {}
    for disk in wanted.disks:
        known = elements.get(disk.was or disk.name)
        element = _new_disk(devices) if known is None else known
        if element.find("encryption") is not None or element.find("source/encryption") is not None:
            standing.tell(
                f"{disk.name} is not encrypted: a backup holds its contents, not its keys"
            )
        if element.find("shareable") is not None:
            standing.tell(f"{disk.name} is a separate image: it is not shared with other machines")
        xml.lies(element, disk, places[disk.name])
        if standing.layers and (driver := element.find("driver")) is not None:
            driver.attrib |= {"error_policy": "stop", "rerror_policy": "stop"}
        names[unprotected_devices.device_of(element)] = disk.name
    return names


def _names_of(root: ET.Element, old: Mapping[str, str]) -> dict[str, str]:
    """Names of the disks that are still in the XML."""
    there = {unprotected_devices.device_of(one) for one in xml.data(root)}
    return {device: name for device, name in old.items() if device in there}


def _new_disk(devices: ET.Element) -> ET.Element:
    taken = {target.get("dev") for target in devices.findall("disk/target")}
    free = next((f"vd{letter}" for letter in _LETTERS if f"vd{letter}" not in taken), None)
    if free is None:
        raise Unsupported("the machine has more disks than device names (vda to vdz)")
    element = ET.SubElement(devices, "disk", {"type": "file", "device": "disk"})
    ET.SubElement(element, "target", {"dev": free, "bus": "virtio"})
    return element


def _connect(devices: ET.Element, card: NetworkCardSettings) -> None:
    """Connect a network card to the wanted network and set its MAC address."""
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
        forget(interface, "MAC")  # libvirt takes the setting of the card
        ET.SubElement(interface, "mac", {"address": card.mac})


def _plain(definition: JsonMapping, kind: str) -> ET.Element:
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
