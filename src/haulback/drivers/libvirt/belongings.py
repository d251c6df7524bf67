"""Belongings of a machine that is restored over itself: its devices besides the restored disks.

The backup's XML names the devices that the machine had then, the machine's XML of now those that
it still has: a LUN that went to another machine since must not come back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from copy import deepcopy
from xml.etree import ElementTree as ET

from haulback.drivers.hypervisor import Machine
from haulback.drivers.libvirt import apart, portable
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.domain import XML, Volume

Tell = Callable[[str], None]
Names = Mapping[str, str]  # of disks in backups, by their device names
_FRAME = ("target", "address", "alias", "boot", "serial", "wwn", "vendor", "product", "acpi")
_NOT_RESTORED = "the disk was not restored"
_SEATS = ("address", "alias", "boot")  # the place of a device in the machine, not the device


def settle(root: ET.Element, now: ET.Element, restored: Names, tell: Tell) -> None:
    """Leave a machine its devices of now; `restored` are its new disks, names by device names."""
    _tell_of_later_ones(root, now, tell)
    names = {**xml.kept(root).names, **restored}
    for devices in root.findall("devices"):
        seen: dict[str, int] = {}
        for element in list(devices):
            number = seen[element.tag] = seen.get(element.tag, -1) + 1
            if apart.device_of(element) in restored and element.tag == "disk":
                continue
            stays = _disk_stays if element.tag == "disk" else _device_stays
            if not stays(element, now, names, tell):
                devices.remove(element)
                name = apart.name_of(element, names, number)
                tell(f"{name} is left out: the machine has the device no more, or in another way")


def _disk_stays(element: ET.Element, now: ET.Element, names: Names, tell: Tell) -> bool:
    """A disk that was not restored becomes the disk that the machine has in its place now."""
    there = _same_seat(element, now)
    if there is None:
        if apart.is_drive(element):
            xml.drop(element, "source")
            return True
        return False
    for child in [one for one in element if one.tag not in _FRAME]:
        element.remove(child)
    for child in reversed([one for one in there if one.tag not in _FRAME]):
        element.insert(0, deepcopy(child))
    element.attrib |= there.attrib
    if not apart.is_drive(element):
        name = apart.name_of(element, names)
        tell(f"{name} stays as it is: {apart.why(element) or _NOT_RESTORED}")
    return True


def _same_seat(element: ET.Element, now: ET.Element) -> ET.Element | None:
    """The disk of now in the place of another one, if both are of the same kind."""
    for one in now.findall("devices/disk"):
        if _seat(one) == _seat(element):
            return one
    return None


def _seat(disk: ET.Element) -> tuple[str, str, str]:
    target = disk.find("target")
    bus = target.get("bus", "") if target is not None else ""
    return apart.device_of(disk), disk.get("device", "disk"), bus


def _device_stays(element: ET.Element, now: ET.Element, names: Names, tell: Tell) -> bool:
    """Virtual hardware comes back as it was; a device that no copy may have must still be there."""
    copy = portable.Copy(fresh=False, files=frozenset(), tell=lambda _: None, names=names)
    if portable.refusal(deepcopy(element), copy) is None:
        if element.tag == "tpm":
            tell("the TPM stays as it is: no backup holds its state")
        return True
    there = now.findall(f"devices/{element.tag}")
    return any(_essence(one) == _essence(element) for one in there)


def _essence(element: ET.Element) -> str:
    bare = deepcopy(element)
    xml.drop(bare, *_SEATS)
    return ET.canonicalize(ET.tostring(bare, encoding="unicode"), strip_text=True)


def _tell_of_later_ones(root: ET.Element, now: ET.Element, tell: Tell) -> None:
    """Disks that came after the backup are detached, and none of their images is deleted."""
    before = {apart.device_of(one) for one in root.findall("devices/disk")}
    names = xml.kept(now).names
    for one in now.findall("devices/disk"):
        device, empty = apart.device_of(one), one.find("source") is None
        if device not in before and not empty:
            name = apart.name_of(one, names)
            tell(f"{name} came after the backup: the disk is detached, and its image stays")


def exchanged(wanted: Machine, now: ET.Element) -> set[str]:
    """The device names of the disks that a machine has now and that are restored."""
    names = {disk.was or disk.name for disk in wanted.disks}
    text = wanted.definition.get(XML)
    then = xml.volumes(xml.parse(text)) if isinstance(text, str) else []
    devices = {volume.device for volume in then if volume.name in names}
    return {v.device for v in xml.volumes(now) if v.name in names or v.device in devices}


def that_stay(volumes: Collection[Volume], devices: Set[str] | None) -> list[str]:
    """Sentences about exchanged disks (None: all) whose old images are not deleted."""
    return [
        f"{one.name} has an image of its own now: the old disk {one.path or one.where} stays"
        for one in volumes
        if (devices is None or one.device in devices)
        and (one.shared or not (one.path and one.path.is_file()))
    ]
