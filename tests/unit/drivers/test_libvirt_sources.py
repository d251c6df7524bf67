"""The disks of a stopped machine are read from any location, and unreadable disks are named."""

from __future__ import annotations

import os
import struct
from contextlib import nullcontext
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from haulback.drivers.images import backing_chain
from haulback.drivers.images.host_image import HostImage
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt import network_disks
from haulback.drivers.libvirt.domain import DomainDisk
from haulback.drivers.libvirt.overlay import lies_on
from haulback.errors import Malformed, SourceChanged, Unavailable, Unsupported

RUNS = "which can be read only while the machine runs"


def network(source: str, inner: str = "<host name='h'/>", form: str = "raw") -> ET.Element:
    return ET.fromstring(
        f"<disk type='network' device='disk'><driver name='qemu' type='{form}'/>"
        f"<source {source}>{inner}</source><target dev='vdb'/></disk>"
    )


UNIX = "<host transport='unix' socket='/run/nbd'/>"
FILES = {
    "nbd by a socket": (
        network("protocol='nbd' name='root'", UNIX),
        {"driver": "nbd", "server": {"type": "unix", "path": "/run/nbd"}, "export": "root"},
    ),
    "nbd by TCP": (
        network("protocol='nbd'", "<host name='h' port='99'/>"),
        {"driver": "nbd", "server": {"type": "inet", "host": "h", "port": "99"}, "export": ""},
    ),
    "ssh": (
        network("protocol='ssh' name='/a/b'"),
        {"driver": "ssh", "server": {"host": "h", "port": "22"}, "path": "/a/b"},
    ),
    "https": (
        network("protocol='https' name='/a/b' query='?x=1'"),
        {"driver": "https", "url": "https://h:443/a/b?x=1"},
    ),
    "https without a check": (
        network("protocol='https' name='a'", "<host name='h' port='8'/><ssl verify='no'/>"),
        {"driver": "https", "url": "https://h:8/a", "sslverify": False},
    ),
    "iscsi": (
        network("protocol='iscsi' name='iqn.x:y/2'", "<host name='h'/><initiator>"
                "<iqn name='iqn.me'/></initiator>"),
        {"driver": "iscsi", "portal": "h:3260", "transport": "tcp", "initiator-name": "iqn.me",
         "target": "iqn.x:y", "lun": 2},
    ),
    "rbd": (
        network("protocol='rbd' name='pool/image'", "<host name='a'/><config file='/c'/>"),
        {"driver": "rbd", "pool": "pool", "image": "image", "conf": "/c",
         "server": [{"host": "a", "port": "6789"}]},
    ),
    "rbd by its configuration": (
        network("protocol='rbd' name='pool/image'", ""),
        {"driver": "rbd", "pool": "pool", "image": "image"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("disk", "file"), FILES.values(), ids=FILES)
def test_a_disk_on_a_network_is_described_as_qemu_opens_it(disk: ET.Element, file: dict):
    assert network_disks.tree(disk) == {"driver": "raw", "file": file}
    assert network_disks.unreadable(disk) == ""
    assert xml.volume(disk, {}).tree == {"driver": "raw", "file": file}


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        (network("protocol='gluster' name='v/i'"), "a network disk (gluster)"),
        (network("protocol='nbd' tls='yes'"), "a network disk (nbd)"),
        (network("protocol='nbd'", "<host transport='vsock'/>"), "a network disk (nbd)"),
        (network("protocol='rbd' name='p/i'", "<auth username='a'/>"), "a disk behind a login"),
        (network("protocol='http' name='a'", "<host name='h'/><cookies/>"), "a disk behind a log"),
        (network("protocol='iscsi' name='iqn/x'"), "a network disk (iscsi)"),
        (network("protocol='rbd' name='image'"), "a network disk (rbd)"),
        (ET.fromstring("<disk type='nvme'><source type='pci'/></disk>"), "a nvme disk"),
        (ET.fromstring("<disk type='vhostvdpa'><source dev='/x'/></disk>"), "a vhostvdpa disk"),
        (
            ET.fromstring("<disk type='file'><source file='/x'><encryption/></source></disk>"),
            "an encrypted disk",
        ),
        (
            ET.fromstring("<disk type='block'><source dev='/x'><slices/></source></disk>"),
            "a part of a disk",
        ),
    ],
)
def test_a_disk_that_only_a_running_machine_opens_is_said_to_be_one(disk: ET.Element, words: str):
    assert network_disks.unreadable(disk).startswith(words)
    assert network_disks.unreadable(disk).endswith(RUNS)


