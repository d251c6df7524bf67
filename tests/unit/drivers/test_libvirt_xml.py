"""The XML of machines: parsed as hostile input, and generated for a new machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulback.drivers.hypervisor import Machine, MachineDisk, NetworkCardSettings
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.boot import _isolated
from haulback.drivers.libvirt.definition import CopyMode, compose
from haulback.drivers.libvirt.png import png
from haulback.errors import Malformed
from haulback.libvirt_xml import LARGEST, XML, parse

DOMAIN = """<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>web</name><uuid>11111111-2222-4333-8444-555555555555</uuid><memory>1048576</memory>
<os><type>hvm</type><nvram>/etc/passwd</nvram></os><devices>
<emulator>/usr/bin/qemu</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>
<source file='/old/root.qcow2'/><backingStore type='file'/><target dev='vda' bus='virtio'/></disk>
<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/data'/>
<target dev='sdb' bus='scsi'/></disk>
<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/>
<source pool='p' volume='v'/><target dev='vdc' bus='virtio'/></disk>
<disk type='file' device='cdrom'><source file='/iso/x.iso'/><target dev='sda' bus='sata'/></disk>
<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/></interface>
<filesystem type='mount'><source dir='/'/><target dir='host'/></filesystem>
<hostdev mode='subsystem' type='pci'/><serial type='unix'><source path='/run/x'/></serial>
</devices><qemu:commandline><qemu:arg value='-S'/></qemu:commandline></domain>"""
DISKS = (
    MachineDisk("vda", 10, "qcow2"),
    MachineDisk("sdb", 20, "raw"),
    MachineDisk("vdc", 30, "qcow2"),
)
PLACES = {name: Path(f"/new/{name}.img") for name in ("vda", "sdb", "vdc")}


def wanted(disks: tuple[MachineDisk, ...] = DISKS) -> Machine:
    return Machine("99999999-2222-4333-8444-555555555555", "again", disks, {XML: DOMAIN})


def test_disks_are_found_wherever_they_lie():
    found = xml.volumes(parse(DOMAIN))
    assert [one.device for one in found] == ["vda", "sdb", "vdc"]
    assert [one.path for one in found] == [Path("/old/root.qcow2"), Path("/dev/vg/data"), None]
    assert found[2].pool == ("p", "v")


@pytest.mark.parametrize("fresh", [True, False])
def test_a_copy_has_its_own_name_disks_and_addresses(fresh: bool):
    root = parse(compose(wanted(), PLACES, "qemu", CopyMode(fresh=fresh)))
    assert (root.findtext("name"), root.get("id")) == ("again", None)
    assert root.findtext("uuid") == wanted().uuid
    found = xml.volumes(root)
    assert [one.path for one in found] == [PLACES[name] for name in ("vda", "sdb", "vdc")]
    assert root.find("devices/disk/driver").get("cache") == "none"  # type: ignore[union-attr]
    assert root.find("devices/emulator") is None
    assert root.find("devices/disk[@device='cdrom']/source") is None
    assert (root.find("devices/interface/mac") is None) == fresh


def test_a_network_card_goes_where_it_is_wanted():
    cards = (NetworkCardSettings(0, "lab", "52:54:00:aa:bb:cc"),)
    root = parse(compose(wanted()._replace(cards=cards), PLACES, "qemu", CopyMode(fresh=True)))
    [card] = root.findall("devices/interface")
    assert card.get("type") == "network"
    assert [element.get("network") for element in card.findall("source")] == ["lab"]
    assert [element.get("address") for element in card.findall("mac")] == ["52:54:00:aa:bb:cc"]
    with pytest.raises(Malformed, match="no network card 1"):
        compose(
            wanted()._replace(cards=(NetworkCardSettings(1, "lab"),)),
            PLACES,
            "qemu",
            CopyMode(fresh=True),
        )


def test_a_disk_that_is_left_out_is_gone_and_one_that_is_renamed_keeps_its_device():
    chosen = (MachineDisk("system", 10, "qcow2", was="vda"), MachineDisk("vdc", 30, "qcow2"))
    places = {"system": Path("/new/a"), "vdc": Path("/new/c")}
    root = parse(compose(wanted(chosen), places, "qemu", CopyMode(fresh=False)))
    assert [(v.name, v.device) for v in xml.volumes(root)] == [("system", "vda"), ("vdc", "vdc")]


def test_a_machine_from_elsewhere_gets_what_every_machine_needs():
    machine = Machine("", "web", (MachineDisk("root", 10, "raw"),), {"memory": 256, "cpus": 2})
    text = compose(machine._replace(uuid="u"), {"root": Path("/r")}, "qemu", CopyMode(fresh=True))
    root = parse(text)
    assert (root.get("type"), root.findtext("memory"), root.findtext("vcpu")) == (
        "qemu",
        "256",
        "2",
    )
    assert xml.machine(text, []).definition["memory"] == 256
    assert [v.name for v in xml.volumes(root)] == ["root"]


def test_an_isolated_copy_reaches_nothing_outside(tmp_path: Path):
    text = _isolated(wanted(), PLACES, tmp_path / "haulback-a1", print)
    for reach in ("interface", "filesystem", "hostdev", "commandline", "/run/x", "cdrom", "/old/",
                  "/etc/passwd", "52:54"):  # fmt: skip
        assert reach not in text, reach
    root = parse(text)
    assert root.findtext("name") == "haulback-a1"
    assert [root.findtext(f"on_{what}") for what in ("poweroff", "reboot")] == ["destroy"] * 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<domain>",
        "<!DOCTYPE d [<!ENTITY a 'b'>]><domain/>",
        "<domain>" + "x" * LARGEST,
        "<domain><devices><disk device='disk'><source file='/x'/></disk></devices></domain>",
        f"<domain xmlns:h='{xml._SPACE}'><metadata><h:machine>no</h:machine></metadata></domain>",
    ],
)
def test_nonsense_is_refused(text: str):
    with pytest.raises(Malformed):
        xml.volumes(parse(text))


def test_a_pixmap_becomes_a_png_and_nonsense_does_not():
    made = png(b"P6\n2 1\n255\n" + bytes(6), "image/x-portable-pixmap")
    assert made
    assert made.startswith(b"\x89PNG")
    assert png(made, "image/png") == made
    for nonsense in (b"", b"P6\n9 9\n255\n", b"P6\n99999 99999\n255\nx", b"GIF89a"):
        assert png(nonsense, "image/x-portable-pixmap") is None
