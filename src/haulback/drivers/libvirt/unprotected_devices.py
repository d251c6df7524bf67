"""Devices of a machine that backups leave out, with the reasons, by the machine's XML."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from xml.etree import ElementTree as ET

from haulback.drivers.hypervisor import UnprotectedPart

# Types of disk sources that QEMU reads itself, so that a backup job can export them.
_READ = frozenset(("file", "block", "network", "volume", "nvme", "vhostvdpa"))
DRIVES = {"cdrom": "CD", "floppy": "floppy"}
_FILES = ("nvdimm", "virtio-pmem")  # models of memory that is stored in a file
_PLACES = ("file", "dev", "dir", "path", "socket", "volume", "name")  # attributes of a source
_LONGEST = 160  # maximum length of a name in a message, in characters
_SHARED = "other machines write to this disk too, so a backup can hold half-finished writes"


def device_of(element: ET.Element) -> str:
    """Device name of a disk, for instance vda; "" for a disk without one."""
    target = element.find("target")
    return target.get("dev", "") if target is not None else ""


def is_drive(element: ET.Element) -> bool:
    """Whether a disk is a drive with a removable medium."""
    return element.get("device") in DRIVES


def why(element: ET.Element) -> str | None:
    """Reason why backups leave out a disk; None for a disk in backups and for an empty drive."""
    kind, device = element.get("type", "file"), element.get("device", "disk")
    if device in DRIVES:
        empty = element.find("source") is None
        return None if empty else f"a medium{_place(element)} in a {DRIVES[device]} drive"
    if device == "lun":
        return f"a LUN{_place(element)} that is passed through to the guest"
    if device != "disk":
        return f"a device of the unknown type {_short(device)!r}"
    if element.find("transient") is not None:
        return f"a transient disk{_place(element)}, which is emptied when the machine stops"
    if element.find("readonly") is not None:
        return f"a read-only disk{_place(element)}"
    if kind not in _READ:
        return (
            f"a disk of the type {_short(kind)!r}{_place(element)}, which QEMU does not read itself"
        )
    return None


def found(root: ET.Element, names: Mapping[str, str]) -> list[UnprotectedPart]:
    """All devices that backups leave out; `names` maps device names to names of disks."""
    told = [*_disks(root, names)]
    for tag, say in _OTHERS.items():
        elements = root.findall(f"devices/{tag}")
        said = (say(element, number) for number, element in enumerate(elements))
        told += [part for part in said if part]
    if written := written_loader(root):
        lies = f"code and variables are in one file ({written}) that the machine writes"
        told.append(UnprotectedPart("the firmware", lies))
    return told


def written_loader(root: ET.Element) -> str | None:
    """Path of a firmware image that also stores its variables; None without one."""
    for loader in root.findall("os/loader"):
        if not is_only_read(loader):
            return _short((loader.text or "").strip())
    return None


def is_only_read(loader: ET.Element) -> bool:
    """Whether QEMU opens a firmware image read-only."""
    given = (loader.get("readonly"), loader.get("stateless"))
    return loader.get("type") != "pflash" or "yes" in given


def name_of(element: ET.Element, names: Mapping[str, str], number: int = 0) -> str:
    """Name of a device for messages: a disk's name in backups, else type, number and place."""
    if element.tag == "disk":
        return _disk_name(element, names)
    namer = _NAMES.get(element.tag)
    return namer(element, number) if namer else f"{_short(element.tag)} {number}"


def _disk_name(element: ET.Element, names: Mapping[str, str]) -> str:
    device = device_of(element)
    return _short(names.get(device, device)) or "a disk"


def _disks(root: ET.Element, names: Mapping[str, str]) -> Iterator[UnprotectedPart]:
    for element in root.findall("devices/disk"):
        name = _disk_name(element, names)
        if reason := why(element):
            yield UnprotectedPart(name, reason)
        elif element.find("shareable") is not None and not is_drive(element):
            yield UnprotectedPart(name, _SHARED, held=True)


def _hostdev(element: ET.Element, number: int) -> UnprotectedPart:
    return UnprotectedPart(
        _host_name(element, number), "a device of the host, whose contents stay on the host"
    )


def _filesystem(element: ET.Element, number: int) -> UnprotectedPart:
    return UnprotectedPart(
        _folder_name(element, number), "a folder of the host, which is not a disk"
    )


def _memory(element: ET.Element, number: int) -> UnprotectedPart | None:
    if element.get("model") not in _FILES:
        return None
    name = _memory_name(element, number)
    return UnprotectedPart(name, "memory that is stored in a file of the host")


def _tpm(element: ET.Element, number: int) -> UnprotectedPart:
    return UnprotectedPart(
        "the TPM", "the state of the device is not on a disk; keep the recovery keys at hand"
    )


def _host_name(element: ET.Element, number: int) -> str:
    source = element.find("source")
    parts = [element.get("type", ""), *_words(source)] if source is not None else []
    return f"host device {number} ({_short(' '.join(parts))})" if parts else f"host device {number}"


def _folder_name(element: ET.Element, number: int) -> str:
    target = element.find("target")
    tag = target.get("dir", "") if target is not None else ""
    return f"folder {_short(tag) or number}{_place(element)}"


def _memory_name(element: ET.Element, number: int) -> str:
    path = element.findtext("source/path") or ""
    return f"memory {number} ({_short(path)})"


def _card_name(element: ET.Element, number: int) -> str:
    return f"network card {number}"


def _channel_name(element: ET.Element, number: int) -> str:
    target = element.find("target")
    name = target.get("name", "") if target is not None else ""
    return f"channel {_short(name) or number}"


_NAMES: dict[str, Callable[[ET.Element, int], str]] = {
    "hostdev": _host_name,
    "filesystem": _folder_name,
    "memory": _memory_name,
    "interface": _card_name,
    "channel": _channel_name,
}
_OTHERS: dict[str, Callable[[ET.Element, int], UnprotectedPart | None]] = {
    "hostdev": _hostdev,
    "filesystem": _filesystem,
    "memory": _memory,
    "tpm": _tpm,
}


def _words(source: ET.Element) -> list[str]:
    """All attribute values and texts in an element, in document order."""
    return [
        value for one in source.iter() for value in (*one.attrib.values(), (one.text or "").strip())
    ]


def _place(element: ET.Element) -> str:
    """Place of a disk's or folder's source, in parentheses; "" if the source names none."""
    source = element.find("source")
    if source is None:
        return ""
    named = (source.get(name) for name in _PLACES)
    place = next((one for one in named if one), "")
    kind = source.get("protocol") or source.get("pool") or ""
    text = _short(f"{kind} {place}".strip())
    return f" ({text})" if text else ""


def _short(text: str) -> str:
    """An untrusted name, printable and shortened."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
