"""A mounted backup: its files are found, listed and downloaded without a copy of the disk."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from haulback.client.client import Client
from haulback.contract.mount import IscsiOrder
from haulback.errors import Conflict, HaulbackError, Incomplete, NotFound, Unavailable
from haulback.mounts.iscsi_target import serve
from haulback.mounts.supervisor import MountSupervisor
from tests.images import raw_machine
from tests.programs import PASSWORD, Site
from tests.unit.test_credentials import children, shown

needs_fuse = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("fusermount3"), reason="needs root and fuse3"
)

needs_iscsi = pytest.mark.skipif(
    not shutil.which("tgtd") or not list(Path("/usr/lib").glob("*/qemu/block-iscsi.so")),
    reason="needs tgt and qemu-block-extra",
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, lease=5.0)
    made.open()
    yield made
    made.close()
    keeper = MountSupervisor(made.home / "shares")
    for guid in keeper.all():
        keeper.end(guid)


def files_of(folder: Path) -> Path:
    """The files in the guest's file system."""
    seed = folder / "seed"
    (seed / "etc").mkdir(parents=True)
    (seed / "etc" / "hostname").write_text("web\n")
    (seed / "etc" / "link").symlink_to("hostname")
    (seed / "data").mkdir()
    for number in range(1500):
        (seed / "data" / f"f{number:05}").write_text(str(number))
    (seed / "big").write_bytes(random.Random(1).randbytes(9_000_000))
    (seed / os.fsdecode(b"caf\xe9")).write_text("latin")
    return seed


