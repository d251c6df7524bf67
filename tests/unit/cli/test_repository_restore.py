"""`haulback repository restore` restores a machine with only the store and the key."""

from __future__ import annotations

import base64
import json
import os
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from haulback.cli import repository as commands
from haulback.cli.repository_location import StoreOptions
from haulback.cli.repository_restore import NewMachineOptions, ls, restore_command
from haulback.contract.restores import Allocation
from haulback.destinations.folder import Folder
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.durable_files import DurableFiles
from haulback.errors import Damaged, Malformed, NotFound, OutOfSpace
from haulback.hypervisor_types import LIBVIRT
from haulback.libvirt_xml import XML as MEMBER
from haulback.repository.backup import back_up_disk
from haulback.repository.keys import Secret
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.units import MIB
from tests.unit.repository.scene import MemoryDisk, noise

TIME = 1_790_000_000_000
XML = "<domain type='kvm'><name>web</name><os firmware='efi'/></domain>"
VARIABLES = b"variables of the firmware" * 100


class Shop:
    """A repository with backups of machines with two disks each."""

    def __init__(self, root: Path, pool: ThreadPoolExecutor, xml: str = XML) -> None:
        self.xml = xml
        self.root, self.pool, self.folder, self.key = root, pool, root / "d", root / "key"
        commands.init(self.folder, key_file=self.key)
        self.repository = Repository.open(Folder(self.folder), Secret.keyfile(self.key))
        self.disks = {"vda": noise(MIB, 1) + bytes(MIB), "data disk": noise(65536, 2)}

    def backed_up(self, entity: str, name: str = "web", *, at: int = TIME) -> Manifest:
        folder = self.root / f"s{at}{entity}"
        folder.mkdir()
        writer = self.repository.writer(folder, self.pool)
        disks = [
            ManifestDisk(
                disk,
                back_up_disk(MemoryDisk(data), writer, self.repository.keys, Resources(self.pool)),
            )
            for disk, data in self.disks.items()
        ]
        definition = {"uuid": entity, "name": name, MEMBER: self.xml}
        if "nvram" in self.xml or "efi" in self.xml:
            definition["nvram"] = base64.b64encode(zlib.compress(VARIABLES)).decode()
        manifest = Manifest(
            backup=str(uuid.uuid4()),
            entity=entity,
            entity_name=name,
            type="FULL",
            snapshot_time=at,
            disks=tuple(disks),
            definition=definition,
        )
        draft = self.repository.draft(folder, writer.finish(), manifest, DurableFiles())
        return self.repository.publish(folder, draft)

    def restore(self, *words: str, **wanted: object) -> None:
        target = NewMachineOptions(**wanted)  # type: ignore[arg-type]
        restore_command(*words, key_file=self.key, target=target)


@pytest.fixture
def shop(tmp_path: Path, pool: ThreadPoolExecutor) -> Shop:
    return Shop(tmp_path, pool)


def entity() -> str:
    return str(uuid.uuid4())


def test_a_machine_comes_back_with_definition_disks_formats_and_firmware(
    shop: Shop, capsys: pytest.CaptureFixture[str]
):
    made = shop.backed_up(entity())
    capsys.readouterr()
    shop.restore(str(shop.folder), made.backup, to=shop.root / "out")
    [folder] = [path for path in (shop.root / "out").iterdir() if path.is_dir()]
    assert folder.name == "web"
    about = json.loads((folder / "machine.json").read_text())
    assert about["uuid"] == made.entity
    assert about[MEMBER] == XML
    for disk in about["disks"]:
        assert (folder / disk["file"]).read_bytes() == shop.disks[disk["name"]]
    assert (folder / "domain.xml").read_text() == XML
    assert (folder / "nvram.fd").read_bytes() == VARIABLES
    [machine] = ImageFolder(shop.root / "out").inventory().machines
    assert [disk.name for disk in machine.disks] == list(shop.disks)
    assert f"web\t{folder}" in capsys.readouterr().out


def test_the_newest_backup_of_a_machine_is_found_by_name(shop: Shop):
    guid = entity()
    shop.backed_up(guid, at=TIME)
    shop.disks["vda"] = noise(2 * MIB, 9)
    shop.backed_up(guid, at=TIME + 1000)
    shop.restore(str(shop.folder), "web", to=shop.root / "out")
    assert (shop.root / "out" / "web" / "vda.raw").read_bytes() == noise(2 * MIB, 9)
    # A second machine besides the first.
    shop.restore(str(shop.folder), "web", to=shop.root / "out")
    assert len(ImageFolder(shop.root / "out").inventory().machines) == 2
    shop.backed_up(entity())
    with pytest.raises(Malformed, match="several machines are named 'web'"):
        shop.restore(str(shop.folder), "web", to=shop.root / "out")


