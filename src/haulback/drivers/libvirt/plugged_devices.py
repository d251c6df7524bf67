"""Disks and network cards that were plugged into a running machine, added for its backup.

The inactive XML lists the devices of the next start. A disk that was plugged in for the running
machine only is in the backup, and its restored machine has it at the same bus and device name; a
network card that was plugged in is in the definition of the backup too.
"""

from __future__ import annotations

from copy import deepcopy
from xml.etree import ElementTree as ET

from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt import unprotected_devices
from haulback.libvirt_xml import parse

# Aliases that a user chose begin in this way; libvirt makes the others at each start.
_USER_ALIAS = "ua-"
_OF_A_RUN = ("index", "portid")  # attributes of a source that libvirt sets at each start
_OWN_TAPS = ("vnet", "macvtap", "macvlan")  # beginnings of names that libvirt makes itself


def with_plugged(definition: str, live: str) -> str:
    """The inactive XML of a machine with the disks and cards that only its current XML has."""
    root, now = parse(definition), parse(live)
    devices = root.find("devices")
    plugged = [*_disks(root, now), *_cards(root, now)]
    if devices is None or not plugged:
        return definition
    for device in plugged:
        controller = _controller(device, now)
        if controller is not None:  # an element without children is false
            seats = f"controller[@type='{controller.get('type')}']"
            if devices.find(f"{seats}[@index='{controller.get('index')}']") is None:
                devices.append(_settled(controller))
        devices.append(_settled(device))
    return ET.tostring(root, encoding="unicode")


def _disks(root: ET.Element, now: ET.Element) -> list[ET.Element]:
    known = {unprotected_devices.device_of(disk) for disk in root.findall("devices/disk")}
    return [disk for disk in xml.data(now) if unprotected_devices.device_of(disk) not in known]


def _cards(root: ET.Element, now: ET.Element) -> list[ET.Element]:
    known = {_address(card) for card in root.findall("devices/interface")}
    return [card for card in now.findall("devices/interface") if _address(card) not in known]


def _address(card: ET.Element) -> str:
    mac = card.find("mac")
    return mac.get("address", "").lower() if mac is not None else ""


def _controller(disk: ET.Element, now: ET.Element) -> ET.Element | None:
    """The controller of a disk that has the address of a drive; None for other devices."""
    address, target = disk.find("address[@type='drive']"), disk.find("target")
    if address is None or target is None:
        return None
    index = address.get("controller", "0")
    same = now.findall(f"devices/controller[@index='{index}']")
    return next((one for one in same if one.get("type") == target.get("bus")), None)


def _settled(device: ET.Element) -> ET.Element:
    """A device without the values of the present run; other devices may take its PCI address."""
    made = deepcopy(device)
    xml.drop(made, "backingStore", "mirror")
    for source in made.findall("source"):
        for name in _OF_A_RUN:
            source.attrib.pop(name, None)
        if "network" in source.attrib:
            source.attrib.pop("bridge", None)
    for alias in made.findall("alias"):
        if not alias.get("name", "").startswith(_USER_ALIAS):
            made.remove(alias)
    for address in made.findall("address"):
        if address.get("type") != "drive":
            made.remove(address)
    for tap in made.findall("target") if made.tag == "interface" else ():
        if tap.get("dev", "").startswith(_OWN_TAPS):
            made.remove(tap)
    return made
