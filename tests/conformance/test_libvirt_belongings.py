"""A libvirt machine keeps its devices besides the disks, and a copy gets none of them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.drivers.libvirt.connection import Domain
from haulback.drivers.libvirt.domain import volumes
from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.drivers.nbd_server import NbdServer
from haulback.errors import Conflict
from haulback.libvirt_xml import XML
from haulback.testing.hypervisors import read
from haulback.testing.libvirt_lab import LibvirtLab
from haulback.testing.memory_hypervisor import MemoryDisk
from haulback.units import MIB
from tests.conformance.test_libvirt import RunningBench
from tests.hosts import needs_libvirt
from tests.images import qemu_img

pytestmark = needs_libvirt
MAC = "52:54:00:11:22:33"
SECURE = 3  # VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE
LUN = (
    "<disk type='block' device='lun'><driver name='qemu' type='raw'/><source dev='/dev/the-lun'/>"
    "<target dev='sda' bus='scsi'/></disk>"
)
CARD = f"<interface type='user'><mac address='{MAC}'/></interface>"
# Devices that libvirt 9.0 accepts in a definition, and that use resources of the host or of other
# machines.
WHOLE = f"""{LUN}{CARD}
<disk type='file' device='cdrom'><source file='/the/original.iso'/><target dev='sdb' bus='sata'/>
<readonly/></disk>
<disk type='network' device='cdrom'><driver name='qemu' type='raw'/>
<source protocol='http' name='/the/original'><host name='h' port='80'/></source>
<target dev='sdc' bus='sata'/><readonly/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/the/original/ro'/>
<target dev='vdy' bus='virtio'/><readonly/></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/the/original/t'/>
<target dev='vdz' bus='virtio'/><transient/></disk>
<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source>
</hostdev>
<hostdev mode='subsystem' type='scsi'><source protocol='iscsi' name='iqn.2001-01.x:the-original'>
<host name='h'/></source></hostdev>
<filesystem type='mount'><source dir='/the/original'/><target dir='share'/></filesystem>
<serial type='file'><source path='/the/original.log'/></serial>
<serial type='tcp'><source mode='connect' host='10.0.0.1' service='1'/><protocol type='raw'/>
</serial>
<console type='file'><source path='/the/original.log'/><target type='virtio'/></console>
<channel type='unix'><source mode='bind' path='/the/original.sock'/>
<target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<channel type='unix'><source mode='connect' path='/the/original.too'/>
<target type='virtio' name='x'/></channel>
<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
<graphics type='vnc' port='5999' autoport='no' passwd='se&apos;cret'/>
<graphics type='spice'><listen type='socket' socket='/the/original.spice'/></graphics>
<redirdev bus='usb' type='tcp'><source mode='connect' host='10.0.0.1' service='2'/></redirdev>
<rng model='virtio'><backend model='egd' type='tcp'><source mode='connect' host='10.0.0.1'
service='3'/></backend></rng>
<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/the-original'/></backend></tpm>
<shmem name='the-original'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>
<interface type='vhostuser'><source type='unix' path='/the/original.ovs' mode='client'/>
<model type='virtio'/></interface>
<interface type='direct'><source dev='the-original' mode='passthrough'/></interface>
<sound model='ich9'/><audio id='1' type='file' path='/the/original.wav'/>
<watchdog model='i6300esb'/>
<video><model type='virtio'/></video><input type='tablet' bus='usb'/>"""


@pytest.fixture
def bench(host: LibvirtLab) -> Iterator[RunningBench]:
    yield RunningBench(host)
    host.clear()


@pytest.fixture
def inner(bench: RunningBench) -> LibvirtHost:
    return bench.hypervisor.inner


def made(inner: LibvirtHost, name: str = "web", **disks: str) -> str:
    """Create a machine with disks of 1 MiB, given by name and format."""
    chosen = tuple(
        MachineDisk(disk, MIB, form) for disk, form in (disks or {"vda": "qcow2"}).items()
    )
    with inner.create(Machine("", name, chosen, {"memory": 32}), "make") as new:
        return new.commit().uuid


def given(host: LibvirtLab, uuid: str, *devices: str) -> None:
    """Replace lines in the definition of a stopped machine by devices."""
    lines = r"(?s)<(serial|channel|console)\b.*?</\1>|<audio [^>]*>|<input [^>]*>"
    text = re.sub(lines, "", definition(host, uuid))
    host.connection.defineXML(text.replace("</devices>", f"{''.join(devices)}</devices>"))


def backed_up(inner: LibvirtHost, uuid: str, *names: str) -> Machine:
    """The definition of a machine in its backup, with all of its disks or those in `names`."""
    with inner.snapshot(uuid, "b1") as snapshot:
        found = snapshot.machine
    inner.drop_checkpoints(uuid, set())
    return found._replace(disks=tuple(d for d in found.disks if not names or d.name in names))


def definition(host: LibvirtLab, uuid: str) -> str:
    return str(host.connection.lookupByUUIDString(uuid).XMLDesc(2))


def over(inner: LibvirtHost, machine: Machine, content: bytes = b"new!" * 128) -> list[str]:
    """Restore a machine over the machine with the same uuid; returns the warnings."""
    with inner.create(machine, "over", overwrite=True) as new:
        for disk in machine.disks:
            new.sink(disk.name).write_at(0, content)
        new.commit()
        return new.left_out()


def test_libvirt_takes_a_copy_of_a_machine_that_has_everything_and_the_copy_starts(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(inner)
    given(bench.host, uuid, WHOLE)
    then = backed_up(inner, uuid)
    names = sorted(item.name.split(" (")[0] for item in then.apart)
    assert names == [
        "folder share", "host device 0", "host device 1", "sda", "sdb", "sdc", "the TPM", "vdy",
        "vdz",
    ]  # fmt: skip
    with inner.create(then, "copy") as new:
        copy = new.commit()
        told = new.left_out()
    text = str(bench.host.connection.lookupByUUIDString(copy.uuid).XMLDesc(SECURE))
    alien = ("original", "the-lun", "10.0.0.1", "5999", MAC, "cret'")
    assert not [item for item in alien if item in text]
    assert "cret'" not in then.definition[XML]
    assert "passwd=''" in text  # libvirt lets no viewer in
    assert "org.qemu.guest_agent.0" in text
    more = ("tpm 0", "shmem 0", "redirdev 0", "network card 1", "network card 2")
    for name in (*(item for item in names if item != "the TPM"), *more):
        assert [item for item in told if item.startswith(name)], (name, told)
    bench.host.connection.lookupByUUIDString(copy.uuid).create()
    assert inner.machine(copy.uuid).apart == ()


def devices(root: ET.Element) -> list[str]:
    """The devices of a machine in a stable order; libvirt renumbers consoles."""
    found = [one for one in root.findall("devices/*") if one.tag != "console"]
    return sorted(ET.canonicalize(ET.tostring(one), strip_text=True) for one in found)


def test_a_machine_over_itself_keeps_all_of_it(bench: RunningBench, inner: LibvirtHost):
    uuid = made(inner)
    given(bench.host, uuid, WHOLE)
    machine = bench.host.connection.lookupByUUIDString(uuid)
    before = ET.fromstring(machine.XMLDesc(SECURE))
    told = over(inner, backed_up(inner, uuid))
    after = ET.fromstring(machine.XMLDesc(SECURE))
    for root in (before, after):
        for disk in root.findall("devices/disk/target[@dev='vda']/../source"):
            disk.attrib.clear()
    assert devices(after) == devices(before)
    assert {item.partition(" stays")[0] for item in told} >= {"sda", "vdy", "vdz"}


def test_a_lun_that_went_to_another_machine_does_not_come_back(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(inner)
    plain = definition(bench.host, uuid)
    given(bench.host, uuid, LUN)
    then = backed_up(inner, uuid)
    bench.host.connection.defineXML(plain)
    told = over(inner, then)
    assert "/dev/the-lun" not in definition(bench.host, uuid)
    assert [
        item
        for item in told
        if item.startswith("sda is left out: the device was removed from the machine")
    ]


def test_a_machine_that_is_overwritten_by_the_backup_of_another_gets_nothing_of_that(
    bench: RunningBench, inner: LibvirtHost
):
    item, two = made(inner), made(inner, "other")
    given(bench.host, item, LUN, CARD)
    given(bench.host, two, LUN.replace("the-lun", "its-own"))
    then = backed_up(inner, item)
    with inner.create(then._replace(uuid=two, name="other"), "over", overwrite=True) as new:
        new.commit()
    text = definition(bench.host, two)
    assert not [part for part in ("the-lun", "its-own", MAC) if part in text]


def test_a_machine_that_lives_off_its_backup_has_nothing_of_the_original(
    bench: RunningBench, inner: LibvirtHost, tmp_path: Path
):
    uuid = made(inner)
    given(bench.host, uuid, LUN)
    then = backed_up(inner, uuid)
    with NbdServer(tmp_path / "nbd", {"vda": MemoryDisk(MIB)}):
        with inner.create_over(then, tmp_path / "nbd", "a1") as new:
            copy = new.commit()
            assert [item for item in new.left_out() if item.startswith("sda is left out")]
        assert "/dev/the-lun" not in definition(bench.host, copy.uuid)
        with inner.boot(then, {"vda": MemoryDisk(MIB)}, "proof") as booted:
            assert [item for item in booted.left_out() if item.startswith("sda is left out")]
            [text] = [d.XMLDesc() for d in bench.host.connection.listAllDomains(1)]
            assert "/dev/the-lun" not in text


# Members that identify a machine, which must differ for libvirt 9.0 to run two machines.
IDENTITIES = """
<channel type='unix'><source mode='bind' path='{folder}/original.sock'/>
<target type='virtio' name='org.x.0'/></channel>
<serial type='file'><source path='{folder}/original.log'/></serial>
<serial type='tcp'><source mode='bind' host='127.0.0.1' service='{port}'/><protocol type='raw'/>
</serial><console type='pty'><log file='{folder}/original.console' append='off'/>
<target type='virtio'/></console>
<interface type='user'><mac address='52:54:00:11:22:33'/></interface>
<graphics type='vnc' port='{vnc}' autoport='no' websocket='{web}'/>
<graphics type='spice'><listen type='socket' socket='{folder}/original.spice'/></graphics>"""
SERIAL = "4c4c4544-0042-3510-8053-b2c04f4a3632"


def all_identities(host: LibvirtLab, inner: LibvirtHost) -> tuple[str, list[str]]:
    """A running machine with every identity that this host supports; its uuid, and their values."""
    uuid, folder = made(inner), host.folder
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    given(host, uuid, IDENTITIES.format(folder=folder, port=port, vnc=5987, web=5787))
    text = definition(host, uuid).replace(
        "<os>",
        f"<sysinfo type='smbios'><system><entry name='serial'>{SERIAL}</entry>"
        f"<entry name='uuid'>{uuid}</entry></system><oemStrings><entry>id={uuid}</entry>"
        "</oemStrings></sysinfo><genid>11111111-2222-4333-8444-555555555555</genid>"
        "<os><smbios mode='sysinfo'/>",
    )
    host.connection.defineXML(text)
    host.connection.lookupByUUIDString(uuid).create()
    values = [uuid, SERIAL, "11111111-2222-", MAC, f"'{port}'", "'5987'", "'5787'"]
    return uuid, [*values, f"{folder}/original"]


def test_an_original_its_copy_its_proof_and_its_instant_restore_run_together(
    bench: RunningBench, inner: LibvirtHost, tmp_path: Path
):
    uuid, values = all_identities(bench.host, inner)
    bound = os.stat(bench.host.folder / "original.sock")
    then = backed_up(inner, uuid)
    with inner.create(then, "copy") as new:
        copy = new.commit()
    with NbdServer(tmp_path / "nbd", {"vda": MemoryDisk(MIB)}):
        with inner.create_over(then, tmp_path / "nbd", "a1") as new:
            instant = new.commit()
        for machine in (copy, instant):
            inner.start(machine.uuid)
        with inner.boot(then, {"vda": MemoryDisk(MIB)}, "proof"):
            running = bench.host.connection.listAllDomains(1)
            assert len(running) == 4
            assert os.path.samestat(bound, os.stat(bench.host.folder / "original.sock"))
            texts = [domain.XMLDesc() for domain in running if domain.UUIDString() != uuid]
        bench.hypervisor.asleep()
    assert [(value, text) for value in values for text in texts if value in text] == []
    for entry in ("uuid", "serial"):
        [entered] = re.findall(f"<entry name='{entry}'>(.*?)<", definition(bench.host, copy.uuid))
        assert entered == copy.uuid
    told = over(inner, then)
    kept = definition(bench.host, uuid)
    assert [value for value in values if value not in kept] == ["11111111-2222-"], told
    inner.start(uuid)


def test_a_machine_that_goes_back_to_a_snapshot_is_of_another_generation(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(inner)
    screen = "<graphics type='vnc' port='-1' autoport='yes' passwd='secret'/>"
    given(bench.host, uuid, screen)
    text = str(bench.host.connection.lookupByUUIDString(uuid).XMLDesc(SECURE))
    bench.host.connection.defineXML(text.replace("<os>", "<genid/><os>"))
    [first] = re.findall("<genid>(.*?)</genid>", definition(bench.host, uuid))
    inner.take_snapshot(uuid, "haulback-s1")
    inner.revert(uuid, "haulback-s1", "haulback-a1", "a1")
    text = str(bench.host.connection.lookupByUUIDString(uuid).XMLDesc(SECURE))
    [second] = re.findall("<genid>(.*?)</genid>", text)
    assert first != second
    assert "passwd='secret'" in text


def test_a_machine_starts_with_its_host_again_and_a_copy_beside_does_not(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(inner)
    connection = bench.host.connection
    connection.lookupByUUIDString(uuid).setAutostart(1)
    then = backed_up(inner, uuid)
    with inner.create(then, "copy") as new:
        copy = new.commit()
    assert not connection.lookupByUUIDString(copy.uuid).autostart()
    over(inner, then)
    assert connection.lookupByUUIDString(uuid).autostart()
    inner.remove(uuid)
    with inner.create(then, "again") as new:
        assert new.commit().uuid == uuid
    assert connection.lookupByUUIDString(uuid).autostart()
    assert "autostart" not in definition(bench.host, uuid)


def test_a_machine_starts_with_its_host_even_if_its_restore_died_after_the_definition(
    bench: RunningBench, inner: LibvirtHost, monkeypatch: pytest.MonkeyPatch
):
    uuid = made(inner)
    connection = bench.host.connection
    connection.lookupByUUIDString(uuid).setAutostart(1)
    then = backed_up(inner, uuid)
    inner.remove(uuid)
    with monkeypatch.context() as patch, inner.create(then, "dead") as new:
        patch.setattr(Domain, "set_autostart", died)
        with pytest.raises(KeyboardInterrupt):
            new.commit()
    assert not connection.lookupByUUIDString(uuid).autostart()
    inner.sweep({"dead"})
    assert not connection.lookupByUUIDString(uuid).autostart()
    inner.sweep(set())
    assert connection.lookupByUUIDString(uuid).autostart()
    connection.lookupByUUIDString(uuid).setAutostart(0)
    inner.sweep(set())
    assert not connection.lookupByUUIDString(uuid).autostart()


def died(_: Domain) -> None:
    raise KeyboardInterrupt


def test_a_disk_that_was_plugged_in_keeps_its_bus_and_its_name(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(inner)
    domain = bench.hypervisor.wake(uuid)
    image = bench.host.storage / "late.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", image, "1M")
    domain.attachDevice("<controller type='scsi' index='0' model='virtio-scsi'/>")
    domain.attachDevice(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{image}'/><target dev='sdb' bus='scsi'/></disk>"
    )
    then = backed_up(inner, uuid)
    assert [disk.name for disk in then.disks] == ["vda", "sdb"]
    with inner.create(then, "copy") as new:
        copy = new.commit()
    bench.hypervisor.asleep()
    over(inner, then)
    inner.start(copy.uuid)
    for machine in (copy.uuid, uuid):
        root = ET.fromstring(definition(bench.host, machine))
        seats = [
            (target.get("dev"), target.get("bus")) for target in root.findall("devices/disk/target")
        ]
        assert seats == [("vda", "virtio"), ("sdb", "scsi")]
        assert root.find("devices/controller[@type='scsi']").get("model") == "virtio-scsi"
        inner.start(machine)


def images(host: LibvirtLab, uuid: str) -> dict[str, Path]:
    root = ET.fromstring(definition(host, uuid))
    return {one.device: one.path for one in volumes(root) if one.path}


def test_an_excluded_disk_is_not_in_a_copy_and_stays_with_its_machine(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(inner, vda="qcow2", data="raw")
    before = images(bench.host, uuid)
    before["vdb"].write_bytes(b"precious".ljust(MIB, b"\0"))
    then = backed_up(inner, uuid, "vda")
    with inner.create(then, "copy") as new:
        copy = new.commit()
        assert new.left_out() == ["data is left out: the disk was not restored"]
    assert images(bench.host, copy.uuid).keys() == {"vda"}
    told = over(inner, then)
    assert told == ["data stays as it is: the disk was not restored"]
    after = images(bench.host, uuid)
    assert (after["vdb"], before["vda"].exists()) == (before["vdb"], False)
    with inner.snapshot(uuid, "look") as look:
        result = {view.disk.name: read(view)[:8] for view in look.views()}
    assert result == {"vda": b"new!new!", "data": b"precious"}


def test_a_disk_that_came_after_the_backup_is_detached_and_not_deleted(
    bench: RunningBench, inner: LibvirtHost
):
    uuid = made(inner)
    then = backed_up(inner, uuid)
    late = bench.host.storage / "late.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", late, "1M")
    given(
        bench.host,
        uuid,
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{late}'/><target dev='vdb' bus='virtio'/></disk>",
    )
    told = over(inner, then)
    assert told == ["vdb was added after the backup: the disk is detached, and its image stays"]
    assert images(bench.host, uuid).keys() == {"vda"}
    assert late.exists()


def test_an_image_that_another_machine_uses_in_any_way_is_not_deleted(
    bench: RunningBench, inner: LibvirtHost
):
    item, two = made(inner, vda="raw"), made(inner, "other")
    [image] = images(bench.host, item).values()
    given(
        bench.host,
        two,
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        f"<source file='{image}'/><target dev='vdb' bus='virtio'/><readonly/></disk>",
    )
    over(inner, backed_up(inner, item))
    assert image.exists()
    inner.remove(item)
    assert image.exists()


@pytest.fixture
def block(tmp_path: Path) -> Iterator[str]:
    """A block device of 1 MiB."""
    image = tmp_path / "block"
    image.write_bytes(bytes(MIB))
    done = subprocess.run(
        ["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("needs a loop device")
    yield done.stdout.strip()
    subprocess.run(["losetup", "-d", done.stdout.strip()], check=False)


@pytest.mark.skipif(shutil.which("losetup") is None, reason="needs losetup")
def test_a_block_device_is_never_deleted(bench: RunningBench, inner: LibvirtHost, block: str):
    uuid = made(inner)
    given(
        bench.host,
        uuid,
        "<disk type='block' device='disk'><driver name='qemu' type='raw'/>"
        f"<source dev='{block}'/><target dev='vdb' bus='virtio'/></disk>",
    )
    then = inner.machine(uuid)
    assert [disk.name for disk in then.disks] == ["vda", "vdb"]
    told = over(inner, then)
    assert told == [f"vdb has an image of its own now: the old disk {block} stays"]
    assert Path(block).is_block_device()
    given(bench.host, uuid, LUN.replace("/dev/the-lun", block))
    with suppress(Conflict):
        inner.remove(uuid)
    assert Path(block).is_block_device()


def test_what_other_machines_write_too_is_said_and_does_not_move(
    bench: RunningBench, inner: LibvirtHost, tmp_path: Path
):
    uuid = made(inner)
    shared = tmp_path / "shared.raw"
    shared.write_bytes(bytes(MIB))
    given(
        bench.host,
        uuid,
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{shared}'/>"
        "<target dev='vdb' bus='virtio'/><shareable/></disk>",
    )
    then = backed_up(inner, uuid)
    assert [(item.name, item.held) for item in then.apart] == [("vdb", True)]
    bench.hypervisor.wake(uuid)
    with pytest.raises(Conflict, match="vdb is shared with other machines; detach it"):
        inner.move(uuid, LibvirtHost(inner.uri, tmp_path), "m1", print, print)
    with inner.create(then, "copy") as new:
        copy = new.commit()
        assert [item for item in new.left_out() if item.startswith("vdb is a separate image")]
    assert shared not in images(bench.host, copy.uuid).values()
    bench.hypervisor.asleep()
    told = over(inner, then)
    assert f"vdb has an image of its own now: the old disk {shared} stays" in told
    assert shared.exists()  # a machine on another host may use the disk
    assert "shareable" not in definition(bench.host, copy.uuid)
    assert XML in copy.definition
