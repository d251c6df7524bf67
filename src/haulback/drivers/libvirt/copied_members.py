"""Allow list for copies: the members of the original's XML that a copy of a machine keeps.

Resources that a machine uses (a LUN, a device, a folder, a socket of another process) belong to the
original, and copies do not have them. Resources that a machine creates on its host (listening
sockets, logs, ports, taps) are `identities`, which a copy beside the original renews. Files that
QEMU only reads at a start (kernel, firmware, ROMs, tables) may be shared.

Tables name the allowed members: names of attributes begin with "@", None allows all members below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple
from xml.etree import ElementTree as ET

from haulback.drivers.libvirt import unprotected_devices
from haulback.drivers.libvirt.domain import drop
from haulback.drivers.libvirt.identities import OWN_LINES, listens
from haulback.wire import JsonMapping, JsonObject

Table = JsonMapping  # None, another table, or a rule for one element
_ALIEN = "it may refer to a resource of the original"


class Copy(NamedTuple):
    """A copy of a machine; `fresh` is true if the original still exists on the host; `files` are
    the images of the copy.

    `tell` is called with a sentence for each device that the copy lacks; `names` maps device names
    to names of disks.
    """

    fresh: bool
    files: frozenset[str]
    tell: Callable[[str], None]
    names: Mapping[str, str]


Rule = Callable[[ET.Element, Copy], str | None]
"""Trims a device to the allowed members, or returns the reason why copies must not have it."""


def limit(root: ET.Element, copy: Copy) -> None:
    """Remove all members that are not on the allow list from a machine's XML, and report them."""
    only(root, _DOMAIN, copy.tell)
    for devices in root.findall("devices"):
        devices.attrib.clear()
        devices.text = None
        seen: dict[str, int] = {}
        for element in list(devices):
            number = seen[element.tag] = seen.get(element.tag, -1) + 1
            if why := refusal(element, copy):
                copy.tell(
                    f"{unprotected_devices.name_of(element, copy.names, number)} is left out: {why}"
                )
                devices.remove(element)


def refusal(element: ET.Element, copy: Copy) -> str | None:
    """Reason why a copy must not have a device; None after the device was trimmed."""
    rule = _DEVICES.get(element.tag)
    return rule(element, copy) if rule else _ALIEN


def isolate(root: ET.Element) -> None:
    """Remove all devices that reach anything outside a machine that is booted for a proof."""
    for devices in root.findall("devices"):
        for element in list(devices):
            if element.tag not in _ISOLATED or unprotected_devices.is_drive(element):
                devices.remove(element)


def only(
    element: ET.Element, table: Table, tell: Callable[[str], None] = lambda _: None, path: str = ""
) -> None:
    """Remove members that a table does not name, and report removed elements."""
    element.text = None  # text is meaningless in an element whose members a table lists
    for name in [attribute for attribute in element.attrib if f"@{attribute}" not in table]:
        del element.attrib[name]
    for child in list(element):
        below = table.get(child.tag, _refused)
        if isinstance(below, Mapping):
            only(child, below, tell, f"{path}{child.tag}/")
        elif below is not None and not below(child):
            element.remove(child)
            name = child.tag.rpartition("}")[2]
            tell(f"'{path}{name}' of the definition is left out: {_ALIEN}")


def _refused(_: ET.Element) -> bool:
    return False


def _names(names: str, **more: object) -> JsonObject:
    return {**dict.fromkeys(names.split()), **more}


def _is_own_label(label: ET.Element) -> bool:
    """Whether libvirt generates a security label for each machine; a static label belongs to the
    original.
    """
    return label.get("type") != "static"


