"""Devices that a machine keeps when a backup of itself is restored over it.

The backup's XML lists the devices of the time of the backup, the machine's current XML lists its
present devices. The present devices are kept, not those of the backup: a LUN that was since
assigned to another machine must not be attached again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from copy import deepcopy
from xml.etree import ElementTree as ET

from haulback.drivers.hypervisor import Machine
from haulback.drivers.images import backing_chain
from haulback.drivers.libvirt import copied_members, unprotected_devices
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.domain import DomainDisk
from haulback.errors import HaulbackError
from haulback.libvirt_xml import XML, parse

Tell = Callable[[str], None]
Names = Mapping[str, str]  # disk names in backups by device name
# Members of a disk element that describe the virtual device rather than its image.
_FRAME = ("target", "address", "alias", "boot", "serial", "wwn", "vendor", "product", "acpi")
_NOT_RESTORED = "the disk was not restored"
_SEATS = ("address", "alias", "boot")  # members about a device's place in the machine


def settle(root: ET.Element, now: ET.Element, restored: Names, tell: Tell) -> None:
    """Remove the devices from `root` that the machine no longer has; virtual hardware stays.

    `now` is the machine's current XML; `restored` maps device names of the new disks to disk names.
    """
    _tell_of_later_ones(root, now, tell)
    _keep_passwords(root, now, tell)
    names = {**xml.kept(root).names, **restored}
    for devices in root.findall("devices"):
        seen: dict[str, int] = {}
        for element in list(devices):
            number = seen[element.tag] = seen.get(element.tag, -1) + 1
            if unprotected_devices.device_of(element) in restored and element.tag == "disk":
                continue
            stays = _disk_stays if element.tag == "disk" else _device_stays
            if not stays(element, now, names, tell):
                devices.remove(element)
                name = unprotected_devices.name_of(element, names, number)
                tell(f"{name} is left out: the device was removed from the machine, or changed")


def _keep_passwords(root: ET.Element, now: ET.Element, tell: Tell) -> None:
    """Give each screen the password that it has now; no backup holds passwords."""
    known = {screen.get("type"): screen for screen in now.findall("devices/graphics")}
    for screen in root.findall("devices/graphics"):
        there = known.get(screen.get("type"))
        for name in ("passwd", "passwdValidTo"):
            if there is not None and name in there.attrib:
                screen.set(name, there.attrib[name])
        if sentence := copied_members.locked(screen):
            tell(sentence)


def _disk_stays(element: ET.Element, now: ET.Element, names: Names, tell: Tell) -> bool:
    """Replace a disk that was not restored by the current disk with its device name."""
    there = _same_seat(element, now)
    if there is None:
        if unprotected_devices.is_drive(element):
            xml.drop(element, "source")
            return True
        return False
    for child in [member for member in element if member.tag not in _FRAME]:
        element.remove(child)
    for child in reversed([member for member in there if member.tag not in _FRAME]):
        element.insert(0, deepcopy(child))
    element.attrib |= there.attrib
    if not unprotected_devices.is_drive(element):
        name = unprotected_devices.name_of(element, names)
        tell(f"{name} stays as it is: {unprotected_devices.why(element) or _NOT_RESTORED}")
    return True


def _same_seat(element: ET.Element, now: ET.Element) -> ET.Element | None:
    """The current disk with the same device name, device type and bus; None without one."""
    for one in now.findall("devices/disk"):
        if _seat(one) == _seat(element):
            return one
    return None


def _seat(disk: ET.Element) -> tuple[str, str, str]:
    target = disk.find("target")
    bus = target.get("bus", "") if target is not None else ""
    return unprotected_devices.device_of(disk), disk.get("device", "disk"), bus


def _device_stays(element: ET.Element, now: ET.Element, names: Names, tell: Tell) -> bool:
    """Whether a device stays.

    Virtual hardware is restored from the backup. A device that no copy may have stays only if the
    machine still has the same device.
    """
    copy = copied_members.Copy(fresh=False, files=frozenset(), tell=lambda _: None, names=names)
    if copied_members.refusal(deepcopy(element), copy) is None:
        if element.tag == "tpm":
            tell("the TPM stays as it is: no backup holds its state")
        return True
    there = now.findall(f"devices/{element.tag}")
    return any(_essence(device) == _essence(element) for device in there)


def _essence(element: ET.Element) -> str:
    bare = deepcopy(element)
    xml.drop(bare, *_SEATS)
    return ET.canonicalize(ET.tostring(bare, encoding="unicode"), strip_text=True)


def _tell_of_later_ones(root: ET.Element, now: ET.Element, tell: Tell) -> None:
    """Report disks that were added after the backup: they are detached, their images stay."""
    before = {unprotected_devices.device_of(one) for one in root.findall("devices/disk")}
    names = xml.kept(now).names
    for one in now.findall("devices/disk"):
        device, empty = unprotected_devices.device_of(one), one.find("source") is None
        if device not in before and not empty:
            name = unprotected_devices.name_of(one, names)
            tell(f"{name} was added after the backup: the disk is detached, and its image stays")


def exchanged(wanted: Machine, now: ET.Element) -> set[str]:
    """Device names of the machine's current disks that are restored."""
    names = {disk.was or disk.name for disk in wanted.disks}
    text = wanted.definition.get(XML)
    then = xml.volumes(parse(text)) if isinstance(text, str) else []
    devices = {volume.device for volume in then if volume.name in names}
    return {v.device for v in xml.volumes(now) if v.name in names or v.device in devices}


def that_stay(volumes: Collection[DomainDisk], devices: Set[str] | None) -> list[str]:
    """Sentences about replaced disks (`devices`, None for all) whose old images are kept."""
    replaced = [one for one in volumes if devices is None or one.device in devices]
    return [
        f"{one.name} has an image of its own now: {kept} stays"
        for one in replaced
        for kept in _kept_files(one)
    ]


def _kept_files(disk: DomainDisk) -> list[str]:
    """Texts for files that stay: the old disk if its image is kept, otherwise files that it
    needed.
    """
    path = disk.path
    if path is None or disk.shared or path.is_symlink() or not path.is_file():
        return [f"the old disk {path or disk.where}"]
    if disk.format != "qcow2":  # the guest may have written any header into the other image
        return []
    try:
        return [f"{file} of the old disk" for file in backing_chain.others(path)]
    except HaulbackError:
        return []
