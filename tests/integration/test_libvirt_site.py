"""Running machines are backed up while they write, destroyed, and booted again from the backup."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.drivers.libvirt.connection import Host
from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.drivers.libvirt.freeze_guard import GuestFreeze
from haulback.drivers.libvirt.hooks import Commands, around
from haulback.mounts.supervisor import MountSupervisor
from haulback.testing.guest import Guest
from haulback.testing.libvirt_lab import LibvirtLab, lab
from tests.hosts import libvirt_qemu, needs_guest, needs_libvirt
from tests.images import restored_disk
from tests.integration.test_mounts import damaged
from tests.programs import Site

pytestmark = [needs_libvirt, needs_guest]


@pytest.fixture(autouse=True)
def _cleared(host: LibvirtLab) -> Iterator[None]:
    """Remove the machines and files of each test, so that the next test starts clean."""
    yield
    host.clear()


@pytest.fixture
def site(tmp_path: Path, host: LibvirtLab) -> Iterator[Site]:
    made = Site(tmp_path, lease=5.0)
    made.open()
    body = {"name": "kvm", "url": host.uri, "path": str(host.storage)}
    made.hypervisor = made.api.post("/hypervisors", body)
    made.finished(made.hypervisor["task"]["guid"])
    yield made
    made.close()
    keeper = MountSupervisor(made.home / "shares")
    for guid in keeper.all():
        keeper.end(guid)


def restored(site: Site, backup: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The machine that an IMPORT made from a backup."""
    body = {"backup": backup["guid"], "hypervisor": {"guid": site.hypervisor["guid"]}, **more}
    head = site.api.post("/tasks/restore-and-import", body)
    site.finished(head["guid"])
    site.all_final()
    steps = site.api.get("/tasks", {"workflow-execution": head["guid"]})
    assert {step["state"]["name"] for step in steps} == {"FINISHED"}, (steps, site.log.read_text())
    return site.sync()


def test_a_guest_is_backed_up_while_it_writes_dies_and_boots_again(site: Site, host: LibvirtLab):
    guest = Guest(host, "db")
    guest.make(hello="from the backup")
    guest.start()
    machine = site.sync()["db"]
    guest.run("dd if=/dev/urandom of=/mnt/a bs=1M count=8 2>/dev/null; sync")
    full = site.backed_up(machine)
    assert full["type"]["name"] == "FULL"
    guest.run("dd if=/dev/urandom of=/mnt/b bs=64k count=4 2>/dev/null; sync")
    guest.run(
        "while :; do dd if=/dev/urandom of=/mnt/busy bs=64k count=8; sync; done >/dev/null 2>&1 &"
    )
    sums = guest.run("sha256sum /mnt/a /mnt/b")
    increment = site.backed_up(machine, "INCREMENTAL")
    assert increment["type"]["name"] == "INCREMENTAL"
    assert increment["transferredSize"] < full["transferredSize"] / 2
    guest.dies()
    assert restored(site, increment, powerOnAfterRestore=True)["db"]
    again = Guest(host, "db", guest.uuid)
    assert "MOUNTED from the backup" in again.wait_ready()
    assert again.run("sha256sum /mnt/a /mnt/b") == sums