def test_disks_of_one_server_share_it_and_those_of_others_do_not():
    trees = [network_disks.tree(disk) for disk, _ in FILES.values()]
    assert len({network_disks.server_of(tree) for tree in trees}) == len(trees)
    same = network("protocol='https' name='/c'")
    assert network_disks.server_of(network_disks.tree(same)) == "https https://h:443"


LUKS = (
    "<domain type='qemu'><name>web</name><uuid>u</uuid><devices><disk type='file' device='disk'>"
    "<source file='/x'><encryption format='luks'/></source><target dev='vda'/></disk></devices>"
    "</domain>"
)


def test_a_running_machine_says_what_its_backups_lack_once_it_is_off():
    [volume] = xml.volumes(ET.fromstring(LUKS))
    [part] = xml.machine(LUKS, [(volume, 1)], LUKS).apart
    assert part == ("vda", f"only while the machine is off: an encrypted disk, {RUNS}", False, True)
    [part] = xml.machine(LUKS, []).apart
    assert part == ("vda", f"an encrypted disk, {RUNS}", False, False)
    [part] = xml.machine(LUKS, [(volume, 1)], lost={"vda": "why"}).apart
    assert (part.name, part.why) == ("vda", "why")


def extension(kind: int, text: str) -> bytes:
    made = struct.pack(">II", kind, len(text)) + text.encode() if text else b""
    return made + bytes(-len(made) % 8)


def image(path: Path, backing: str = "", data: str = "", form: str = "qcow2") -> Path:
    """A file with the header of a qcow2 image of version 3."""
    extensions = extension(0xE2792ACA, form if backing else "") + extension(0x44415441, data)
    extensions += bytes(8)
    at = 104 + len(extensions)
    named = (at if backing else 0, len(backing))
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 3, *named, 16, 1 << 20, 0, *([0] * 6))
    more = struct.pack(">QQQII", 4 if data else 0, 0, 0, 4, 104)
    path.write_bytes(head + more + extensions + backing.encode() + bytes(512))
    return path


def test_the_files_that_an_image_needs_are_found_and_must_be_there(tmp_path: Path):
    data = tmp_path / "sub" / "data"
    base = image(tmp_path / "base", data=str(data))
    top = image(tmp_path / "top", "base")
    with pytest.raises(Unavailable, match=r"needs .*/sub/data: No such file"):
        backing_chain.others(top)
    data.parent.mkdir()
    data.write_bytes(b"x")
    assert backing_chain.others(top) == [base, data]
    assert backing_chain.others(image(tmp_path / "far", "nbd://h/x")) == []
    assert backing_chain.others(image(tmp_path / "other", "json:{}")) == []
    with pytest.raises(Unavailable, match="more than 200 backing files"):
        backing_chain.others(image(tmp_path / "loop", "loop"))
    with pytest.raises(Unavailable, match=r"needs .*/none"):
        HostImage(image(tmp_path / "lost", "none"), "vda", "qcow2")
    remedy = rf"without the full path.*qemu-img amend -o data_file={tmp_path}/data {tmp_path}/near"
    with pytest.raises(Unsupported, match=remedy):  # QEMU reads it against its working folder
        HostImage(image(tmp_path / "near", data="data"), "vda", "qcow2")


def test_a_change_of_any_file_of_an_image_is_found_out(tmp_path: Path):
    base = image(tmp_path / "base")
    (tmp_path / "link").symlink_to(image(tmp_path / "top", str(base)))
    with HostImage(tmp_path / "link", "vda", "qcow2") as opened:
        opened.begin()
        opened.refuse_if_changed()
        assert opened.path == tmp_path / "link"
        base.write_bytes(base.read_bytes() + b"more")
        with pytest.raises(Exception, match="was changed or replaced"):
            opened.refuse_if_changed()
        base.unlink()
        with pytest.raises(Unavailable, match="No such file"):
            opened.refuse_if_changed()


