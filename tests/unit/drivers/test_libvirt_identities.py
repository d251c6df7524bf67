"""The identities of a machine: a copy gets its own, and the machine itself keeps them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.drivers.hypervisor import Machine, MachineDisk, NetworkCardSettings
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt.boot import _isolated
from haulback.drivers.libvirt.definition import AUTOSTART, CopyMode, compose
from haulback.drivers.libvirt.plugged_devices import with_plugged
from haulback.libvirt_xml import XML, parse

OLD = "11111111-2222-4333-8444-555555555555"
NEW = "99999999-2222-4333-8444-555555555555"
GENERATION = "aaaaaaaa-2222-4333-8444-555555555555"


def domain(more: str = "", devices: str = "") -> str:
    return (
        f"<domain type='qemu'><name>web</name><uuid>{OLD}</uuid><memory>65536</memory>"
        f"<os><type>hvm</type></os>{more}<devices><disk type='file' device='disk'>"
        "<driver name='qemu' type='qcow2'/><source file='/old'/>"
        f"<target dev='vda' bus='virtio'/></disk>{devices}</devices></domain>"
    )


def composed(text: str, uuid: str = NEW, **standing) -> ET.Element:
    wanted = Machine(uuid, "again", (MachineDisk("vda", 1, "qcow2"),), {"uuid": OLD, XML: text})
    return parse(compose(wanted, {"vda": Path("/new")}, "qemu", CopyMode(**standing)))


def smbios(table: str, **entries: str) -> str:
    made = "".join(f"<entry name='{name}'>{text}</entry>" for name, text in entries.items())
    return f"<sysinfo type='smbios'><{table}>{made}</{table}></sysinfo>"


def entry(root: ET.Element, name: str) -> str | None:
    return root.findtext(f"sysinfo/*/entry[@name='{name}']")


@pytest.mark.parametrize("written", [OLD, OLD.upper(), f" {OLD}\n", "another"])
@pytest.mark.parametrize("fresh", [True, False])
def test_the_uuid_in_the_tables_of_the_firmware_is_that_of_the_machine(written: str, fresh: bool):
    root = composed(domain(smbios("system", manufacturer="OpenStack", uuid=written)), fresh=fresh)
    assert (root.findtext("uuid"), entry(root, "uuid")) == (NEW, NEW)
    assert entry(root, "manufacturer") == "OpenStack"


@pytest.mark.parametrize("table", ["system", "baseBoard", "chassis"])
def test_a_copy_has_serial_numbers_of_its_own_and_keeps_what_is_no_identity(table: str):
    text = domain(smbios(table, serial="S-1", asset="HUAWEICLOUD", version="9"))
    root = composed(text, fresh=True)
    assert entry(root, "serial") == NEW
    assert (entry(root, "asset"), entry(root, "version")) == ("HUAWEICLOUD", "9")
    assert entry(composed(text, OLD), "serial") == "S-1"
    assert entry(composed(text, OLD, now=text), "serial") == "S-1"


def card(more: str) -> str:
    mac = "<mac address='52:54:00:11:22:33'/>"
    return f"<interface type='bridge'>{mac}<source bridge='br0'/>{more}</interface>"


def filtered(**parameters: str) -> str:
    made = "".join(f"<parameter name='{k}' value='{v}'/>" for k, v in parameters.items())
    return card(f"<filterref filter='clean-traffic'>{made}</filterref>")


def parameters(root: ET.Element) -> list[tuple]:
    return [
        (one.get("name"), one.get("value"))
        for one in root.findall("devices/interface/filterref/parameter")
    ]


def test_the_filter_of_a_copy_lets_the_addresses_of_the_copy_pass():
    kept = {"IPV6": "fd00::1", "DHCPSERVER": "10.0.0.1"}
    held = {"MAC": "52:54:00:11:22:33", "IP": "10.0.0.7", "CTRL_IP_LEARNING": "none"}
    text, told = domain(devices=filtered(**kept, **held)), []
    root = composed(text, fresh=True, tell=told.append)
    assert parameters(root) == list(kept.items())
    assert told == [
        "the filter of a network card learns its addresses anew: the copy has other addresses"
    ]
    for standing in ({}, {"now": text}):
        assert parameters(composed(text, OLD, **standing)) == list((kept | held).items())
    free = {"CTRL_IP_LEARNING": "dhcp", "DHCPSERVER": "10.0.0.1"}
    text = domain(devices=filtered(**free, IP="10.0.0.7"))
    assert parameters(composed(text, fresh=True)) == list(free.items())
    text = domain(devices=filtered(CTRL_IP_LEARNING="none"))
    assert parameters(composed(text, fresh=True)) == [("CTRL_IP_LEARNING", "none")]


def test_a_card_with_another_mac_has_no_filter_for_its_old_one():
    text = domain(devices=filtered(MAC="52:54:00:11:22:33", IP="10.0.0.7"))
    wanted = Machine(OLD, "web", (), {"uuid": OLD, XML: text})
    wanted = wanted._replace(cards=(NetworkCardSettings(0, mac="52:54:00:00:00:09"),))
    root = parse(compose(wanted, {}, "qemu", CopyMode()))
    assert parameters(root) == [("IP", "10.0.0.7")]


def test_a_copy_has_no_metadata_by_which_other_programs_know_the_original():
    system = "<l:libosinfo xmlns:l='http://libosinfo.org/xmlns/libvirt/domain/1.0'/>"
    nova = "<n:instance xmlns:n='http://openstack.org/nova'><n:port uuid='p'/></n:instance>"
    text, told = domain(f"<metadata>{system}{nova}<plain/></metadata>"), []
    root = composed(text, fresh=True, tell=told.append)
    assert [item.tag.rpartition("}")[2] for item in root.find("metadata")] == ["libosinfo"]
    assert told == [
        "the metadata of other programs is left out, because this metadata names the original"
    ]
    for standing in ({}, {"now": text}):
        assert len(composed(text, OLD, **standing).findall("metadata/*")) == 3


def test_a_copy_keeps_our_own_metadata():
    wanted = Machine(OLD, "web", (), {"uuid": OLD, XML: domain(), "owner": "ops"})
    made = compose(wanted, {}, "qemu", CopyMode())
    again = Machine(NEW, "again", (), {"uuid": OLD, XML: made, "owner": "ops"})
    assert xml.kept(parse(compose(again, {}, "qemu", CopyMode(fresh=True)))).more == {
        "owner": "ops"
    }


@pytest.mark.parametrize("kind", ["midonet", "openvswitch", "802.1Qbg"])
def test_a_copy_has_a_port_of_its_own_or_no_card(kind: str):
    port = f"<virtualport type='{kind}'><parameters interfaceid='{OLD}'/></virtualport>"
    text, told = domain(devices=card(port)), []
    root = composed(text, fresh=True, tell=told.append)
    if kind == "midonet":  # libvirt creates no port for this device
        assert root.find("devices/interface") is None
        [sentence] = told
        assert "its port (midonet) belongs to the original" in sentence
    else:
        [made] = root.findall("devices/interface/virtualport/parameters")
        assert (made.attrib, told) == ({}, [])
    for standing in ({}, {"now": text}):
        [kept] = composed(text, OLD, **standing).findall("devices/interface/virtualport/parameters")
        assert kept.get("interfaceid") == OLD


def test_disks_keep_the_serials_by_which_their_guest_knows_them():
    serials = "<serial>S1</serial><wwn>5000c500155eb1e5</wwn></disk>"
    nvme = "<controller type='nvme' index='0'><serial>N1</serial></controller>"
    text = domain(devices=nvme).replace("</disk>", serials)
    for root in (composed(text, fresh=True), composed(text, OLD), composed(text, OLD, now=text)):
        told = [root.findtext(f"devices/{one}") for one in ("disk/serial", "disk/wwn")]
        assert told == ["S1", "5000c500155eb1e5"]
        assert root.findtext("devices/controller/serial") == "N1"


def test_members_of_a_user_mean_nothing_to_libvirt_and_stay():
    own = {"allocated": "2024", "autostart": True}
    wanted = Machine(NEW, "again", (), {"uuid": OLD, XML: domain(), **own, AUTOSTART: True})
    assert xml.kept(parse(compose(wanted, {}, "qemu", CopyMode()))).more == own
    assert AUTOSTART not in own


def test_a_serial_number_that_seeds_cloud_init_is_kept():
    seed = "ds=nocloud-net;s=http://10.0.0.1/"
    root = composed(domain(smbios("system", serial=seed)), fresh=True)
    assert entry(root, "serial") == seed


def test_the_uuid_is_renewed_wherever_the_tables_of_the_firmware_repeat_it():
    text = domain(
        f"<sysinfo type='smbios'><system><entry name='serial'>{OLD}</entry></system>"
        f"<oemStrings><entry>app:{OLD.upper()}</entry><entry/></oemStrings></sysinfo>"
        f"<sysinfo type='fwcfg'><entry name='opt/id'>{OLD}</entry></sysinfo>"
    )
    for fresh in (True, False):
        root = composed(text, fresh=fresh)
        assert OLD not in ET.tostring(root, encoding="unicode").lower()
        assert root.findtext("sysinfo/oemStrings/entry") == f"app:{NEW}"


@pytest.mark.parametrize("standing", [{"fresh": True}, {}, {"now": domain()}])
def test_every_restored_machine_is_of_another_generation(standing: dict):
    told: list[str] = []
    root = composed(domain(f"<genid>{GENERATION}</genid>"), **standing, tell=told.append)
    assert (root.find("genid") is not None, root.findtext("genid")) == (True, "")
    new = "the generation id (genid) is new: it tells the guest that its disks went back in time"
    assert told == ([] if standing.get("fresh") else [new])
    assert composed(domain(), **standing, tell=told.append).find("genid") is None
    assert told.count(new) <= 1


def test_a_machine_over_itself_keeps_its_qemu_and_the_host_chooses_that_of_others():
    text = domain(devices="<emulator>/opt/old/qemu</emulator>")
    now = domain(devices="<emulator>/opt/own/qemu</emulator>")
    told: list[str] = []
    root = composed(text, OLD, now=now, tell=told.append)
    assert [item.text for item in root.findall("devices/emulator")] == ["/opt/own/qemu"]
    assert told == []
    for fresh in (True, False):
        assert composed(text, fresh=fresh).find("devices/emulator") is None


def test_the_uuid_that_a_guest_sees_is_renewed_in_a_copy_and_kept_otherwise():
    text = domain(f"<hwuuid>{GENERATION}</hwuuid>")
    assert composed(text, fresh=True).findtext("hwuuid") == NEW
    for standing in ({}, {"now": text}):
        assert composed(text, OLD, **standing).findtext("hwuuid") == GENERATION


PINNED = (
    "<cputune><shares>9</shares><vcpupin vcpu='0' cpuset='3'/><emulatorpin cpuset='3'/>"
    "<cachetune vcpus='0'><cache id='0' level='3' type='both' size='3' unit='MiB'/></cachetune>"
    "</cputune><numatune><memory mode='strict' nodeset='1'/></numatune>"
)


def test_a_copy_is_not_pinned_to_what_its_original_uses():
    text, told = (
        domain(PINNED).replace("<os>", "<vcpu placement='static' cpuset='3'>2</vcpu><os>"),
        [],
    )
    root = composed(text, fresh=True, tell=told.append)
    assert [item.tag for item in root.find("cputune")] == ["shares"]
    assert (root.find("numatune"), root.find("vcpu").attrib) == (None, {})
    assert told == [
        "the pinning to CPUs and memory of the host is left out: the original uses them"
    ]
    for standing in ({}, {"now": text}):
        kept = composed(text, OLD, **standing)
        assert len(kept.find("cputune")) == 4
        assert kept.find("vcpu").get("cpuset") == "3"
        assert kept.find("numatune/memory").get("nodeset") == "1"


def test_the_secret_of_a_tpm_stays_with_the_original():
    chip = "<tpm><backend type='emulator'><encryption secret='s'/></backend></tpm>"
    text, told = domain(devices=chip), []
    root = composed(text, fresh=True, tell=told.append)
    assert root.find("devices/tpm/backend/encryption") is None
    assert "the state of the TPM is not encrypted: the secret belongs to the original" in told
    assert composed(text, OLD).find("devices/tpm/backend/encryption") is not None


@pytest.mark.parametrize("place", ["<source file='/old'>{}</source>", "<source file='/old'/>{}"])
def test_a_disk_that_was_encrypted_is_said_to_be_so_no_more(place: str):
    key = "<encryption format='luks'><secret type='passphrase' uuid='s'/></encryption>"
    text, told = domain().replace("<source file='/old'/>", place.format(key)), []
    for standing in ({"fresh": True}, {}, {"now": text}):
        root = composed(text, OLD, tell=told.append, **standing)
        assert root.find("devices/disk//encryption") is None
    assert told == ["vda is not encrypted: a backup holds its contents, not its keys"] * 3


def test_random_numbers_of_the_original_are_replaced_with_a_sentence():
    egd = (
        "<rng model='virtio'><backend model='egd' type='udp'><source mode='bind' service='1'/>"
        "</backend></rng>"
    )
    told: list[str] = []
    backend = composed(domain(devices=egd), fresh=True, tell=told.append).find(
        "devices/rng/backend"
    )
    assert (backend.get("model"), backend.text, len(backend)) == ("random", "/dev/urandom", 0)
    assert told == ["random numbers come from /dev/urandom: their source belongs to the original"]


def test_a_screen_keeps_its_present_password_or_lets_no_viewer_in():
    text = domain(devices="<graphics type='vnc' passwd=''/><graphics type='spice'/>")
    locked = "the screen (vnc) lets no viewer in: no backup holds its password; set one"
    for standing in ({"fresh": True}, {}, {"now": domain()}):
        told: list[str] = []
        screens = composed(text, OLD, tell=told.append, **standing).findall("devices/graphics")
        assert [item.get("passwd") for item in screens] == ["", None]
        assert told == [locked]
    now = text.replace("passwd=''", "passwd='secret' passwdValidTo='2030-01-01T00:00:00'")
    root = composed(text, OLD, now=now, tell=told.append)
    assert root.find("devices/graphics").get("passwd") == "secret"
    assert root.find("devices/graphics").get("passwdValidTo") == "2030-01-01T00:00:00"
    assert told == [locked]


def test_a_proof_has_no_identity_of_the_original(tmp_path: Path):
    text = domain(
        smbios("system", uuid=OLD, serial="S-1") + f"<genid>{GENERATION}</genid>",
        "<interface type='user'><mac address='52:54:00:11:22:33'/></interface>",
    )
    wanted = Machine("", "web", (MachineDisk("vda", 1, "qcow2"),), {"uuid": OLD, XML: text})
    said = _isolated(wanted, {"vda": Path("/new")}, tmp_path / "haulback-p", print)
    assert [one for one in (OLD, "S-1", GENERATION, "52:54:00:11") if one in said] == []
    assert entry(parse(said), "uuid") == parse(said).findtext("uuid")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["bios", "system", "baseBoard", "chassis", "oemStrings", "thing"]),
            st.sampled_from(["uuid", "serial", "asset", "version", ""]),
            st.sampled_from([OLD, OLD.upper(), f"x{OLD}y", "S-1", "", "ds=x"]),
        ),
        max_size=6,
    )
)
def test_no_table_of_the_firmware_names_the_uuid_of_the_original(entries: list):
    made = "".join(f"<{t}><entry name='{n}'>{v}</entry></{t}>" for t, n, v in entries)
    root = composed(domain(f"<sysinfo type='smbios'>{made}</sysinfo>"), fresh=True)
    assert OLD not in ET.tostring(root, encoding="unicode").lower()
    for one in root.findall("sysinfo/system/entry[@name='uuid']"):
        assert one.text == NEW


LATE = (
    "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/>"
    "<source file='/late' index='2'/><backingStore/><target dev='sdb' bus='scsi'/>"
    "<serial>S9</serial><alias name='{alias}'/>"
    "<address type='drive' controller='1' bus='0' target='0' unit='4'/></disk>"
    "<controller type='scsi' index='1' model='virtio-scsi'><alias name='scsi1'/>"
    "<address type='pci' slot='0x09'/></controller><controller type='usb' index='1'/>"
)


@pytest.mark.parametrize("alias", ["scsi1-0-0-4", "ua-mine"])
def test_a_disk_that_is_plugged_in_is_in_the_definition_as_it_is_seated(alias: str):
    root = parse(with_plugged(domain(), domain(devices=LATE.format(alias=alias))))
    [disk] = root.findall("devices/disk/target[@dev='sdb']/..")
    assert disk.find("target").get("bus") == "scsi"
    assert disk.find("address").get("unit") == "4"
    assert disk.findtext("serial") == "S9"
    assert [one.get("name") for one in disk.findall("alias")] == [alias] * (alias == "ua-mine")
    [controller] = root.findall("devices/controller")
    assert (controller.get("model"), list(controller)) == ("virtio-scsi", [])
    assert [one.name for one in xml.volumes(root)] == ["vda", "sdb"]


def test_a_controller_of_a_plugged_disk_is_added_even_if_it_has_no_members():
    plain = LATE.format(alias="a").replace(
        LATE[LATE.index("<alias name='scsi1'") : LATE.index("</controller>")], ""
    )
    root = parse(with_plugged(domain(), domain(devices=plain)))
    [controller] = root.findall("devices/controller")
    assert (controller.get("index"), controller.get("model")) == ("1", "virtio-scsi")


def test_a_definition_stays_as_it_is_where_nothing_was_plugged_in():
    seated = domain(devices="<controller type='scsi' index='1' model='lsilogic'/>")
    assert with_plugged(seated, domain()) == seated
    changed = domain().replace("/old", "/other")  # the same device now has another image
    assert with_plugged(domain(), changed) == domain()
    root = parse(with_plugged(seated, domain(devices=LATE.format(alias="a"))))
    assert [controller.get("model") for controller in root.findall("devices/controller")] == [
        "lsilogic"
    ]
    virtio = LATE.format(alias="a").replace("drive", "pci").replace("scsi", "virtio")
    root = parse(with_plugged(domain(), domain(devices=virtio)))
    [disk] = root.findall("devices/disk/target[@dev='sdb']/..")
    assert disk.find("address") is None


def test_a_network_card_that_is_plugged_in_is_in_the_definition_too():
    card = (
        "<interface type='network'><mac address='52:54:00:AA:00:01'/><source network='lan' "
        "portid='p' bridge='virbr0'/><target dev='{}'/><alias name='net1'/>"
        "<address type='pci' slot='0x09'/></interface>"
    )
    root = parse(with_plugged(domain(), domain(devices=card.format("vnet4"))))
    [plugged] = root.findall("devices/interface")
    assert plugged.find("source").attrib == {"network": "lan"}
    assert [member.tag for member in plugged] == ["mac", "source"]
    root = parse(with_plugged(domain(), domain(devices=card.format("mine"))))
    assert root.find("devices/interface/target").get("dev") == "mine"
    seated = domain(devices=card.format("vnet4").lower())
    assert with_plugged(seated, domain(devices=card.format("vnet9"))) == seated
