"""Identities of a machine: the list of the members of its XML that a copy renews.

Two machines with the same identity conflict: the second machine does not start, takes the network
traffic or the sockets of the first, or counts as the first for licences and for its own guest.

| identity | a copy beside its original | restored where the original is gone | over itself |
|---|---|---|---|
| uuid, hwuuid, and each uuid in sysinfo | own | as in the backup | as in the backup |
| serial numbers in sysinfo | own | as in the backup | as in the backup |
| generation id (genid) | own | own | own |
| serials and WWNs of disks and NVMe | as in the backup | as in the backup | as in the backup |
| MAC, tap, switch port, forwarded ports | own | as in the backup | as in the backup |
| MAC and IPv4 address in the filter of a card | learned | as in the backup | as in the backup |
| metadata of other programs | none | as in the backup | as in the backup |
| sockets, files and logs of lines and channels | own | as in the backup | as in the backup |
| ports and sockets of screens | own | as in the backup | as in the backup |
| vsock address, crash store | own | as in the backup | as in the backup |
| host CPUs and memory nodes of a pinning | none | as in the backup | as in the backup |
| secret of a TPM's state | none | as in the backup | as in the backup |

Guests name disks by their serials (`/dev/disk/by-id` in fstab, multipath, filters of LVM): a copy
with other serials may not start. A serial counts within its own machine only, since no other
machine has the disk.

The filter of a card lets only the addresses in its parameters pass; libvirt learns the MAC and the
IPv4 address of the copy. Other parameters stay, because a filter that lacks a parameter lets no
machine start. Metadata of other programs (the instance and the ports of OpenStack) names the
original in their databases; the name of the guest's operating system stays.

A copy is not pinned to the CPUs of its running original, which needs these CPUs itself, and gets no
exclusive share of a CPU cache. The generation id tells the guest that it was set back in time, so
the id is also new after a revert to a snapshot, as libvirt does it.

`copied_members` removes the resources of the original, which no copy may have at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from xml.etree import ElementTree as ET

from haulback.drivers.libvirt import unprotected_devices
from haulback.drivers.libvirt.domain import OURS, drop

OWN_LINES = ("pty", "null", "vc", "stdio", "spicevmc", "spiceport", "qemu-vdagent")
# Metadata that names the guest's system, which concerns no other machine.
_SYSTEM = "{http://libosinfo.org/"
_LEARNED = ("MAC", "IP")  # parameters of a card's filter that libvirt learns where they are missing
# Pinning to the host's CPUs, and shares of its caches, which are exclusive.
_PINS = ("vcpupin", "emulatorpin", "iothreadpin", "cachetune", "memorytune")
_SEED = "ds="  # cloud-init reads its settings from a serial number that begins so


class NewIdentity(NamedTuple):
    """The identity of a new machine: its `uuid`, and whether it is a copy beside its original.

    `tell` is called with a sentence about each device whose host end changed; `names` maps device
    names to names of disks.
    """

    uuid: str
    fresh: bool
    tell: Callable[[str], None]
    names: Mapping[str, str]


def renew(root: ET.Element, new: NewIdentity) -> None:
    """Give a machine's XML, which still names the original, the identity of the new machine."""
    before = (root.findtext("uuid") or "").strip()
    for sysinfo in root.findall("sysinfo"):
        _sysinfo(sysinfo, before, new)
    if another_generation(root) and not new.fresh:
        new.tell(
            "the generation id (genid) is new: it tells the guest that its disks went back in time"
        )
    drop(root, "uuid")
    root.insert(0, _text("uuid", new.uuid))
    if not new.fresh:
        return
    for seen in root.findall("hwuuid"):  # the uuid that the guest sees
        seen.text = new.uuid
    _unpin(root, new)
    for metadata in root.findall("metadata"):
        _metadata(metadata, new)
    for device in root.findall("devices/*"):
        if change := _DEVICES.get(device.tag):
            change(device, new)


def another_generation(root: ET.Element) -> bool:
    """Let libvirt make a new generation id; returns whether the machine has any."""
    found = root.findall("genid")
    for generation in found:
        generation.text = None
    return bool(found)


def _unpin(root: ET.Element, new: NewIdentity) -> None:
    """Remove the pinning of a machine to CPUs and memory nodes of the host."""
    pins = [(tune, pin) for tune in root.findall("cputune") for pin in tune if pin.tag in _PINS]
    pins += [(root, tune) for tune in root.findall("numatune")]
    for above, pin in pins:
        above.remove(pin)
    placed = [vcpu for vcpu in root.findall("vcpu") if vcpu.attrib.pop("cpuset", None)]
    for vcpu in placed:
        vcpu.attrib.pop("placement", None)
    if pins or placed:
        new.tell("the pinning to CPUs and memory of the host is left out: the original uses them")


