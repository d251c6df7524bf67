"""A machine runs from its backup within seconds, and migrates to its own disks while it runs."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.mounts.supervisor import MountSupervisor
from haulback.testing.guest import PARTS, Guest
from haulback.testing.libvirt_lab import LibvirtLab, lab
from tests.hosts import needs_guest, needs_libvirt
from tests.programs import Site

pytestmark = [needs_libvirt, needs_guest]


@pytest.fixture
def site(tmp_path: Path, host: LibvirtLab) -> Iterator[Site]:
    made = Site(tmp_path, lease=5.0)
    made.open()
    made.hypervisor = hypervisor(made, "kvm", host)
    yield made
    made.close()
    host.clear()
    keeper = MountSupervisor(made.home / "shares")
    for guid in keeper.all():
        keeper.end(guid)


def hypervisor(site: Site, name: str, host: LibvirtLab) -> dict[str, Any]:
    body = {"name": name, "url": host.uri, "path": str(host.storage)}
    made: dict[str, Any] = site.api.post("/hypervisors", body)
    site.finished(made["task"]["guid"])
    return made


def lost(
    site: Site, host: LibvirtLab, kernel: Path | None = None
) -> tuple[Guest, dict[str, Any], str]:
    """A lost guest, its backup, and the checksum of its file."""
    guest = Guest(host, "db")
    guest.make(hello="instant")
    if kernel:
        text = guest.domain.XMLDesc().replace(str(PARTS / "vmlinuz"), str(kernel))
        host.connection.defineXML(text)
    guest.start()
    machine = site.sync()["db"]
    guest.run("dd if=/dev/urandom of=/mnt/a bs=1M count=8 2>/dev/null; sync")
    sums = guest.run("sha256sum /mnt/a")
    backup = site.backed_up(machine)
    guest.dies()
    guest.log.unlink()
    return guest, backup, sums


def begun(site: Site, backup: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The mounted backup from which a machine runs."""
    body = {"mode": {"name": "INSTANT_RESTORE"}, "backup": backup["guid"]}
    body |= {"hypervisor": {"guid": site.hypervisor["guid"]}, **more}
    head = site.api.post("/tasks/instant-restore", body)
    site.finished(head["guid"])
    site.all_final()
    steps = site.api.get("/tasks", {"workflow-execution": head["guid"]})
    assert {step["state"]["name"] for step in steps} == {"FINISHED"}, (steps, site.log.read_text())
    made = {"RESTORE", "MOUNT", "IMPORT", "SCOPED_INVENTORY_SYNC"}
    assert {step["type"]["name"] for step in steps} == made
    return dict(site.api.get(f"/mounted-backups/{head['mountedBackup']['guid']}"))


def test_a_machine_runs_from_its_backup_and_moves_off_it(site: Site, host: LibvirtLab):
    guest, backup, sums = lost(site, host)
    mount = begun(site, backup)
    assert (mount["state"]["name"], mount["machine"]) == ("MOUNTED", guest.uuid)
    assert mount["hypervisor"]["guid"] == site.hypervisor["guid"]
    assert "unmountTime" not in mount
    again = Guest(host, "db", guest.uuid)
    again.wait_ready()
    assert again.run("sha256sum /mnt/a") == sums
    [job] = site.api.get("/restore-jobs")
    assert (job["status"]["name"], job["restoreType"]["name"]) == ("SUCCESS", "INSTANT_RESTORE")
    again.run("echo new > /mnt/written; sync")
    body = {"mountedBackup": {"guid": mount["guid"]}}
    refused = site.final(site.api.post("/tasks/unmount", body)["guid"])
    assert refused["state"]["name"] == "FAILED"
    assert "is running; stop it" in refused["statusInfo"]
    assert "live-migration" in refused["statusInfo"]
    keeper = MountSupervisor(site.home / "shares")
    os.kill(int((keeper.run_folder(mount["guid"]) / "pid").read_text()), signal.SIGKILL)
    read = "echo 3 > /proc/sys/vm/drop_caches; sha256sum /mnt/a"
    assert again.run(read) == sums  # the machine waits until the mount is available again
    assert again.domain.state()[0] == 1
    increments = site.backed_up(site.sync()["db"])  # now an ordinary machine
    assert increments["type"]["name"] == "FULL"
    head = site.api.post("/tasks/live-migration", body)
    site.finished(head["guid"])
    site.all_final()
    steps = site.api.get("/tasks", {"workflow-execution": head["guid"]})
    assert {step["type"]["name"] for step in steps} == {"LIVE_MIGRATION", "UNMOUNT"}
    assert {step["state"]["name"] for step in steps} == {"FINISHED"}
    assert not keeper.run_folder(mount["guid"]).exists()
    again.run("echo 3 > /proc/sys/vm/drop_caches")
    assert again.run("sha256sum /mnt/a; cat /mnt/written") == f"{sums}new\n"
    again.domain.destroy()
    again.log.unlink()
    again.start()
    assert again.run("sha256sum /mnt/a; cat /mnt/written") == f"{sums}new\n"


