"""Disks that were plugged into a running machine, added to its definition for the backup.

The inactive XML lists the devices of the next start. A disk that was plugged in for the running
machine only is in the backup, and its restored machine has it at the same bus and device name.
"""

from __future__ import annotations

from copy import deepcopy
from xml.etree import ElementTree as ET

from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt import unprotected_devices
from haulback.libvirt_xml import parse

_USER_ALIAS = "ua-"  # aliases that a user chose begin so; libvirt makes the others at each start


def with_plugged(definition: str, live: str) -> str:
    """The inactive XML of a machine with the disks that only its current XML has."""
    root, now = parse(definition), parse(live)
    devices = root.find("devices")
    known = {unprotected_devices.device_of(disk) for disk in root.findall("devices/disk")}
    plugged = [disk for disk in xml.data(now) if unprotected_devices.device_of(disk) not in known]
    if devices is None or not plugged:
        return definition
    for disk in plugged:
        if controller := _controller(disk, now):
            seats = f"controller[@type='{controller.get('type')}']"
            if devices.find(f"{seats}[@index='{controller.get('index')}']") is None:
                devices.append(_settled(controller))
        devices.append(_settled(disk))
    return ET.tostring(root, encoding="unicode")


def _controller(disk: ET.Element, now: ET.Element) -> ET.Element | None:
    """The controller of a disk that has the address of a drive; None for other disks."""
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
        source.attrib.pop("index", None)
    for alias in made.findall("alias"):
        if not alias.get("name", "").startswith(_USER_ALIAS):
            made.remove(alias)
    for address in made.findall("address"):
        if address.get("type") != "drive":
            made.remove(address)
    return made