def test_a_frozen_guest_is_let_go_when_whoever_froze_it_dies(host: LibvirtLab):
    guest = Guest(host, "frozen")
    guest.make()
    guest.start()
    program = (
        "import os, signal\n"
        "from haulback.drivers.libvirt.connection import Host\n"
        "from haulback.drivers.libvirt.freeze_guard import GuestFreeze\n"
        f"domain = Host({host.uri!r}).domain({guest.uuid!r})\n"
        f"with GuestFreeze({host.uri!r}, domain):\n"
        "    print('frozen', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"frozen\n")
    assert guest.run("echo it goes on > /mnt/written && sync && cat /mnt/written")


def test_a_guest_is_let_go_after_its_time_though_nobody_dies(host: LibvirtLab):
    guest = Guest(host, "slow")
    guest.make()
    guest.start()
    domain = Host(host.uri).domain(guest.uuid)
    with GuestFreeze(host.uri, domain, deadline=1) as frozen:
        guest.until(lambda: frozen._guard.poll() is not None)
        guest.run("echo it goes on > /mnt/written && sync")
    assert not frozen.held
    with GuestFreeze(host.uri, domain) as frozen:
        pass
    assert frozen.held


def test_a_backup_is_proved_by_booting_it(site: Site, host: LibvirtLab):
    guest = Guest(host, "db")
    guest.make(hello="proof")
    guest.start()
    machine = site.sync()["db"]
    guest.run("echo precious > /mnt/kept; sync")
    backup = site.backed_up(machine)
    assert (backup["level"]["name"], backup["consistency"]["name"]) == ("STORED", "APPLICATION")
    guest.dies()  # the proof needs the repository only
    script = "grep precious /mnt/kept && ls /sys/class/net | grep -vx lo && exit 3; true"
    head = site.api.post("/tasks/prove", {"backup": backup["guid"], "script": script})
    site.finished(head["guid"])
    answer = site.api.get(f"/backups/{backup['guid']}/proof")
    evidence = json.loads(answer["evidence"])
    assert answer["valid"]
    assert evidence["script"] == {"exitCode": 0, "output": "precious\n"}
    assert "MOUNTED proof" in evidence["console"]
    assert base64.b64decode(evidence["screenshot"]).startswith(b"\x89PNG")
    assert site.api.get(f"/backups/{backup['guid']}")["level"]["name"] == "BOOTED"
    assert host.connection.listAllDomains() == []
    work = LibvirtHost(host.uri, host.storage).work
    assert not list(work.iterdir())
    head = site.api.post("/tasks/prove", {"backup": backup["guid"], "script": "exit 7"})
    failed = site.final(head["guid"])
    assert failed["state"]["name"] == "FAILED"
    assert failed["statusInfo"].endswith("the script ended with 7: it printed nothing")
    log = [line["text"] for line in site.api.get(f"/tasks/{head['guid']}/log")]
    assert any(text.startswith("the sign of life (AGENT) was seen in ") for text in log)
    assert any(text.startswith("the script was run in the guest in ") for text in log)
    assert host.connection.listAllDomains() == []


def commands(site: Site, machine: str, **wanted: str) -> None:
    site.api.put(f"/virtual-machines/{machine}/settings", wanted)


def test_commands_in_the_guest_are_run_around_the_moment_of_a_backup(site: Site, host: LibvirtLab):
    guest = Guest(host, "db")
    guest.make()
    guest.start()
    machine = site.sync()["db"]
    commands(
        site, machine, preCommand="echo held > /mnt/state; sync", postCommand="rm /mnt/state; sync"
    )
    backup = site.backed_up(machine)
    assert backup["warnings"] == []
    assert guest.run("cat /mnt/state 2>&1; true").endswith("No such file or directory\n")
    mount = mounted(site, backup)
    body = {"mountedBackup": mount, "paths": ["/state"], "destinationPath": "/tmp"}
    site.finished(site.api.post("/tasks/upload", body)["guid"])
    assert guest.run("cat /tmp/state") == "held\n"  # present at that moment
    commands(site, machine, preCommand="echo no database; exit 3", postCommand="touch /tmp/undone")
    failed = site.final(site.export(machine)["guid"])
    assert failed["statusInfo"] == "the command before the backup ended with 3: no database"
    assert guest.run("ls /tmp/undone") == "/tmp/undone\n"
    commands(site, machine, preCommand="", postCommand="echo still held; exit 4")
    warned = site.backed_up(machine)
    assert warned["warnings"] == ["the command after the backup ended with 4: still held"]
    guest.domain.destroy()
    assert site.backed_up(machine)["warnings"] == []  # no program runs in the guest in this test


def test_the_command_after_is_run_though_whoever_should_died(host: LibvirtLab):
    guest = Guest(host, "held")
    guest.make()
    guest.start()
    program = (
        "import os, signal\n"
        "from haulback.drivers.libvirt.driver import LibvirtHost\n"
        "from pathlib import Path\n"
        f"machines = LibvirtHost({host.uri!r}, Path({str(host.storage)!r}))\n"
        f"with machines.around({guest.uuid!r}, 'touch /tmp/held', 'rm /tmp/held', print):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    guest.until(lambda: guest.run("ls /tmp/held 2>/dev/null; true") == "")


def test_the_command_after_is_run_though_its_guard_died(host: LibvirtLab):
    guest = Guest(host, "unguarded")
    guest.make()
    guest.start()
    domain, said = Host(host.uri).domain(guest.uuid), list[str]()
    with around(host.uri, domain, Commands("", "rm /tmp/held; echo gone"), said.append):
        guest.run("touch /tmp/held")
        killed = subprocess.run(["pkill", "-9", "-f", f"hooks .*{guest.uuid}"], check=False)
        assert killed.returncode == 0
    assert said == [
        "the guard of the command after the backup died; a second run ended with 0: gone"
    ]


def test_what_is_held_in_a_guest_is_let_go_after_its_time(host: LibvirtLab):
    guest = Guest(host, "late")
    guest.make()
    guest.start()
    domain, said = Host(host.uri).domain(guest.uuid), list[str]()
    with around(host.uri, domain, Commands("touch /tmp/held", "rm /tmp/held"), said.append, 1):
        guest.until(lambda: guest.run("ls /tmp/held 2>/dev/null; true") == "")
    assert said == [
        "the command after the backup ran before the backup was complete, at its time limit"
    ]


def mounted(site: Site, backup: dict[str, Any]) -> str:
    head = site.api.post("/tasks/restore-and-mount", {"mode": "AUTO", "backup": backup["guid"]})
    site.all_final()
    found = site.api.get(f"/mounted-backups/{head['mountedBackup']['guid']}")
    assert found["state"]["name"] == "MOUNTED", site.log.read_text()
    return str(found["guid"])


def test_lost_files_are_put_back_into_a_guest_that_runs(site: Site, host: LibvirtLab):
    guest = Guest(host, "db")
    guest.make()
    guest.start()
    machine = site.sync()["db"]
    guest.run("mkdir -p '/mnt/it is/deep'; dd if=/dev/urandom of='/mnt/it is/deep/a' bs=1M count=3")
    guest.run("cd '/mnt/it is'; ln -s deep/a link; chmod 640 deep/a; chown 7:8 deep/a; sync")
    sums = guest.run("cd '/mnt/it is'; sha256sum deep/a link; stat -c '%a %u %g' deep/a")
    mount = mounted(site, site.backed_up(machine))
    guest.run("rm -r '/mnt/it is'; echo wrong > /mnt/hello; sync")
    body = {"mountedBackup": mount, "paths": ["/it is", "/hello"], "destinationPath": "/mnt"}
    site.finished(site.api.post("/tasks/upload", body)["guid"])
    look = "cd '/mnt/it is'; sha256sum deep/a link; stat -c '%a %u %g' deep/a"
    assert guest.run(look) == sums
    assert guest.run("cat /mnt/hello") == "world\n"
    assert guest.run("ls -a /mnt | grep haulback; true") == ""
    guest.run("echo mine > /mnt/hello; touch -d '2020-01-01 00:00' /mnt/.haulback-old.tar")
    for wrong, said in (
        ({"paths": ["/hello", "/missing"]}, "/missing"),
        ({"destinationPath": "/mnt/hello"}, "the command in the guest failed: mkdir"),
    ):
        failed = site.final(site.api.post("/tasks/upload", {**body, **wrong})["guid"])
        assert (failed["state"]["name"], said in failed["statusInfo"]) == ("FAILED", True), failed
    assert guest.run("cat /mnt/hello") == "mine\n"
    site.finished(site.api.post("/tasks/upload", {**body, "destinationPath": "/mnt/new"})["guid"])
    assert guest.run("cat /mnt/new/hello; ls -a /mnt /mnt/new | grep haulback") == (
        "world\n.haulback-old.tar\n"
    )
    # When one of the files cannot be read, no file of the guest is overwritten.
    site.finished(site.api.post("/tasks/unmount", {"mountedBackup": mount})["guid"])
    damaged(site)
    site.finished(site.api.post("/tasks/mount", {"mountedBackup": mount})["guid"])
    guest.run("echo mine > /mnt/hello")
    failed = site.final(site.api.post("/tasks/upload", body)["guid"])
    assert failed["state"]["name"] == "FAILED"
    assert "/it is/deep/a cannot be read" in failed["statusInfo"]
    assert guest.run("cat /mnt/hello; ls -a /mnt | grep haulback; true") == "mine\n"
    guest.domain.destroy()
    off = site.final(site.api.post("/tasks/upload", body)["guid"])
    assert "is off; start it" in off["statusInfo"]


def test_a_machine_comes_back_on_another_host(
    site: Site, host: LibvirtLab, tmp_path_factory: pytest.TempPathFactory
):
    guest = Guest(host, "db")
    guest.make(hello="moved", extra=1)
    guest.start()
    guest.run("echo raw | dd of=/dev/vdb bs=512 seek=9 conv=notrunc,fsync 2>/dev/null")
    machine = site.sync()["db"]
    backup = site.backed_up(machine)
    with lab(tmp_path_factory.mktemp("lab") / "h2") as other:
        body = {"name": "kvm2", "url": other.uri, "path": str(other.storage)}
        there = site.api.post("/hypervisors", body)
        site.finished(there["task"]["guid"])
        body = {
            "backup": backup["guid"],
            "hypervisor": {"guid": there["guid"]},
            "restoredPeName": "db-again",
            "restoredDiskAllocationFormat": "SPARSE",
            "powerOnAfterRestore": True,
        }
        head = site.api.post("/tasks/restore-and-import", body)
        site.finished(head["guid"])
        site.all_final()
        [again] = other.connection.listAllDomains()
        assert (again.name(), again.isActive()) == ("db-again", True)
        moved = Guest(other, "db", again.UUIDString())
        moved.log = guest.log  # the definition still contains the console's log file
        assert "MOUNTED moved" in moved.wait_ready()
        assert moved.run("dd if=/dev/vdb bs=512 skip=9 count=1 2>/dev/null | head -c 4") == "raw\n"
        assert guest.domain.isActive()


def test_a_cancelled_backup_leaves_nothing(site: Site, host: LibvirtLab):
    guest = Guest(host, "db")
    guest.make("512M")
    guest.start()
    guest.run("dd if=/dev/urandom of=/mnt/a bs=1M count=200 2>/dev/null; sync")
    machine = site.sync()["db"]
    export = site.export(machine)
    domain = Host(host.uri).domain(guest.uuid)
    # Reading 200 MiB takes longer than one poll: progress may be reported after the end.
    site.wait_for(lambda: domain.backup() is not None)
    site.api.put(f"/tasks/{export['guid']}/state", "CANCELLED")
    assert site.final(export["guid"])["state"]["name"] == "CANCELLED"
    site.all_final()
    assert domain.backup() is None
    site.wait_for(lambda: not guest.domain.listAllCheckpoints())
    assert not list(LibvirtHost(host.uri, host.storage).work.iterdir())
    assert not list(site.home.glob("staging/*"))


def test_a_record_that_lies_is_found_out(site: Site, host: LibvirtLab):
    guest = Guest(host, "db")
    guest.make()
    guest.start()
    machine = site.sync()["db"]
    site.backed_up(machine)
    [mark] = [all_checkpoint.getName() for all_checkpoint in guest.domain.listAllCheckpoints()]
    where = {"node": host.node(guest.uuid, "vda"), "name": mark}
    for command in ("block-dirty-bitmap-disable", "block-dirty-bitmap-enable"):
        order = json.dumps({"execute": command, "arguments": where})
        libvirt_qemu.qemuMonitorCommand(guest.domain, order, 0)
        if command.endswith("disable"):  # later writes are not recorded
            guest.run("dd if=/dev/urandom of=/dev/vda bs=1M seek=1 count=60 2>/dev/null; sync")
    guest.domain.suspend()  # the guest is frozen, and no agent answers
    backup = site.backed_up(machine, "INCREMENTAL")
    assert backup["consistency"]["name"] == "CRASH"
    assert any("has changed" in warning for warning in backup["warnings"])
    target = site.roots / "db"
    node = site.api.get("/nodes")[0]["guid"]
    body = {"backup": backup["guid"], "node": node, "restorePath": str(target)}
    site.finished(site.api.post("/tasks/restore", body)["guid"])
    image = host.storage / "db-vda.qcow2"
    compare = ["qemu-img", "compare", "-U", "-f", "qcow2", "-F", "raw"]
    subprocess.run([*compare, image, restored_disk(target)], check=True)


def test_a_guest_goes_back_to_a_snapshot_and_the_next_backup_is_full(site: Site, host: LibvirtLab):
    guest = Guest(host, "db")
    guest.make(hello="snapshots", extra=1)
    guest.start()
    machine = site.sync()["db"]
    guest.run("echo good > /mnt/state; sync; echo raw | dd of=/dev/vdb conv=notrunc,fsync")
    site.backed_up(machine)
    body = {"protectedEntities": [machine]}
    [task] = site.api.post("/tasks/snapshot", body)
    site.finished(task["guid"])
    guest.run("echo bad > /mnt/state; sync")
    increment = site.backed_up(machine, "INCREMENTAL")
    assert increment["type"]["name"] == "INCREMENTAL"  # a snapshot does not disturb the machine
    [taken] = site.api.get("/snapshots", {"protected-entity": machine})
    assert taken["consistency"]["name"] == "APPLICATION"
    assert guest.run("cat /mnt/state").strip() == "bad"
    head = site.api.post("/tasks/revert", {"snapshot": {"guid": taken["guid"]}})
    site.finished(head["guid"])
    again = Guest(host, "db", guest.uuid)
    again.wait_ready()
    assert again.run("cat /mnt/state").strip() == "good"
    backup = site.backed_up(machine, "INCREMENTAL")
    assert backup["type"]["name"] == "FULL"
    [before, same] = site.api.get("/snapshots", {"protected-entity": machine})
    assert same["guid"] == taken["guid"]
    head = site.api.post("/tasks/revert", {"snapshot": {"guid": before["guid"]}})
    site.finished(head["guid"])
    again.wait_ready()
    assert again.run("cat /mnt/state").strip() == "bad"
    site.sync()
    known = site.api.get("/snapshots", {"protected-entity": machine})
    assert len(known) == 3
    [task] = site.api.post("/tasks/remove-old-snapshots", {"snapshots": known})
    site.finished(task["guid"])
    inner = LibvirtHost(host.uri, host.storage)
    assert inner.machine(guest.uuid).snapshots == ()