def test_a_store_is_named_by_type_and_settings_too(shop: Shop):
    made = shop.backed_up(entity())
    store = StoreOptions(kind="FILESYSTEM", setting=[f"path={shop.folder}"])
    target = NewMachineOptions(to=shop.root / "out", without=["data disk"])
    restore_command(made.backup, key_file=shop.key, store=store, target=target)
    [machine] = ImageFolder(shop.root / "out").inventory().machines
    assert [disk.name for disk in machine.disks] == ["vda"]
    with pytest.raises(Malformed, match="bucket"):
        StoreOptions(kind="FILESYSTEM", setting=["bucket=b"]).opened()


@pytest.mark.parametrize(
    ("words", "wanted", "error", "match"),
    [
        (("web",), {"to": "out"}, Malformed, "name FOLDER and BACKUP"),
        (("d", "web"), {}, Malformed, "name the target"),
        (("d", "web"), {"to": "out", "libvirt": "qemu:///system"}, Malformed, "name the target"),
        (("d", "web"), {"to": "out", "power_on": True}, Malformed, "--power-on"),
        (
            ("d", "web"),
            {"to": "out", "without": ["vdz"]},
            NotFound,
            "no disk 'vdz'; its disks are vda, data disk",
        ),
        (("d", "mail"), {"to": "out"}, NotFound, "no backup 'mail', and no machine of that name"),
        (("d", "x" * 3000), {"to": "out"}, NotFound, r"'x{60}'… \(3000 characters\), and no"),
        (("d", ""), {"to": "out"}, Malformed, "'' names no backup"),
        (("d", " "), {"to": "out"}, Malformed, "' ' names no backup"),
        (("d", "web"), {"to": "out", "format": "vmdk"}, Exception, "vmdk"),
        (("d", "web"), {"to": "out", "name": " "}, Malformed, "--name: give 1 to 200 printable"),
    ],
)
def test_a_wrong_restore_is_refused_and_leaves_nothing(
    shop: Shop, words: tuple[str, ...], wanted: dict[str, object], error: type, match: str
):
    shop.backed_up(entity())
    if "to" in wanted:
        wanted["to"] = shop.root / str(wanted["to"])
    places = [str(shop.folder) if word == "d" else word for word in words]
    with pytest.raises(error, match=match):
        shop.restore(*places, **wanted)
    assert not list((shop.root / "out").glob("*"))


def test_the_space_of_another_host_is_not_that_of_this_machine():
    assert NewMachineOptions(libvirt="qemu+ssh://root@kvm7/system").images is None
    assert NewMachineOptions(libvirt="qemu:///system").images == Path(LIBVIRT.path)


def leave_free(monkeypatch: pytest.MonkeyPatch, blocks: int, count: int = 1 << 20) -> None:
    """Let every file system report this many free blocks of 4 KiB."""
    space = os.statvfs_result((4096, 4096, count, blocks, blocks, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda place: space)


def test_preallocated_disks_that_do_not_fit_are_refused_before_a_byte_is_read(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    made = shop.backed_up(entity())
    leave_free(monkeypatch, 16)
    for pack in (shop.folder / "packs").rglob("*"):
        if pack.is_file():
            pack.unlink()  # a read would raise another error
    with pytest.raises(OutOfSpace, match=r"64 KiB free, .* need 2\.06 MiB: free some space"):
        shop.restore(
            str(shop.folder), made.backup, to=shop.root / "out", allocation=Allocation.PREALLOCATED
        )
    assert not list((shop.root / "out").iterdir())


def test_thin_disks_that_may_not_fit_are_warned_about_and_restored(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    made = shop.backed_up(entity())
    for number, (blocks, count, is_warned) in enumerate(
        [(300, 1 << 20, True), (1 << 19, 1 << 20, False), (0, 0, False)]
    ):
        leave_free(monkeypatch, blocks, count)
        out = shop.root / f"out{number}"
        shop.restore(str(shop.folder), made.backup, to=out)
        assert (out / "web" / "vda.raw").read_bytes() == shop.disks["vda"]
        assert ("ends with an error if their data" in capsys.readouterr().err) == is_warned


def test_leftovers_of_a_dead_restore_go_and_those_of_others_stay(shop: Shop):
    made = shop.backed_up(entity())
    out = shop.root / "out"
    dead, other = out / ".haulback-by-hand-4194399-0123", out / ".haulback-5f1d3c1e-1"
    for folder in (dead, other):
        folder.mkdir(parents=True)
    shop.restore(str(shop.folder), made.backup, to=out)
    assert not dead.exists()
    assert other.exists()


def test_a_damaged_manifest_hides_no_other(shop: Shop, capsys: pytest.CaptureFixture[str]):
    made, lost = shop.backed_up(entity()), shop.backed_up(entity(), "mail")
    (shop.folder / "manifests" / lost.backup).chmod(0o600)
    (shop.folder / "manifests" / lost.backup).write_bytes(b"rot" * 100)
    capsys.readouterr()
    with pytest.raises(Damaged, match=lost.backup):
        ls(shop.folder, key_file=shop.key)
    shown = capsys.readouterr().out
    assert made.backup in shown
    assert datetime.fromtimestamp(TIME / 1000).strftime("%Y-%m-%d %H:%M:%S") in shown