_DOMAIN = _names(
    "@type name uuid hwuuid genid title description metadata sysinfo features cpu "
    "memory maxMemory currentMemory memoryBacking memtune numatune "
    "vcpu vcpus cputune iothreads iothreadids defaultiothread "
    "clock on_poweroff on_reboot on_crash on_lockfailure pm perf keywrap throttlegroups devices",
    seclabel=_is_own_label,
    blkiotune=_names("weight"),
    resource=_names("partition"),
    launchSecurity=_names("@type @kernelHashes cbitpos reducedPhysBits policy"),
    os=_names(
        "@firmware type firmware nvram boot bootmenu smbios bios kernel initrd cmdline dtb shim "
        "acpi",
        loader=unprotected_devices.is_only_read,
        varstore=_names("@template"),
    ),
)
_FRAME = "target address alias boot acpi"  # members that devices have in common
_DISK = _names(
    f"@type @device @model @snapshot driver iotune blockio geometry serial wwn vendor product "
    f"throttlefilters {_FRAME}",
    source=_names("@file"),
)
_DRIVE = _names(f"@type @device @model driver readonly serial wwn vendor product {_FRAME}")
_CARD = _names(
    "@type @trustGuestRxFilters mac driver boot rom link mtu bandwidth vlan coalesce "
    "filterref guest ip route tune address alias acpi port teaming target script downscript "
    "portForward",
    model=_names("@type"),
    source=_names("@network @portgroup @bridge @dev @mode"),
    backend=_names("@type @logFile"),
    virtualport=_names(
        "@type",
        parameters=_names("@managerid @typeid @typeidversion @profileid @interfaceid @instanceid"),
    ),
)
_LINE = _names("@type target address alias acpi", source=_names("@channel clipboard mouse"))
_SCREEN = _names(
    "@type @port @tlsPort @autoport @websocket @socket @listen @keymap @passwd @passwdValidTo "
    "@connected @defaultMode @sharePolicy @powerControl @replaceUser @multiUser @username "
    "channel image jpeg zlib playback streaming clipboard mouse filetransfer audio",
    gl=_names("@enable"),
    listen=_names("@type @address @network @socket"),
)
_PICTURE = _names(
    f"driver {_FRAME}",
    model=_names(
        "@type @ram @vram @vram64 @vgamem @heads @primary @blob @edid resolution",
        acceleration=_names("@accel2d @accel3d"),
    ),
)
_INPUT = _names(f"@type @bus @model driver {_FRAME}")
_RNG = _names(f"@model backend rate driver {_FRAME}")
_CHIP = _names(f"@model backend {_FRAME}")
_MEMORY = _names(f"@model @access @discard uuid {_FRAME}", source=_names("pagesize nodemask nodes"))
_STORE = _names(f"@backend size path {_FRAME}")
_VSOCK = _names(f"@model driver {_FRAME}", cid=_names("@auto @address"))
_TPM = _names("@type @version @persistent_state @debug encryption active_pcr_banks profile")


def _whole(element: ET.Element, copy: Copy) -> str | None:
    """Allow a device that is pure virtual hardware."""
    return None


def _disk(element: ET.Element, copy: Copy) -> str | None:
    """Allow images created for the copy and empty drives; refuse all other disks."""
    if element.get("type") == "file" and _lies_in(element, copy.files):
        only(element, _DISK)
        return None
    why = unprotected_devices.why(element)
    if unprotected_devices.is_drive(element):
        only(element, _DRIVE)
        element.set("type", "file")
        if why:
            copy.tell(
                f"{unprotected_devices.name_of(element, copy.names)} is an empty drive: {why}"
            )
        return None
    return why or "the disk was not restored"


def _lies_in(disk: ET.Element, files: frozenset[str]) -> bool:
    sources = disk.findall("source")
    return len(sources) == 1 and sources[0].get("file") in files


def _card(element: ET.Element, copy: Copy) -> str | None:
    """Allow network cards on virtual networks; refuse cards bound to a device or process."""
    kind = element.get("type", "")
    if kind not in ("network", "bridge", "direct", "user", "ethernet", "null"):
        return f"its connection ({kind}) belongs to the original; name a network for the card"
    source = element.find("source")
    if kind == "direct" and source is not None and source.get("mode") == "passthrough":
        return "it is a card of the host, which only the original uses; name a network for the card"
    if copy.fresh and element.find("virtualport[@type='midonet']") is not None:
        return "its port (midonet) belongs to the original; name a network for the card"
    only(element, _CARD)
    return None


def _line(element: ET.Element, copy: Copy) -> str | None:
    """Allow serial lines and channels; a line to another process gets a host end of its own."""
    kind = element.get("type", "")
    guest = element.find("target[@type='guestfwd']") if element.tag == "channel" else None
    mine = kind in (*OWN_LINES, "file") or listens(element)
    if guest is not None and (copy.fresh or not mine):
        return "the target of its forwarding belongs to the original"
    if not mine:
        element.set("type", "unix" if element.tag == "channel" else "pty")
        drop(element, "source")
        copy.tell(
            f"{unprotected_devices.name_of(element, copy.names)} has a new host end: "
            f"the connection ({kind}) belongs to the original"
        )
    elif not copy.fresh:
        return None
    only(element, _LINE)
    return None