def test_a_machine_that_is_off_goes_with_the_share_it_lived_off(site: Site, host: LibvirtLab):
    guest, backup, _ = lost(site, host)
    mount = begun(site, backup, restoredPeName="look", unmountTime=3_600_000)
    assert mount["unmountTime"] > mount["mountTime"]
    [domain] = host.connection.listAllDomains()
    assert (domain.name(), bool(domain.isActive())) == ("look", True)
    second = begun(site, backup)
    assert {all_domain.name() for all_domain in host.connection.listAllDomains()} == {"look", "db"}
    domain.destroy()
    body = {"mountedBackup": {"guid": mount["guid"]}}
    # A machine of another owner on the same images was not made by an instant restore.
    text, ours = domain.XMLDesc(2), domain.UUIDString()
    foreign, count = re.subn(r"<metadata.*</metadata>", "", text, flags=re.DOTALL)
    assert count == 1, text
    foreign = foreign.replace(ours, guest.uuid[:-4] + "beef").replace(">look<", ">foreign<")
    host.connection.defineXML(foreign)
    refused = site.final(site.api.post("/tasks/unmount", body)["guid"])
    assert (
        refused["state"]["name"],
        "Haulback did not create the machine" in refused["statusInfo"],
    ) == (
        "FAILED",
        True,
    )
    host.connection.lookupByName("foreign").undefine()
    site.finished(site.api.post("/tasks/unmount", body)["guid"])
    [other] = host.connection.listAllDomains()
    assert (other.name(), bool(other.isActive())) == ("db", True)
    [room] = host.storage.iterdir()
    assert room.name.startswith("db-")
    assert MountSupervisor(site.home / "shares").lives(second["guid"])
    assert guest.uuid


def test_what_cannot_run_leaves_no_machine_and_no_share(site: Site, host: LibvirtLab):
    kernel = host.folder / "kernel"
    kernel.symlink_to(PARTS / "vmlinuz")
    _, backup, _ = lost(site, host, kernel)
    kernel.unlink()
    body = {"mode": "INSTANT_RESTORE", "backup": backup["guid"]}
    body |= {"hypervisor": {"guid": site.hypervisor["guid"]}}
    head = site.api.post("/tasks/instant-restore", body)
    mount = head["mountedBackup"]["guid"]
    site.wait_for(lambda: _state(site, mount) == "UNMOUNTED")
    [job] = site.api.get("/restore-jobs")
    assert job["status"]["name"] == "FAILED"
    assert host.connection.listAllDomains() == []
    assert not list(host.storage.iterdir())
    assert not MountSupervisor(site.home / "shares").run_folder(mount).exists()


def test_a_running_machine_moves_to_another_host_with_its_disks_and_its_backups(
    site: Site, host: LibvirtLab, tmp_path_factory: pytest.TempPathFactory
):
    guest = Guest(host, "db")
    guest.make(hello="moved", extra=1)
    guest.start()
    machine = site.sync()["db"]
    guest.run("echo here > /mnt/where; sync")
    backup = site.backed_up(machine)
    with lab(tmp_path_factory.mktemp("lab") / "h2") as other:
        there = hypervisor(site, "kvm2", other)
        body = {"protectedEntity": {"guid": machine}, "hypervisor": {"guid": there["guid"]}}
        site.finished(site.api.post("/tasks/live-migration", body)["guid"])
        moved = Guest(other, "db", guest.uuid)
        assert moved.run("cat /mnt/where").strip() == "here"  # the machine never stopped
        assert host.connection.listAllDomains() == []
        assert not list(host.storage.glob("*.qcow2"))
        shown = site.api.get(f"/virtual-machines/{machine}")
        assert shown["hypervisor"]["guid"] == there["guid"]
        moved.run("echo there >> /mnt/where; sync")
        again = site.backed_up(machine, "INCREMENTAL")
        assert (again["type"]["name"], again["protectedEntity"]["guid"]) == ("FULL", machine)
        assert backup["protectedEntity"]["guid"] == machine
        body["hypervisor"] = {"guid": site.hypervisor["guid"]}
        site.finished(site.api.post("/tasks/live-migration", body)["guid"])
        assert Guest(host, "db", guest.uuid).run("cat /mnt/where") == "here\nthere\n"
        assert other.connection.listAllDomains() == []
        assert LibvirtHost(other.uri, other.storage).sweep(set()) == []


def _state(site: Site, mount: str) -> str:
    return str(site.api.get(f"/mounted-backups/{mount}")["state"]["name"])
