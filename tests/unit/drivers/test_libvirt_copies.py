"""A copy of a machine gets no resources of the original, and a restored machine keeps its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from haulback.drivers.hypervisor import Machine, MachineDisk, NetworkCardSettings, UnprotectedPart
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.boot import _isolated
from haulback.drivers.libvirt.definition import CopyMode, compose
from haulback.errors import Malformed
from haulback.libvirt_xml import XML, parse

UUID = "11111111-2222-4333-8444-555555555555"
ORIGINAL = "/the/original"
NEW = Path("/new/vda.qcow2")
VDA = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/the/original/root'/><target dev='vda' bus='virtio'/></disk>"
)


def machine(
    devices: str = "", more: str = "", disks: tuple[MachineDisk, ...] | None = None
) -> Machine:
    """A machine with one disk and these devices."""
    text = (
        f"<domain type='qemu'><name>web</name><uuid>{UUID}</uuid><memory>65536</memory>"
        f"<os><type>hvm</type></os>{more}<devices>{VDA}{devices}</devices></domain>"
    )
    chosen = disks or (MachineDisk("vda", 8 << 20, "qcow2"),)
    return Machine(UUID, "web", chosen, {"uuid": UUID, XML: text})


def copied(wanted: Machine, *, fresh: bool = True) -> tuple[ET.Element, list[str]]:
    """The XML of a copy, and the warnings about it."""
    told: list[str] = []
    places = {disk.name: NEW.with_name(f"{disk.name}.qcow2") for disk in wanted.disks}
    text = compose(wanted, places, "qemu", CopyMode(fresh=fresh, tell=told.append))
    return parse(text), told


def over_itself(then: Machine, now: Machine) -> tuple[ET.Element, list[str]]:
    """The XML of a machine that is restored over itself, and the warnings about it."""
    told: list[str] = []
    places = {disk.name: NEW.with_name(f"{disk.name}.qcow2") for disk in then.disks}
    standing = CopyMode(now=now.definition[XML], tell=told.append)
    return parse(compose(then, places, "qemu", standing)), told


def apart_of(text: str, live: str = "", read: str = "") -> tuple[UnprotectedPart, ...]:
    """The parts that no backup contains, of a machine whose disks (all or the named ones) are
    read.
    """
    volumes = xml.volumes(parse(text))
    sized = [(one, 1) for one in volumes if not read or one.name in read.split()]
    return xml.machine(text, sized, live).apart


def said(root: ET.Element) -> str:
    return ET.tostring(root, encoding="unicode")


def disk(source: str, more: str = "", *, kind: str = "file", device: str = "disk") -> str:
    """A disk sdb."""
    return (
        f"<disk type='{kind}' device='{device}'><driver name='qemu' type='raw'/>{source}"
        f"<target dev='sdb' bus='scsi'/>{more}</disk>"
    )


APART = {
    "lun": (disk("<source dev='/the/original'/>", kind="block", device="lun"), "sdb"),
    "network lun": (
        disk(
            "<source protocol='iscsi' name='/the/original'><host name='h'/></source>",
            kind="network",
            device="lun",
        ),
        "sdb",
    ),
    "transient": (disk("<source file='/the/original'/>", "<transient/>"), "sdb"),
    "read-only": (disk("<source file='/the/original'/>", "<readonly/>"), "sdb"),
    "read-only block": (
        disk("<source dev='/the/original'/>", "<readonly/>", kind="block"),
        "sdb",
    ),
    "vhost-user": (
        disk("<source type='unix' path='/the/original'/>", kind="vhostuser"),
        "sdb",
    ),
    "folder as a disk": (disk("<source dir='/the/original'/>", kind="dir"), "sdb"),
    "a kind to come": (disk("<source thing='/the/original'/>", kind="thing"), "sdb"),
    "a device to come": (disk("<source file='/the/original'/>", device="tape"), "sdb"),
    "cd": (disk("<source file='/the/original'/>", "<readonly/>", device="cdrom"), "sdb"),
    "cd of a network": (
        disk(
            "<source protocol='http' name='/the/original'><host name='h' port='80'/></source>",
            "<readonly/>",
            kind="network",
            device="cdrom",
        ),
        "sdb",
    ),
    "floppy": (disk("<source file='/the/original'/>", device="floppy"), "sdb"),
    "host device": (
        "<hostdev mode='subsystem' type='scsi' rawio='yes'><source protocol='iscsi' "
        "name='/the/original'><host name='h'/></source></hostdev>",
        "host device 0",
    ),
    "host block device": (
        "<hostdev mode='capabilities' type='storage'><source><block>/the/original</block>"
        "</source></hostdev>",
        "host device 0",
    ),
    "folder": (
        "<filesystem type='mount'><driver type='virtiofs'/><source dir='/the/original'/>"
        "<target dir='share'/></filesystem>",
        "folder share",
    ),
    "folder behind a socket": (
        "<filesystem type='mount'><driver type='virtiofs'/><source socket='/the/original'/>"
        "<target dir='share'/></filesystem>",
        "folder share",
    ),
    "nvdimm": (
        "<memory model='nvdimm'><source><path>/the/original</path></source>"
        "<target><size>1</size></target></memory>",
        "memory 0",
    ),
    "pmem": (
        "<memory model='virtio-pmem'><source><path>/the/original</path></source>"
        "<target><size>1</size></target></memory>",
        "memory 0",
    ),
}


@pytest.mark.parametrize(("element", "name"), APART.values(), ids=APART)
def test_what_no_backup_holds_is_named_with_its_reason(element: str, name: str):
    root = parse(machine(element).definition[XML])
    [found] = apart_of(said(root))
    assert found.name.startswith(name)
    assert ORIGINAL in found.name + found.why or name == "sdb"
    assert len(found.why) > 20
    assert not found.held
    assert [one.device for one in xml.volumes(root)] == ["vda"]


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(("element", "name"), APART.values(), ids=APART)
def test_a_copy_has_nothing_of_it_and_says_so(element: str, name: str, fresh: bool):
    root, told = copied(machine(element), fresh=fresh)
    assert ORIGINAL not in said(root)
    assert [one for one in told if one.startswith(name)]
    assert [one.path for one in xml.volumes(root)] == [NEW]


@pytest.mark.parametrize(("element", "name"), APART.values(), ids=APART)
def test_what_is_proved_has_nothing_of_it(element: str, name: str, tmp_path: Path):
    told: list[str] = []
    room = tmp_path / "haulback-a1"
    text = _isolated(machine(element), {"vda": NEW}, room, told.append)
    assert ORIGINAL not in text
    assert [one for one in told if one.startswith(name)]


@pytest.mark.parametrize(("element", "name"), APART.values(), ids=APART)
def test_a_machine_over_itself_keeps_it_as_long_as_it_is_its_own(element: str, name: str):
    then = machine(element)
    root, told = over_itself(then, then)
    kept = [item for item in root.findall("devices/*") if ORIGINAL in said(item)]
    assert len(kept) == 1
    assert said(kept[0]) in said(parse(then.definition[XML])) or kept[0].tag == "disk"
    root, told = over_itself(then, machine())  # the device has another address since
    assert ORIGINAL not in said(root)
    if "device='cdrom'" in element or "device='floppy'" in element:
        assert root.find("devices/disk/target[@dev='sdb']") is not None
    else:
        assert [item for item in told if item.startswith(name) and "left out" in item]


REACHING = {
    "serial to a socket": (
        "<serial type='unix'><source mode='connect' path='/the/original'/></serial>"
    ),
    "serial at a device": "<serial type='dev'><source path='/the/original'/></serial>",
    "parallel at a device": "<parallel type='dev'><source path='/the/original'/></parallel>",
    "console at a pipe": "<console type='pipe'><source path='/the/original'/></console>",
    "channel to a socket": (
        "<channel type='unix'><source mode='connect' path='/the/original'/>"
        "<target type='virtio' name='x'/></channel>"
    ),
    "channel by TCP": (
        "<channel type='tcp'><source mode='connect' host='/the/original' service='1'/>"
        "<target type='virtio' name='x'/></channel>"
    ),
    "what a channel forwards to": (
        "<channel type='unix'><source mode='connect' path='/the/original'/>"
        "<target type='guestfwd' address='10.0.2.1' port='4600'/></channel>"
    ),
    "device by a line": "<redirdev bus='usb' type='dev'><source path='/the/original'/></redirdev>",
    "smartcard of the host": (
        "<smartcard mode='host-certificates'><certificate>a</certificate>"
        "<database>/the/original</database></smartcard>"
    ),
    "card of the host": (
        "<interface type='hostdev'><source><address type='pci' domain='/the/original'/></source>"
        "</interface>"
    ),
    "card behind a socket": (
        "<interface type='vhostuser'><source path='/the/original'/></interface>"
    ),
    "card of vdpa": "<interface type='vdpa'><source dev='/the/original'/></interface>",
    "card for itself": (
        "<interface type='direct'><source dev='/the/original' mode='passthrough'/></interface>"
    ),
    "tap by a device": (
        "<interface type='network'><source network='lan'/><backend tap='/the/original' "
        "vhost='/the/original'/></interface>"
    ),
    "shared memory": "<shmem name='/the/original'><server path='/the/original'/></shmem>",
    "lease": "<lease><lockspace>a</lockspace><key>b</key><target path='/the/original'/></lease>",
    "keyboard of the host": "<input type='evdev'><source dev='/the/original'/></input>",
    "mouse of the host": "<input type='mouse'><source dev='/the/original'/></input>",
    "TPM of the host": (
        "<tpm model='tpm-tis'><backend type='passthrough'><device path='/the/original'/></backend>"
        "</tpm>"
    ),
    "TPM of another process": (
        "<tpm model='tpm-crb'><backend type='external'><source type='unix' mode='connect' "
        "path='/the/original'/></backend></tpm>"
    ),
    "TPM at a place": (
        "<tpm><backend type='emulator' version='2.0'><source type='dir' path='/the/original'/>"
        "</backend></tpm>"
    ),
    "random numbers by a socket": (
        "<rng model='virtio'><backend model='egd' type='unix'><source mode='connect' "
        "path='/the/original'/></backend></rng>"
    ),
    "random numbers of a file": (
        "<rng model='virtio'><backend model='random'>/the/original</backend></rng>"
    ),
    "sound into a file": "<audio id='1' type='file' path='/the/original'/>",
    "graphics by a card": (
        "<graphics type='spice'><gl enable='yes' rendernode='/the/original'/></graphics>"
    ),
    "screen of the host": "<graphics type='sdl' display=':0' xauth='/the/original'/>",
    "acceleration by a card": (
        "<video><model type='virtio'><acceleration rendernode='/the/original'/></model></video>"
    ),
    "a device to come": "<thing><source file='/the/original'/></thing>",
}
MADE = {
    "socket of a channel": (
        "<channel type='unix'><source mode='bind' path='/the/original'/>"
        "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    ),
    "serial into a file": "<serial type='file'><source path='/the/original'/></serial>",
    "serial at a port": (
        "<serial type='tcp'><source mode='bind' host='/the/original' service='1'/></serial>"
    ),
    "log of a console": "<console type='pty'><log file='/the/original'/></console>",
    "socket of a screen": "<graphics type='vnc' socket='/the/original'/>",
    "socket of a listener": (
        "<graphics type='spice'><listen type='socket' socket='/the/original'/></graphics>"
    ),
    "tap": (
        "<interface type='ethernet'><target dev='/the/original'/><script path='/the/original'/>"
        "</interface>"
    ),
    "log of a network": (
        "<interface type='user'><backend type='passt' logFile='/the/original'/></interface>"
    ),
    "port of a switch": (
        "<interface type='bridge'><source bridge='br0'/><virtualport type='openvswitch'>"
        "<parameters interfaceid='/the/original'/></virtualport></interface>"
    ),
    "crash store": "<pstore backend='acpi-erst'><path>/the/original</path></pstore>",
    "vsock": "<vsock model='virtio'><cid auto='no' address='/the/original'/></vsock>",
}
OUTSIDE = {
    "arguments": (
        "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>"
        "<q:arg value='/the/original'/></q:commandline>"
    ),
    "overrides": (
        "<q:override xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:device alias='a'>"
        "<q:frontend><q:property name='p' type='string' value='/the/original'/></q:frontend>"
        "</q:device></q:override>"
    ),
    "weight of a device": (
        "<blkiotune><weight>800</weight><device><path>/the/original</path></device></blkiotune>"
    ),
    "label": (
        "<seclabel type='static' model='selinux'><label>/the/original</label></seclabel>"
    ),
    "session of secure memory": (
        "<launchSecurity type='sev'><policy>1</policy><session>/the/original</session>"
        "<dhCert>/the/original</dhCert></launchSecurity>"
    ),
    "loader of another kind": "<bootloader>/the/original</bootloader>",
    "firmware that is written": "<os><loader type='pflash'>/the/original</loader></os>",
    "variables": "<os><nvram>/the/original</nvram></os>",
    "variables on a disk": (
        "<os><nvram type='block'><source dev='/the/original'/></nvram></os>"
    ),
    "variables twice": "<os><nvram>/the/original</nvram><nvram>/the/original</nvram></os>",
    "other devices": f"<devices>{APART['lun'][0]}</devices>",
    "devices of another space": (
        "<x:devices xmlns:x='urn:x'><disk><source dev='/the/original'/></disk></x:devices>"
    ),
    "a member to come": "<thing path='/the/original'/>",
}  # fmt: skip


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("element", REACHING.values(), ids=REACHING)
def test_a_copy_reaches_for_nothing_of_the_original(element: str, fresh: bool):
    root, _ = copied(machine(element), fresh=fresh)
    assert ORIGINAL not in said(root)


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("more", OUTSIDE.values(), ids=OUTSIDE)
def test_a_copy_has_no_member_that_could_reach_the_original(more: str, fresh: bool):
    root, told = copied(machine(more=more), fresh=fresh)
    assert ORIGINAL not in said(root)
    assert told


@pytest.mark.parametrize("element", MADE.values(), ids=MADE)
def test_a_copy_beside_the_original_makes_its_own_where_the_original_makes_something(element: str):
    root, _ = copied(machine(element))
    assert ORIGINAL not in said(root)
    assert len(root.findall("devices/*")) == 2  # the device is present
    root, told = copied(machine(element), fresh=False)  # on a host without the original
    assert ORIGINAL in said(root)
    assert told == []


@pytest.mark.parametrize("element", [*REACHING.values(), *MADE.values()], ids=[*REACHING, *MADE])
def test_a_machine_over_itself_keeps_what_it_reaches_for_and_makes(element: str):
    then = machine(element)
    root, _ = over_itself(then, then)
    assert said(root.findall("devices/*")[1]) == said(
        parse(then.definition[XML]).findall("devices/*")[1]
    )


@pytest.mark.parametrize("more", OUTSIDE.values(), ids=OUTSIDE)
def test_a_machine_over_itself_keeps_its_members(more: str):
    then = machine(more=more)
    root, _ = over_itself(then, then)
    assert ORIGINAL in said(root)


@pytest.mark.parametrize("element", [*REACHING.values(), *MADE.values()])
def test_what_is_proved_reaches_nothing(element: str, tmp_path: Path):
    text = _isolated(machine(element), {"vda": NEW}, tmp_path / "haulback-a1", print)
    assert ORIGINAL not in text


SCHEMA = Path("/usr/share/libvirt/schemas")
PATHS = ("absFilePath", "filePath", "absDirPath", "deviceName", "vmwarePath")
ONLY_READ = {  # QEMU only reads these files, when a machine starts
    "os/kernel", "os/initrd", "os/dtb", "os/acpi/table", "os/loader", "os/nvram/@template",
    "devices/interface/rom/@file",
}  # fmt: skip
NETWORKS = {  # resources that machines share
    "devices/interface/source/@dev", "devices/interface/source/@portgroup",
    "devices/interface/guest/@dev", "devices/interface/guest/@actual", "resource/partition",
}  # fmt: skip
_RNG = "{http://relaxng.org/ns/structure/1.0}"


def _definitions(file: str, found: dict[str, list[ET.Element]]) -> dict[str, list[ET.Element]]:
    for one in ET.parse(SCHEMA / file).getroot().iter():
        if one.tag == f"{_RNG}include":
            _definitions(str(one.get("href")), found)
        elif one.tag == f"{_RNG}define":
            found.setdefault(str(one.get("name")), []).append(one)
    return found


def _leaves(
    node: ET.Element, path: tuple[str, ...], stack: tuple[str, ...], known: dict
) -> Iterator[str]:
    """Places in a domain's XML that may contain a path of the host, such as
    "devices/disk/source/@file".
    """
    name = node.get("name") or ""
    if node.tag == f"{_RNG}ref" and name in PATHS:
        yield "/".join(path)
    elif node.tag == f"{_RNG}ref":
        for item in known.get(name, ()) if name not in stack else ():
            for child in item:
                yield from _leaves(child, path, (*stack, name), known)
    else:
        if node.tag in (f"{_RNG}element", f"{_RNG}attribute") and name:
            path = (*path, name if node.tag == f"{_RNG}element" else f"@{name}")
        for child in node:
            yield from _leaves(child, path, stack, known)


def _instance(leaf: str, kind: dict[str, str]) -> str:
    """A domain's XML with a path at one place; `kind` are attributes of all its elements."""
    text, attribute = "/the/original", None
    *parents, last = leaf.split("/")
    if last.startswith("@"):
        attribute, (*parents, last) = last[1:], parents
        text = ""
    said = " ".join(f"{name}={quoteattr(value)}" for name, value in kind.items())
    own = {name: value for name, value in kind.items() if name != attribute}
    said_own = " ".join(f"{name}={quoteattr(value)}" for name, value in own.items())
    made = f"<{last} {said_own} {attribute}='/the/original'/>" if attribute else ""
    made = made or f"<{last} {said}>{text}</{last}>"
    for parent in reversed(parents):
        made += "<target dev='sdb'/>" if parent == "disk" else ""
        made = f"<{parent} {said if parent not in ('devices', 'os') else ''}>{made}</{parent}>"
    return made