def locked(screen: ET.Element) -> str:
    """A sentence about a screen whose password no backup holds; "" for other screens."""
    if screen.get("passwd") != "":
        return ""
    kind = screen.get("type", "")
    return f"the screen ({kind}) lets no viewer in: no backup holds its password; set one"


def _screen(element: ET.Element, copy: Copy) -> str | None:
    if sentence := locked(element):
        copy.tell(sentence)
    if element.get("type") not in ("vnc", "spice", "rdp", "egl-headless"):
        return "it is a window on a screen of the host"
    only(element, _SCREEN)
    return None


def _video(element: ET.Element, copy: Copy) -> str | None:
    only(element, _PICTURE)
    return None


def _audio(element: ET.Element, copy: Copy) -> str | None:
    only(element, _names("@id @type"))
    if element.get("type") != "spice":
        element.set("type", "none")
    return None


def _input(element: ET.Element, copy: Copy) -> str | None:
    if element.get("type") not in ("mouse", "keyboard", "tablet") or element.findall("source"):
        return "it is an input device of the host"
    only(element, _INPUT)
    return None


def _by_spice(element: ET.Element, copy: Copy) -> str | None:
    """Allow devices that are redirected through a SPICE viewer, since no other machine uses
    them.
    """
    mode = element.get("mode", "passthrough")
    if element.get("type") != "spicevmc" or mode != "passthrough":
        return "its connection belongs to the original"
    only(element, _names(f"@bus @mode @type protocol {_FRAME}"))
    return None


_RANDOM = ("/dev/random", "/dev/urandom", "/dev/hwrng")


def _rng(element: ET.Element, copy: Copy) -> str | None:
    """Limit sources of random numbers to sources that all machines can read."""
    only(element, _RNG)
    for backend in element.findall("backend"):
        path, model = (backend.text or "").strip(), backend.get("model")
        own = model == "builtin" or (model == "random" and path in _RANDOM)
        backend.clear()
        backend.set("model", model if own and model else "random")
        backend.text = None if model == "builtin" else path if own else "/dev/urandom"
        if not own:
            copy.tell("random numbers come from /dev/urandom: their source belongs to the original")
    return None


def _tpm(element: ET.Element, copy: Copy) -> str | None:
    """Allow an emulated TPM; its state is stored per machine uuid, so a copy's TPM is empty."""
    backends = element.findall("backend")
    if [one.get("type") for one in backends] != ["emulator"]:
        return "it is a TPM of the host or of another process"
    only(element, _CHIP)
    only(backends[0], _TPM)
    copy.tell("the TPM is empty: no backup holds the state of the original's TPM")
    return None


def _memory(element: ET.Element, copy: Copy) -> str | None:
    if element.get("model") not in ("dimm", "virtio-mem", "sgx-epc"):
        return "memory that is stored in a file of the original"
    only(element, _MEMORY)
    return None


def _pstore(element: ET.Element, copy: Copy) -> str | None:
    only(element, _STORE)
    return None


def _vsock(element: ET.Element, copy: Copy) -> str | None:
    only(element, _VSOCK)
    return None


_DEVICES: dict[str, Rule] = {
    **dict.fromkeys(
        ("controller", "hub", "sound", "redirfilter", "watchdog", "memballoon", "nvram", "panic",
         "iommu", "crypto"), _whole,
    ),
    **dict.fromkeys(("serial", "parallel", "console", "channel"), _line),
    **dict.fromkeys(("redirdev", "smartcard"), _by_spice),
    "disk": _disk,
    "interface": _card,
    "graphics": _screen,
    "video": _video,
    "audio": _audio,
    "input": _input,
    "rng": _rng,
    "tpm": _tpm,
    "memory": _memory,
    "pstore": _pstore,
    "vsock": _vsock,
}  # fmt: skip
_ISOLATED = frozenset(
    ("disk", "controller", "hub", "input", "video", "memory", "memballoon", "nvram", "iommu")
)