def a_machine(site: Site, folder: Path, change: Callable[[Path], None] | None = None) -> str:
    """Add a machine whose partitioned disk holds an ext4 file system; return its guid."""
    part, seed = folder / "part", files_of(folder)
    subprocess.run(["truncate", "-s", "48M", str(part)], check=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", seed, part], check=True)
    if change:
        change(part)
    machine = str(uuid.uuid4())
    raw_machine(site.machines, "web", machine)
    [image] = (site.machines / "web").glob("*.raw")
    table = "label: dos\nstart=2048, type=83\n"
    image.write_bytes(bytes(50 << 20))
    subprocess.run(["sfdisk", "-q", image], input=table, text=True, check=True)
    with image.open("r+b") as disk:
        disk.seek(1 << 20)
        disk.write(part.read_bytes())
    return site.sync()["web"]


def mounted(site: Site, backup: str, **more: Any) -> dict[str, Any]:
    body = {"mode": {"name": "AUTO"}, "backup": backup, **more}
    head = site.api.post("/tasks/restore-and-mount", body)
    site.finished(head["guid"])
    site.all_final()
    steps = site.api.get("/tasks", {"workflow-execution": head["guid"]})
    assert {step["state"]["name"] for step in steps} == {"FINISHED"}, (steps, site.log.read_text())
    rows = site.api.get("/mounted-backups", {"backup": backup, "finished-mount": "false"})
    return dict(rows[0])


def share(site: Site) -> MountSupervisor:
    return MountSupervisor(site.home / "shares")


def test_a_backup_is_browsed_and_files_are_fetched(site: Site, tmp_path: Path):
    backup = site.backed_up(a_machine(site, tmp_path))
    known = site.api.get("/file-systems", {"backup": backup["guid"]})
    assert [(item["volume"], item["type"], item["label"]) for item in known] == [
        ("root1", "ext4", "root")
    ]
    mount = mounted(site, backup["guid"])
    assert (mount["state"]["name"], mount["mode"]["name"]) == ("MOUNTED", "AUTO")
    assert (mount["mountedFileSystemCount"], mount["mountedFileCount"]) == (1, 1)
    assert site.api.get(f"/backups/{backup['guid']}")["level"]["name"] == "MOUNTED"
    client = Client(site.api.url, site.api.token)
    [system] = client.mounts.file_systems(mount["guid"])
    rows = {row.name: row for row in client.mounts.listing(system.guid)}
    assert {"etc", "data", "big", "lost+found", "caf\\xe9"} == set(rows)
    assert (rows["etc"].fileType.name, rows["big"].size) == ("DIRECTORY", 9_000_000)
    assert "OWNER_READ" in rows["big"].permissions
    assert len(list(client.mounts.listing(system.guid, "/data"))) == 1500
    [link, _] = sorted(client.mounts.listing(system.guid, "/etc"), key=lambda r: r.fileType.name)[
        ::-1
    ]
    assert (link.name, link.fileType.name, link.target) == ("link", "SYMLINK", "hostname")
    big = b"".join(client.mounts.download(system.guid, ["/big"]))
    assert big == (tmp_path / "seed" / "big").read_bytes()
    assert b"".join(client.mounts.download(system.guid, ["/caf\\xe9"])) == b"latin"
    packed = b"".join(client.mounts.download(system.guid, ["/etc", "/data/f00001"]))
    with tarfile.open(fileobj=BytesIO(packed)) as tar:
        assert "etc/hostname" in {name.removeprefix("./") for name in tar.getnames()}
    for wrong in ("/nowhere", "/etc/hostname/deeper"):
        with pytest.raises(NotFound):
            list(client.mounts.listing(system.guid, wrong))
    with pytest.raises(NotFound):
        b"".join(client.mounts.download(system.guid, ["/nowhere"]))
    client.close()


def encrypted(part: Path) -> None:
    """Mark a file of a file system as encrypted in its inode."""
    told = subprocess.run(
        ["debugfs", "-w", "-R", "set_inode_field /data/f00007 flags 0x80800", part],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "not found" not in told.stderr, told.stderr


def test_no_process_of_a_share_bears_a_secret(site: Site, tmp_path: Path):
    mount = mounted(site, site.backed_up(a_machine(site, tmp_path))["guid"])
    with Client(site.api.url, site.api.token) as client:
        [system] = client.mounts.file_systems(mount["guid"])
        assert client.mounts.listing(system.guid, "/etc")  # its reader process runs from now on
    assert site.node.process
    below = [
        site.node.process.pid,
        int((share(site).run_folder(mount["guid"]) / "pid").read_text()),
    ]
    started = [pid for first in below for pid in children(first)]
    texts = [shown(pid) for pid in [*started, str(below[1])]]
    assert any("haulback.mounts.process" in text for text in texts)
    assert any("haulback.filesystems" in text for text in texts)
    secret = json.loads((site.home / "identity.json").read_bytes())["secret"]
    for text in texts:
        assert PASSWORD not in text
        assert secret not in text


def haulback(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would."""
    sent = {**os.environ, "HAULBACK_SERVER": site.api.url, "HAULBACK_TOKEN": str(site.api.token)}
    command = [str(Path(sys.executable).parent / "haulback"), *words]
    return subprocess.run(command, capture_output=True, text=True, env=sent, check=False)


def damaged(site: Site) -> None:
    """Change a byte of the largest pack of the destination."""
    [*_, pack] = sorted(site.repository.glob("packs/**/*"), key=lambda one: one.stat().st_size)
    os.chmod(pack, 0o600)
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        [byte] = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def test_files_that_cannot_be_read_are_named_beside_those_that_are_fetched(
    site: Site, tmp_path: Path
):
    backup = site.backed_up(a_machine(site, tmp_path, encrypted))
    damaged(site)
    mount = mounted(site, backup["guid"])
    client = Client(site.api.url, site.api.token)
    [system] = client.mounts.file_systems(mount["guid"])
    rows = {row.name: row for row in client.mounts.listing(system.guid, "/data")}
    assert [name for name, row in rows.items() if row.readable is False] == ["f00007"]
    assert rows["f00008"].contents.name == "NOT_TRIED"
    details = client.mounts.details(system.guid, "/data/f00008")
    assert (details.readable, details.read) == (True, details.size)
    details = client.mounts.details(system.guid, "/big")
    assert (details.readable, "cannot be read" in str(details.reason)) == (False, True)
    assert "encrypted" in str(rows["f00007"].reason)

    done = haulback(site, "mount", "get", system.guid, "/", "--to", str(tmp_path / "all.tar"))
    assert done.returncode == 3, done.stderr
    said = dict(line.split(": ", 1) for line in done.stderr.splitlines()[:-1])
    assert set(said) == {"/big", "/data/f00007"}
    assert "2 of the requested files could not be read" in done.stderr.splitlines()[-1]
    seed = tmp_path / "seed"
    with tarfile.open(tmp_path / "all.tar") as tar:
        files = {item.name.removeprefix("./"): item for item in tar if item.isfile()}
        *names, last = files
        assert last == "HAULBACK-UNREADABLE-FILES.txt"
        assert len([name for name in names if name.startswith("data/")]) == 1499
        whole = (seed / "big").read_bytes()
        [at] = re.findall(r"damaged from byte (\d+) of 9000000", said["/big"])
        assert tar.extractfile(files["big"]).read() == whole[: int(at)].ljust(len(whole), b"\0")
        for name in ("etc/hostname", "data/f00008"):
            assert tar.extractfile(files[name]).read() == (seed / name).read_bytes()
        lines = tar.extractfile(files[last]).read().decode().splitlines()
        assert dict(line.split("\t") for line in lines) == said

    parts = []
    with pytest.raises(Incomplete) as told:
        parts.extend(client.mounts.download(system.guid, ["/data", "/etc"]))
    assert [detail["path"] for detail in told.value.details["files"]] == ["/data/f00007"]
    with tarfile.open(fileobj=BytesIO(b"".join(parts))) as tar:
        assert "etc/hostname" in tar.getnames()
    for path, reason in (("/big", "cannot be read"), ("/data/f00007", "encrypt")):
        with pytest.raises(HaulbackError, match=reason):
            b"".join(client.mounts.download(system.guid, [path]))
        done = haulback(site, "mount", "get", system.guid, path, "--to", str(tmp_path / "one"))
        assert done.returncode
        assert reason in done.stderr
        assert not (tmp_path / "one").exists()
    client.close()


def test_a_download_whose_share_dies_is_no_archive(site: Site, tmp_path: Path):
    mount = mounted(site, site.backed_up(a_machine(site, tmp_path))["guid"])
    client = Client(site.api.url, site.api.token)
    [system] = client.mounts.file_systems(mount["guid"])
    parts = client.mounts.download(system.guid, ["/big", "/data", "/etc"])
    next(parts)
    os.kill(int((share(site).run_folder(mount["guid"]) / "pid").read_text()), signal.SIGKILL)
    with pytest.raises(Unavailable):
        list(parts)
    client.close()


def test_what_was_unmounted_can_be_mounted_again_and_nothing_is_left(site: Site, tmp_path: Path):
    backup = site.backed_up(a_machine(site, tmp_path))
    mount = mounted(site, backup["guid"])
    [system] = site.api.get("/mounted-file-systems/detailed", {"mounted-backup": mount["guid"]})
    body = {"mountedBackup": {"guid": mount["guid"], "name": ""}}
    site.finished(site.api.post("/tasks/unmount", body)["guid"])
    assert not share(site).lives(mount["guid"])
    assert not share(site).run_folder(mount["guid"]).exists()
    with pytest.raises(Conflict):
        site.api.post(f"/mounted-file-systems/{system['guid']}/listing", {"path": "/"})
    with pytest.raises(Conflict):
        site.api.post("/tasks/unmount", body)
    site.finished(site.api.post("/tasks/mount", body)["guid"])
    rows = site.api.post(f"/mounted-file-systems/{system['guid']}/listing", {"path": "/etc"})
    assert [row["name"] for row in rows] == ["hostname", "link"]


def test_a_mounted_backup_is_not_removed_and_outlives_its_node(site: Site, tmp_path: Path):
    machine = a_machine(site, tmp_path)
    backup = site.backed_up(machine)
    mount = mounted(site, backup["guid"])
    [system] = site.api.get("/mounted-file-systems/detailed", {"mounted-backup": mount["guid"]})
    site.node.end()
    assert share(site).lives(mount["guid"])
    os.kill(int((share(site).run_folder(mount["guid"]) / "pid").read_text()), signal.SIGKILL)
    site.wait_for(lambda: not share(site).lives(mount["guid"]))
    site.node.start()
    site.wait_for(lambda: share(site).lives(mount["guid"]))
    rows = site.api.post(f"/mounted-file-systems/{system['guid']}/listing", {"path": "/etc"})
    assert [row["name"] for row in rows] == ["hostname", "link"]
    with pytest.raises(Conflict, match="is mounted"):
        site.api.post("/tasks/delete", {"value": machine})


def test_what_is_mounted_for_a_time_is_unmounted_after_it(site: Site, tmp_path: Path):
    backup = site.backed_up(a_machine(site, tmp_path))
    body = {"mode": {"name": "AUTO"}, "backup": backup["guid"], "unmountTime": 1}
    site.finished(site.api.post("/tasks/restore-and-mount", body)["guid"])
    site.wait_for(
        lambda: [m["state"]["name"] for m in site.api.get("/mounted-backups")] == ["UNMOUNTED"]
    )
    assert share(site).all() == []


@needs_fuse
def test_its_files_are_seen_on_the_node_and_the_folder_goes_with_it(site: Site, tmp_path: Path):
    backup = site.backed_up(a_machine(site, tmp_path))
    place = site.roots / "seen" / "web"
    mount = mounted(site, backup["guid"], mountedFileSystems=[{"mountPath": str(place)}])
    [system] = site.api.get("/mounted-file-systems/detailed", {"mounted-backup": mount["guid"]})
    assert system["mountPath"] == str(place / "root1")
    seen = Path(system["mountPath"])
    assert (seen / "big").read_bytes() == (tmp_path / "seed" / "big").read_bytes()
    assert (seen / "etc" / "link").read_text() == "web\n"
    assert len(list((seen / "data").iterdir())) == 1500
    assert (seen / os.fsdecode(b"caf\xe9")).read_text() == "latin"
    with pytest.raises(OSError, match="ead-only"):
        (seen / "new").write_text("x")
    os.kill(int((share(site).run_folder(mount["guid"]) / "pid").read_text()), signal.SIGKILL)
    site.wait_for(lambda: not share(site).lives(mount["guid"]))
    site.wait_for(lambda: share(site).lives(mount["guid"]))
    site.wait_for((seen / "etc" / "hostname").exists)
    body = {"mountedBackup": {"guid": mount["guid"]}}
    site.finished(site.api.post("/tasks/unmount", body)["guid"])
    assert not place.exists()


@needs_fuse
def test_chosen_file_systems_are_seen_where_they_are_wanted_and_nowhere_else(
    site: Site, tmp_path: Path
):
    backup = site.backed_up(a_machine(site, tmp_path))
    [known] = site.api.get("/file-systems", {"backup": backup["guid"]})
    place = site.roots / "root"
    wanted = [{"fileSystem": {"guid": known["guid"]}, "mountPath": str(place), "selected": True}]
    mounted(site, backup["guid"], mode={"name": "MANUAL"}, mountedFileSystems=wanted)
    assert (place / "etc" / "hostname").read_text() == "web\n"
    outside = [{"fileSystem": {"guid": known["guid"]}, "mountPath": "/etc/haulback-no"}]
    body = {"mode": {"name": "MANUAL"}, "backup": backup["guid"], "mountedFileSystems": outside}
    head = site.api.post("/tasks/restore-and-mount", body)
    site.all_final()
    steps = site.api.get("/tasks", {"workflow-execution": head["guid"]})
    [failed] = [step for step in steps if step["state"]["name"] == "FAILED"]
    assert "is not below" in failed["statusInfo"]
    assert not Path("/etc/haulback-no").exists()


@needs_fuse
@needs_fuse
def test_nothing_is_shown_inside_of_what_is_shown(site: Site, tmp_path: Path):
    machine = a_machine(site, tmp_path)
    backup = site.backed_up(machine)["guid"]
    shown = site.roots / "shown"
    mounted(site, backup, mountedFileSystems=[{"mountPath": str(shown)}])
    body = {"mode": "AUTO", "backup": backup}
    body["mountedFileSystems"] = [{"mountPath": str(shown / "more")}]
    head = site.api.post("/tasks/restore-and-mount", body)
    site.all_final()
    steps = site.api.get("/tasks/detailed", {"workflow-execution": head["guid"]})
    [failed] = [step for step in steps if step["state"]["name"] == "FAILED"]
    assert (
        f"{shown}, because the node does not run as root or a backup is mounted there"
        in failed["statusInfo"]
    )


@needs_fuse
def test_chosen_disks_are_seen_as_files(site: Site, tmp_path: Path):
    machine = a_machine(site, tmp_path)
    backup = site.backed_up(machine)["guid"]
    [image] = (site.machines / "web").glob("*.raw")
    [disk] = site.api.get("/backup-files", {"backup": backup})
    mount = mounted(site, backup, mode="MANUAL", mountedDisks=[{"backupFile": disk["guid"]}])
    [shown] = site.api.get("/mounted-files", {"mounted-backup": mount["guid"]})
    file = Path(shown["path"])
    assert file.parent.parent.is_relative_to("/mnt/haulback/web")
    assert sha256(file.read_bytes()).digest() == sha256(image.read_bytes()).digest()
    with pytest.raises(OSError, match="Read-only"):
        file.open("r+b")
    site.finished(site.api.post("/tasks/unmount", {"mountedBackup": mount["guid"]})["guid"])
    assert not file.parent.exists()


def kill(program: str, room: str) -> None:
    """Kill the process of a mount that runs a program."""
    for one in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (one / "cmdline").read_text().split("\0")
            mine = room in (one / "environ").read_text() + "\0".join(command)
            if program in command[:3] and mine:
                os.kill(int(one.name), signal.SIGKILL)
                return
    raise AssertionError(f"no {program} runs for {room}")


def initiator(told: dict[str, Any], name: str, **wrong: str) -> subprocess.CompletedProcess[str]:
    """The first disk as an initiator of that name reads it, as a raw file."""
    told = {**told, **wrong}
    options = {
        "driver": "iscsi",
        "transport": "tcp",
        "portal": told["portal"].replace(os.uname().nodename, "127.0.0.1"),
        "target": told["target"],
        "lun": "1",
        "user": told["user"],
        "password-secret": "chap",
        "initiator-name": name,
    }
    image = ",".join(f"{key}={value}" for key, value in options.items())
    secret = f"secret,id=chap,data={told['secret']}"
    command = ["qemu-img", "convert", "--object", secret, "--image-opts", image, "-O", "raw"]
    out = str(told["out"])
    return subprocess.run([*command, out], capture_output=True, text=True, check=False, timeout=60)


@needs_fuse
@needs_iscsi
def test_disks_are_read_by_initiators_that_are_named_and_know_the_secret(
    site: Site, tmp_path: Path
):
    machine = a_machine(site, tmp_path)
    backup = site.backed_up(machine)["guid"]
    [image] = (site.machines / "web").glob("*.raw")
    name = "iqn.2020-01.org.example:host"
    mount = mounted(site, backup, mode={"name": "ISCSI"}, allowedClients=[name])
    told = site.api.get(f"/mounted-backups/{mount['guid']}/iscsi")
    assert [item["size"] for item in told["disks"]] == [image.stat().st_size]
    told["out"] = tmp_path / "out"
    read = initiator(told, name)
    assert read.returncode == 0, read.stderr
    assert told["out"].read_bytes() == image.read_bytes()
    assert initiator(told, "iqn.2020-01.org.example:other").returncode != 0
    assert "uthentication" in initiator(told, name, secret="A" * 16).stderr
    room = share(site).run_folder(mount["guid"])
    for part in ("haulback.mounts.fuse_disks", "tgtd", "haulback.mounts.process"):
        kill(part, str(room))
        told["out"].unlink()
        # the same address and content as before
        site.wait_for(lambda: initiator(told, name).returncode == 0)
        assert told["out"].read_bytes() == image.read_bytes()
    site.finished(site.api.post("/tasks/unmount", {"mountedBackup": mount["guid"]})["guid"])
    assert not room.exists()
    assert initiator(told, name).returncode != 0
    again = site.api.post("/tasks/mount", {"mountedBackup": mount["guid"]})
    site.finished(again["guid"])
    told |= site.api.get(f"/mounted-backups/{mount['guid']}/iscsi")
    assert initiator(told, name).returncode == 0


@needs_fuse
@needs_iscsi
def test_several_are_shared_by_iscsi_at_ports_of_their_own(site: Site, tmp_path: Path):
    machine = a_machine(site, tmp_path)
    backup = site.backed_up(machine)["guid"]
    name = "iqn.2020-01.org.example:host"
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        order = IscsiOrder(disks=["x"], clients=[name], port=port, portal="0.0.0.0:3260")
        begun = serve(tmp_path, tmp_path, order, backup, b"key")
        with pytest.raises(Conflict, match=f"no free port at 0.0.0.0 among {port}"):
            begun.__enter__()
    mounts = [mounted(site, backup, mode="ISCSI", allowedClients=[name])["guid"] for _ in range(2)]
    told = [site.api.get(f"/mounted-backups/{guid}/iscsi") for guid in mounts]
    assert len({item["portal"] for item in told}) == len({item["secret"] for item in told}) == 2
    for item in told:
        assert initiator({**item, "out": tmp_path / "out"}, name).returncode == 0


def test_a_share_that_cannot_begin_leaves_neither_folder_nor_process(site: Site, tmp_path: Path):
    backup = site.backed_up(a_machine(site, tmp_path))
    [known] = site.api.get("/file-systems", {"backup": backup["guid"]})
    (site.roots / "full").mkdir()
    (site.roots / "full" / "file").write_text("kept")
    places = (site.roots / "a" / "b", site.roots / "full" / "file" / "deeper")
    wanted = [{"fileSystem": {"guid": known["guid"]}, "mountPath": str(place)} for place in places]
    body = {"mode": {"name": "MANUAL"}, "backup": backup["guid"], "mountedFileSystems": wanted}
    head = site.api.post("/tasks/restore-and-mount", body)
    site.all_final()
    steps = site.api.get("/tasks", {"workflow-execution": head["guid"]})
    assert "FAILED" in {step["state"]["name"] for step in steps}
    assert [path.name for path in site.roots.iterdir()] == ["full"]
    assert share(site).all() == []
    [mount] = site.api.get("/mounted-backups")
    assert mount["state"]["name"] == "FAILED"


def test_a_run_folder_of_another_user_is_neither_trusted_nor_used(tmp_path: Path):
    keeper = MountSupervisor(tmp_path / "shares", run_folders=tmp_path)
    guid = str(uuid.uuid4())
    room = keeper.run_folder(guid)
    room.mkdir()
    if os.geteuid() == 0:
        os.chown(room, 65534, 65534)
        with open(room / "lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (room / "pid").write_text("1")
            assert not keeper.lives(guid)
            keeper.end(guid)
    assert not keeper.all()