@pytest.mark.slow
@pytest.mark.skipif(not SCHEMA.exists(), reason="needs libvirt's schemas")
@pytest.mark.parametrize(
    "kind",
    [
        {},
        *({"type": item, "mode": "connect"} for item in (
            "file", "block", "network", "dir", "volume", "nvme", "vhostuser", "unix", "pty", "dev",
            "pipe", "tcp", "udp", "nmdm", "dbus", "spicevmc", "spiceport", "vnc", "spice", "sdl",
            "egl-headless", "rdp", "mount", "bridge", "direct", "ethernet", "hostdev", "user",
            "vdpa", "pci", "usb", "scsi", "mdev", "emulator", "passthrough", "external", "alsa",
            "oss", "evdev", "mouse", "rom", "pflash", "static", "subsystem",
        )),
        *({"model": m} for m in ("nvdimm", "dimm", "virtio-pmem", "random", "egd", "builtin")),
        *({"device": item, "type": "file"} for item in ("lun", "cdrom", "floppy", "disk")),
        {"mode": "host-certificates"}, {"mode": "passthrough", "type": "direct"},
    ],
    ids=str,
)  # fmt: skip
def test_no_path_that_the_schema_of_libvirt_knows_is_in_a_copy_unless_it_is_on_the_list(kind):
    known = _definitions("domain.rng", {})
    leaves = {leaf for item in known["domain"] for leaf in _leaves(item, (), (), known)}
    leaves = {leaf.removeprefix("domain/") for leaf in leaves}
    assert len(leaves) > 60
    assert leaves | {"os/acpi/table"} >= ONLY_READ | NETWORKS
    kept = set()
    for leaf in leaves:
        text = _instance(leaf, kind)
        inside = text.startswith("<devices")
        wanted = (
            machine(text.removeprefix("<devices >").removesuffix("</devices>"))
            if inside
            else (machine(more=text))
        )
        root, _ = copied(wanted)
        if ORIGINAL in said(root):
            kept.add(leaf)
    assert kept <= ONLY_READ | NETWORKS