def test_names_of_other_files_are_relative_to_the_link_that_names_the_image(tmp_path: Path):
    for folder in ("real", "links", "deeper"):
        (tmp_path / folder).mkdir()
    top = image(tmp_path / "real" / "top", "middle")
    data = tmp_path / "data"
    data.touch()
    middle = image(tmp_path / "real" / "middle", "base", str(data))
    (tmp_path / "links" / "top").symlink_to(top)
    (tmp_path / "links" / "middle").symlink_to(middle)
    for folder in ("real", "links"):
        image(tmp_path / folder / "base")
    links = tmp_path / "links"
    needed = [links / "middle", data, links / "base"]
    assert backing_chain.others(links / "top") == needed
    with HostImage(links / "top", "vda", "qcow2") as opened:
        assert opened.source == str(links / "top")  # QEMU reads the names in the same way
        opened.begin()
        opened.refuse_if_changed()
        (links / "top").unlink()
        (links / "top").symlink_to(image(tmp_path / "deeper" / "top"))
        with pytest.raises(SourceChanged, match="was changed or replaced"):
            opened.refuse_if_changed()


@pytest.mark.parametrize("form", ["raw", "vmdk", "luks", "file", "host_device"])
def test_what_a_guest_wrote_into_its_raw_disk_names_no_file_of_the_host(tmp_path: Path, form: str):
    base = image(tmp_path / "base", str(tmp_path / "gone"), "also gone")
    assert backing_chain.others(image(tmp_path / "top", "base", form=form)) == [base]
    with HostImage(tmp_path / "top", "vda", "qcow2") as opened:
        opened.begin()
        (tmp_path / "gone").touch()
        opened.refuse_if_changed()
    with HostImage(base, "vda", "raw") as opened:  # the disk itself is not followed either
        assert opened.is_raw


@pytest.mark.parametrize(("form", "is_followed"), [("raw", False), ("qcow2", True), ("", True)])
def test_what_a_guest_wrote_into_its_raw_disk_names_no_share(
    tmp_path: Path, form: str, is_followed: bool
):
    share = '{"driver":"raw","file":{"driver":"nbd","server":{"path":"/s"},"export":"a"}}'
    image(tmp_path / "base", f"json:{share}", form="raw")
    disk = DomainDisk("vda", "vda", "qcow2", image(tmp_path / "top", "base", form=form))
    assert lies_on([disk], Path("/s")) == [disk] * is_followed


@pytest.mark.parametrize(
    ("backing", "is_known"),
    [
        ("base", False),
        ("nbd://h/x", False),
        ('json:{"file":{"driver":"file","filename":"/base"}}', False),
        ('json:{"file":{"driver":"nbd","server":{"path":"/s"}}}', False),
        ("json:[]", False),
        ('json:{"driver":"raw","file":{"driver":"nbd","server":{"path":"/s"}}}', True),
    ],
)
def test_a_backing_file_whose_format_only_its_content_tells_is_refused(
    tmp_path: Path, backing: str, is_known: bool
):
    image(tmp_path / "base")
    top = image(tmp_path / "top", backing, form="")
    with nullcontext() if is_known else pytest.raises(Unsupported, match="qemu-img rebase -u -b"):
        HostImage(top, "vda", "qcow2").close()


def test_the_recorded_format_is_read_from_images_of_version_2_too(tmp_path: Path):
    base = image(tmp_path / "base")
    record = extension(0xE2792ACA, "qcow2") + bytes(8)
    named = (72 + len(record), 4)
    head = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, *named, 16, 1 << 20, 0, *([0] * 6))
    (tmp_path / "top").write_bytes(head + record + b"base" + bytes(512))
    assert backing_chain.others(tmp_path / "top") == [base]


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
@pytest.mark.parametrize("needs", ["itself", "backing", "data"])
def test_only_files_and_block_devices_are_opened(
    tmp_path: Path, kind: str, needs: str, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "place"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place = Path("/dev/null")
    form = "raw" if needs == "itself" else "qcow2"
    named = {"itself": "", "backing": str(place), "data": ""}[needs]
    top = image(tmp_path / "top", named, str(place) if needs == "data" else "", form="raw")
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *a, **k: opened.append(a) or real(*a, **k))
    with pytest.raises(Malformed, match="is neither a file nor a block device"):
        HostImage(place if needs == "itself" else top, "vda", form)
    assert [flags for path, flags in opened if path == place and not flags & os.O_PATH] == []
