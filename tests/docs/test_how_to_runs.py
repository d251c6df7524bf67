"""The how-to pages run in order on a real host, with the results that they state."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from haulback.mounts.supervisor import MountSupervisor
from haulback.testing.guest import Guest
from haulback.testing.libvirt_lab import LibvirtLab, lab
from haulback.testing.remote import Reached
from tests.docs.test_how_to import DOCS, blocks
from tests.hosts import needs_guest, needs_libvirt, needs_sshd
from tests.programs import Site

pytestmark = [needs_libvirt, needs_guest]
# Set-up steps, and steps that need a person, are done by the tests.
_ELSEWHERE = ("apt-get ", "/opt/haulback/bin/pip ", "haulback node ")
_BY_SSH = re.compile(r"'qemu\+ssh://[^']*'")
_GUID = re.compile(r"\b(BACKUP|MOUNT|FILESYSTEM|FILE|HYPERVISOR|MACHINE)\b")


@pytest.fixture
def reader(tmp_path: Path, host: LibvirtLab) -> Iterator[Reader]:
    site = Site(tmp_path / "site", lease=5.0)
    site.open()
    yield Reader(site, host, tmp_path)
    site.close()
    host.clear()
    keeper = MountSupervisor(site.home / "shares")
    for guid in keeper.all():
        keeper.end(guid)


class Reader:
    """A reader who types the commands of a page, with the guids from earlier lists."""

    def __init__(self, site: Site, host: LibvirtLab, folder: Path) -> None:
        self.site, self.host, self.folder = site, host, folder
        self.before: dict[str, Callable[[], Any]] = {}  # by the beginning of a line of output
        token = site.api.post("/api-tokens", {"name": "reader", "roles": ["administrator"]})
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.env = {**os.environ, "PATH": path, "TOKEN": token["token"], "URL": site.api.url}
        self.env |= {"HAULBACK_TOKEN": token["token"], "HAULBACK_SERVER": site.api.url}
        self.machines: dict[str, Guest] = {}

    def guest(self, name: str) -> Guest:
        """A running machine with the files that the pages mention."""
        guest = self.machines[name] = Guest(self.host, name)
        guest.make(extra=1)
        guest.start()
        guest.run(
            "cd /mnt; mkdir -p etc/nginx var/www home/ann; echo conf > etc/nginx/nginx.conf;"
            "echo hosts > etc/hosts; echo page > var/www/index.html; echo note > home/ann/note;"
            "sync"
        )
        return guest

    def hypervisor(self, name: str, host: LibvirtLab) -> dict[str, Any]:
        body = {"name": name, "url": host.uri, "path": str(host.storage)}
        made: dict[str, Any] = self.site.api.post("/hypervisors", body)
        self.site.finished(made["task"]["guid"])
        return made

    def follow(self, page: str) -> None:
        """Type all commands of a page, except those that set a machine up."""
        shown = blocks(DOCS / "howto" / f"{page}.md", "sh")
        lines = [line for block in shown for line in block.splitlines() if line.strip()]
        assert lines
        for line in lines:
            if not line.startswith(_ELSEWHERE):
                self.type(line)

    def type(self, line: str) -> None:
        for begins, ready in self.before.items():
            if line.startswith(begins):
                ready()
        wanted = _GUID.sub(lambda item: self.named(item[0], line), line)
        done = subprocess.run(
            ["bash", "-c", wanted],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, (wanted, said, self.site.log.read_text()[-3000:])
        assert not line.startswith("curl ") or '"code"' not in done.stdout, (wanted, said)
        self.site.all_final()

    def named(self, word: str, line: str) -> str:
        """The guid for a placeholder: the guid of the newest object of its type."""
        get = self.site.api.get
        mounts = [row for row in get("/mounted-backups") if row["state"]["name"] == "MOUNTED"]
        machine = next(m["guid"] for m in get("/virtual-machines") if m["name"] == "web")
        if word == "MOUNT":
            return str(mounts[0]["guid"])
        if word == "FILESYSTEM" and "--mode MANUAL" not in line:
            query = {"mounted-backup": mounts[0]["guid"]}
            return str(get("/mounted-file-systems/detailed", query)[0]["guid"])
        where = {"protected-entity": machine, "status": "SUCCESS", "orderBy": "snapshotTime"}
        backup = get("/backups", where)[0]["guid"]
        result: dict[str, Callable[[], Any]] = {
            "BACKUP": lambda: backup,
            "MACHINE": lambda: machine,
            "FILE": lambda: get("/backup-files", {"backup": backup})[0]["guid"],
            "FILESYSTEM": lambda: get("/file-systems", {"backup": backup})[0]["guid"],
            "HYPERVISOR": lambda: get("/hypervisors", {"filter": "kvm2"})[0]["guid"],
        }
        return str(result[word]())


def pool(host: LibvirtLab, name: str) -> None:
    place = host.folder / f"pool-{name}"
    place.mkdir(exist_ok=True)
    target = f"<target><path>{place}</path></target>"
    host.connection.storagePoolDefineXML(
        f"<pool type='dir'><name>{name}</name>{target}</pool>"
    ).create()


def off(guest: Guest) -> None:
    if guest.domain.isActive():
        guest.domain.destroy()


@needs_sshd
def test_a_libvirt_host_is_protected_as_shown(reader: Reader, way: Reached):
    for name in ("fast", "archive"):
        pool(reader.host, name)
    web = reader.guest("web")
    web.run("echo '#!/bin/sh' | tee /bin/db-hold > /bin/db-release; chmod 755 /bin/db-*")
    added = f"haulback hypervisor add kvm1 {reader.host.storage} --libvirt {reader.host.uri}"
    page = blocks(DOCS / "howto" / "protect-a-libvirt-host.md", "sh")
    adding = [line for block in page for line in block.splitlines() if " hypervisor add " in line]
    shown = adding[0]
    assert shown.startswith("haulback hypervisor add kvm1 --libvirt qemu:///system ")
    reader.type(f"{added} --node n1")
    reader.env["LIBVIRT_DEFAULT_URI"] = reader.host.uri
    reader.before = {
        "haulback restore machine latest:web --hypervisor kvm1 --overwrite": lambda: off(web),
        "haulback snapshot revert": lambda: off(web),
        "haulback hypervisor add kvm7": lambda: reader.guest("db"),
    }
    for block in page:
        for line in block.splitlines():
            if not line.startswith(_ELSEWHERE) and line != shown:
                there = line.replace("/srv/images", str(reader.host.storage))
                reader.type(_BY_SSH.sub(f"'{way.url(reader.host.uri)}'", there))
    names = {domain.name() for domain in reader.host.connection.listAllDomains()}
    assert {"web", "web-again"} <= names
    assert list((reader.host.folder / "pool-fast").iterdir())
    for kept in ("fast", "archive"):
        result = reader.host.connection.storagePoolLookupByName(kept)
        shutil.rmtree(reader.host.folder / f"pool-{kept}")
        result.destroy()
        result.undefine()


def test_one_file_is_restored_as_shown(reader: Reader):
    needed = ("fusermount3", "tgtd", "curl")
    if missing := [tool for tool in needed if not shutil.which(tool)]:
        pytest.skip(f"needs {missing}")
    web = reader.guest("web")
    other = reader.guest("other")
    hypervisor = reader.hypervisor("kvm1", reader.host)
    reader.site.hypervisor = hypervisor
    machines = reader.site.sync()
    reader.site.backed_up(machines["web"])
    reader.follow("restore-one-file")
    assert (reader.folder / "nginx.conf").read_text() == "conf\n"
    assert web.run("cat /etc/nginx/nginx.conf /srv/old/etc/nginx/nginx.conf") == "conf\nconf\n"
    assert other.run("cat /mnt/home/home/ann/note") == "note\n"
    assert Path("/mnt/haulback/web/root/etc/hosts").read_text() == "hosts\n"


def test_a_backup_is_proved_as_shown(reader: Reader):
    reader.guest("web")
    reader.site.hypervisor = reader.hypervisor("kvm1", reader.host)
    reader.site.backed_up(reader.site.sync()["web"])
    check = Path("/srv/checks/web.sh")
    check.parent.mkdir(parents=True, exist_ok=True)
    check.write_text("test -e /mnt/etc/hosts\n")
    page = (DOCS / "howto" / "prove-a-backup.md").read_text()
    assert "'login:'" in page
    for block in blocks(DOCS / "howto" / "prove-a-backup.md", "sh"):
        for line in block.splitlines():
            reader.type(line.replace("login:", "GUEST-READY"))  # the output of this test's guest
    assert Path("/tmp/web.png").read_bytes().startswith(b"\x89PNG")
    with suppress(OSError):
        check.unlink()
        check.parent.rmdir()


def test_a_machine_runs_from_its_backup_as_shown(
    reader: Reader, tmp_path_factory: pytest.TempPathFactory
):
    with lab(tmp_path_factory.mktemp("lab") / "h2") as second:
        web = reader.guest("web")
        reader.site.hypervisor = reader.hypervisor("kvm", reader.host)
        reader.hypervisor("kvm2", second)
        reader.site.backed_up(reader.site.sync()["web"])
        web.dies()
        reader.env["LIBVIRT_DEFAULT_URI"] = reader.host.uri

        def again() -> None:
            """Mount another backup, which is then ended without being kept."""
            Guest(reader.host, "web", web.uuid).domain.undefineFlags(1 | 2 | 4 | 16)

        page = blocks(DOCS / "howto" / "instant-restore.md", "sh")
        lines = [line for block in page for line in block.splitlines()]
        end = next(i for i, line in enumerate(lines) if line.startswith("virsh "))
        for line in lines[:end]:
            reader.type(line)
        domain = reader.host.connection.lookupByUUIDString(web.uuid)
        domain.destroy()
        again()
        reader.type(lines[1])
        for line in lines[end : end + 2]:
            reader.type(line)
        reader.type(lines[1])
        reader.type("haulback migrate latest --watch")
        reader.type(lines[end + 2])  # to the other host
        result = {domain.name() for domain in second.connection.listAllDomains()}
        assert result == {"web"}
        assert "migrate --machine web" in lines[end + 2]
        second.clear()