_WORDS = """devices disk interface serial console channel hostdev filesystem graphics tpm backend
source target driver auth seclabel reservations path host memory shmem rng audio input log listen gl
model os nvram lease redirdev smartcard commandline blkiotune device launchSecurity mirror cid vsock
backingStore video acceleration pstore server database"""
_TAGS = st.sampled_from(_WORDS.split())
_WHERE = "file dev dir path socket name tap vhost host service"
_NAMES = st.sampled_from(_WHERE.split())
_TYPES = """file block network dir volume unix tcp pty dev pipe cdrom floppy lun disk hostdev bridge
direct emulator passthrough random builtin egd vnc spice bind connect yes no"""
_KINDS = st.sampled_from(_TYPES.split())


def _tree(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    attributes = st.tuples(_KINDS, _KINDS, _KINDS, _NAMES).map(
        lambda one: "type='{}' device='{}' mode='{}' {}='/the/original'".format(*one)
    )
    texts = st.sampled_from(["", "/the/original"])
    return st.builds(
        lambda tag, said, text, inner: f"<{tag} {said}>{text}{''.join(inner)}</{tag}>",
        _TAGS, attributes, texts, st.lists(children, max_size=3),
    )  # fmt: skip


_TREES = st.recursive(_tree(st.just("")), _tree, max_leaves=8)


def _kept(element: ET.Element, path: str = "") -> Iterator[str]:
    """Places that still name the original."""
    for name, value in element.attrib.items():
        if value == ORIGINAL:
            yield f"{path}@{name}"
    if (element.text or "").strip() == ORIGINAL:
        yield path
    for child in element:
        yield from _kept(child, f"{path}{child.tag}/")


# Names that a guest sees, networks, files that QEMU only reads, and places that libvirt does not
# treat as paths.
_HARMLESS = re.compile(
    r"devices/[^/]+/target/.*"
    r"|devices/interface/source/@(dev|name)|devices/nvram/.*|.*/driver/.*"
    r"|(memory|seclabel|os/nvram)/.*"
)


@given(st.lists(_TREES, max_size=4), st.lists(_TREES, max_size=2))
@example([f"<interface type='user'><model file='{ORIGINAL}'/></interface>"], [])
def test_whatever_a_definition_says_a_copy_lies_on_its_own_disks_only(
    devices: list[str], members: list[str]
):
    wanted = machine("".join(devices), "".join(members))
    try:
        root, _ = copied(wanted)
    except Malformed:
        return  # a disk without a name
    assert [item for item in _kept(root) if not _HARMLESS.fullmatch(item)] == []
    for element in root.findall(".//disk"):
        assert [source.attrib for source in element.iter("source")] in ([], [{"file": str(NEW)}])


RUNS = "a network disk (gluster), which can be read only while the machine runs"
NETWORK = disk(
    "<source protocol='gluster' name='pool/the-original'><host name='h'/></source>", kind="network"
)


def test_a_disk_that_cannot_be_read_now_is_named_too():
    text = said(parse(machine(NETWORK).definition[XML]))
    assert apart_of(text) == ()  # the machine runs
    [result] = apart_of(text, read="vda")
    assert result == ("sdb", RUNS, False, False)
    root, told = copied(machine(NETWORK))
    assert "the-original" not in said(root)
    assert told == ["sdb is left out: the disk was not restored"]
    both = (MachineDisk("vda", 1, "qcow2"), MachineDisk("sdb", 1, "raw"))
    root, told = copied(machine(NETWORK, disks=both))
    assert ("the-original" in said(root), told) == (False, [])
    assert [element.get("type") for element in root.findall("devices/disk")] == ["file", "file"]


def test_what_was_plugged_in_while_the_machine_runs_is_named_too():
    later, now = machine(APART["folder"][0]), machine(APART["lun"][0])
    found = apart_of(later.definition[XML], now.definition[XML])
    assert [one.name for one in found] == ["folder share (/the/original)", "sdb"]
    found = apart_of(machine(NETWORK).definition[XML], machine().definition[XML], "vda")
    assert [one.name for one in found] == ["sdb"]


def test_a_shareable_disk_is_in_the_backup_with_a_warning_about_consistency():
    text = machine(disk("<source file='/the/original'/>", "<shareable/>")).definition[XML]
    [found] = apart_of(text)
    assert (found.name, found.held) == ("sdb", True)
    assert [one.name for one in xml.volumes(parse(text))] == ["vda", "sdb"]


def test_a_restored_disk_keeps_its_seat_and_nothing_of_where_it_lay():
    element = (
        "<disk type='block' device='disk' rawio='yes' sgio='unfiltered'>"
        "<driver name='qemu' type='raw' cache='none'/><source dev='/the/original' index='3'>"
        "<reservations managed='no'><source type='unix' path='/the/original'/></reservations>"
        "<slices><slice offset='1'/></slices><seclabel model='dac'/></source>"
        "<backingStore type='file'><source file='/the/original'/></backingStore>"
        "<mirror type='file' file='/the/original'/><auth username='u'/>"
        "<target dev='sdb' bus='scsi'/><iotune><total_iops_sec>9</total_iops_sec></iotune>"
        "<serial>S1</serial><wwn>5000c500155eb1e5</wwn><shareable/>"
        "<address type='drive' unit='4'/></disk>"
    )
    both = (MachineDisk("vda", 1, "qcow2"), MachineDisk("sdb", 1, "raw"))
    for root, told in (
        copied(machine(element, disks=both)),
        over_itself(machine(element, disks=both), machine(element)),
    ):
        assert ORIGINAL not in said(root)
        [result] = root.findall("devices/disk/target[@dev='sdb']/..")
        assert result.find("target").get("bus") == "scsi"
        assert result.find("driver").get("cache") == "none"
        assert (result.findtext("serial"), result.findtext("iotune/total_iops_sec")) == ("S1", "9")
        assert result.find("address").get("unit") == "4"
        assert result.find("shareable") is None
        assert told == ["sdb is a separate image: it is not shared with other machines"]


def test_a_card_that_is_put_into_a_network_is_kept():
    wanted = machine(REACHING["card of the host"])
    root, told = copied(wanted)
    assert root.find("devices/interface") is None
    assert [one for one in told if one.startswith("network card 0 is left out")]
    root, told = copied(wanted._replace(cards=(NetworkCardSettings(0, "lab"),)))
    assert root.find("devices/interface/source").attrib == {"network": "lab"}
    assert told == []


def test_a_copy_keeps_its_agent_its_screen_and_gets_an_empty_tpm():
    devices = (
        "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
        "<graphics type='vnc' port='5901' autoport='no' listen='0.0.0.0'>"
        "<listen type='address' address='0.0.0.0'/></graphics>"
        "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
        "<rng model='virtio'><rate bytes='9'/><backend model='random'>/dev/hwrng</backend></rng>"
    )
    root, told = copied(machine(devices))
    assert [element.get("name") for element in root.findall("devices/channel/target")] == [
        "org.qemu.guest_agent.0", "com.redhat.spice.0",
    ]  # fmt: skip
    screen = root.find("devices/graphics")
    assert (screen.get("port"), screen.get("autoport")) == (None, "yes")
    assert root.find("devices/tpm/backend").attrib == {"type": "emulator", "version": "2.0"}
    assert root.findtext("devices/rng/backend") == "/dev/hwrng"
    assert told == ["the TPM is empty: no backup holds the state of the original's TPM"]
    [item] = apart_of(machine(devices).definition[XML])
    assert item.name == "the TPM"


def test_a_copy_keeps_what_is_only_hardware():
    devices = (
        "<controller type='scsi' index='0' model='virtio-scsi'><driver iothread='1'/></controller>"
        "<memballoon model='virtio'><stats period='5'/></memballoon><watchdog model='i6300esb'/>"
        "<memory model='dimm'><target><size unit='KiB'>9</size><node>0</node></target></memory>"
        "<panic model='isa'/><iommu model='intel'><driver intremap='on'/></iommu>"
        "<sound model='ich9'/><input type='tablet' bus='usb'/><hub type='usb'/>"
    )
    more = (
        "<memoryBacking><hugepages/></memoryBacking><cpu mode='host-model'><topology sockets='1'/>"
        "</cpu><features><acpi/><hyperv><relaxed state='on'/></hyperv></features><clock "
        "offset='utc'><timer name='hpet' present='no'/></clock><iothreads>2</iothreads>"
        "<cputune><shares>9</shares></cputune><resource><partition>/p</partition></resource>"
        "<seclabel type='dynamic' model='apparmor'/><sysinfo type='smbios'/>"
    )
    wanted = machine(devices, more)
    root, told = copied(wanted)
    before = parse(wanted.definition[XML])
    for item in (*before.findall("devices/*")[1:], *before):
        if item.tag not in ("name", "uuid", "devices"):
            assert said(item) in said(root), item.tag
    assert told == []


def test_a_medium_and_a_lun_are_those_that_the_machine_has_now():
    drive = disk("<source file='/iso/old.iso'/>", "<readonly/>", device="cdrom")
    changed = drive.replace("old.iso", "new.iso")
    root, told = over_itself(machine(drive), machine(changed))
    assert "/iso/new.iso" in said(root)
    assert ("/iso/old.iso" in said(root), told) == (False, [])
    lun = APART["lun"][0]
    root, _ = over_itself(machine(lun), machine(lun.replace("/the/original", "/dev/other")))
    assert "/dev/other" in said(root)
    assert ORIGINAL not in said(root)
    root, told = over_itself(machine(lun), machine(drive))  # the device is not there any more
    assert ORIGINAL not in said(root)
    assert told[-1].startswith("sdb is left out: the device was removed")


@pytest.mark.parametrize("kept", [True, False])
def test_variables_that_no_backup_holds_are_fresh_in_a_copy_and_stay_with_the_machine(kept: bool):
    firmware = "<os><nvram template='/t'>/the/original</nvram></os>"
    wanted = machine(more=firmware)
    root, told = copied(wanted)
    assert root.find("os/nvram").attrib == {"template": "/t"}
    assert told == ["the firmware's variables are reset: the backup holds none"]
    root, told = over_itself(wanted, machine(more=firmware if kept else ""))
    assert root.findtext("os/nvram") == (ORIGINAL if kept else None)
    assert told == ["the firmware's variables stay as they are: the backup holds none"]


@pytest.mark.parametrize(
    "source", ["/" + "x" * 5000, "/new\u2028line", "/\u202eback", "/tab\there"], ids=range(4)
)
def test_a_name_from_outside_is_told_so_that_it_can_be_read(source: str):
    element = disk(f"<source dev={quoteattr(source)}/>", kind="block", device="lun")
    [found] = apart_of(machine(element).definition[XML])
    assert found.why.isprintable()
    assert len(found.why) < 300