def _text(tag: str, text: str) -> ET.Element:
    element = ET.Element(tag)
    element.text = text
    return element


def _sysinfo(sysinfo: ET.Element, before: str, new: NewIdentity) -> None:
    """Set the uuid in the firmware's tables, which libvirt compares with the machine's uuid."""
    for entry in sysinfo.findall("system/entry[@name='uuid']"):
        entry.text = new.uuid
    old = re.compile(re.escape(before), re.IGNORECASE)
    for entry in sysinfo.iter("entry"):
        if before and entry.text:
            entry.text = old.sub(new.uuid, entry.text)
    for entry in sysinfo.findall("*/entry[@name='serial']") if new.fresh else ():
        serial = (entry.text or "").strip()
        if serial and not serial.startswith(_SEED):
            entry.text = new.uuid


def _metadata(metadata: ET.Element, new: NewIdentity) -> None:
    """Remove the members by which other programs recognize the original."""
    alien = [one for one in metadata if one.tag != OURS and not one.tag.startswith(_SYSTEM)]
    for member in alien:
        metadata.remove(member)
    if alien:
        new.tell(
            "the metadata of other programs is left out, because this metadata names the original"
        )


def _card(card: ET.Element, new: NewIdentity) -> None:
    drop(card, "mac", "target", "script", "downscript", "portForward")
    for backend in card.findall("backend"):
        backend.attrib.pop("logFile", None)
    for parameters in card.findall("virtualport/parameters"):
        for name in ("interfaceid", "instanceid"):
            parameters.attrib.pop(name, None)
    if forget(card, *_LEARNED):
        forget(card, "CTRL_IP_LEARNING", only="none")
        new.tell(
            "the filter of a network card learns its addresses anew: the copy has other addresses"
        )


def forget(card: ET.Element, *names: str, only: str = "") -> bool:
    """Remove parameters of a card's filters, all or those of one value; returns whether any was
    there.
    """
    had = False
    for filtered in card.findall("filterref"):
        for parameter in filtered.findall("parameter"):
            if parameter.get("name") in names and only in ("", parameter.get("value")):
                filtered.remove(parameter)
                had = True
    return had


def _line(line: ET.Element, new: NewIdentity) -> None:
    """Give a serial line or channel a new host end; the target of a line to another process is no
    identity.
    """
    kind = line.get("type", "")
    if kind not in OWN_LINES and not listens(line) and kind != "file":
        return
    before = kind
    if kind not in OWN_LINES:
        kind = "unix" if line.tag == "channel" else "pty"
    line.attrib.clear()
    line.set("type", kind)
    drop(line, "log", "protocol")
    if kind in ("pty", "unix"):
        drop(line, "source")
    if kind != before:
        name = unprotected_devices.name_of(line, new.names)
        new.tell(f"{name} has a new host end: the connection ({before}) belongs to the original")


def listens(line: ET.Element) -> bool:
    """Whether the host end of a line is a socket that QEMU listens at."""
    modes = [source.get("mode") for source in line.findall("source")]
    return line.get("type") in ("unix", "tcp") and all(mode == "bind" for mode in modes)


def _screen(screen: ET.Element, new: NewIdentity) -> None:
    """Let libvirt choose a free socket or port for a screen."""
    for name in ("port", "tlsPort", "socket"):
        screen.attrib.pop(name, None)
    for listener in screen.findall("listen"):
        listener.attrib.pop("socket", None)
    if "websocket" in screen.attrib:
        screen.set("websocket", "-1")
    if screen.get("type") != "egl-headless":
        screen.set("autoport", "yes")


def _vsock(vsock: ET.Element, new: NewIdentity) -> None:
    for cid in vsock.findall("cid"):
        if cid.get("auto") != "yes":
            new.tell("the vsock has another address: addresses are unique on a host")
        cid.attrib.clear()
        cid.set("auto", "yes")


def _tpm(tpm: ET.Element, new: NewIdentity) -> None:
    for backend in tpm.findall("backend"):
        if backend.find("encryption") is not None:
            drop(backend, "encryption")
            new.tell("the state of the TPM is not encrypted: the secret belongs to the original")


def _pstore(store: ET.Element, new: NewIdentity) -> None:
    drop(store, "path")


_DEVICES: dict[str, Callable[[ET.Element, NewIdentity], None]] = {
    **dict.fromkeys(("serial", "parallel", "console", "channel"), _line),
    "interface": _card,
    "graphics": _screen,
    "vsock": _vsock,
    "pstore": _pstore,
    "tpm": _tpm,
}
