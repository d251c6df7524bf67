"""Parts of a machine that no backup contains are listed by machine, backup, restore and proof."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid as uuids
from collections.abc import Iterator
from typing import Any

import pytest

try:
    import libvirt
except ImportError:
    libvirt = None

from haulback.libvirt_xml import parse
from haulback.testing.libvirt_lab import LibvirtLab
from haulback.units import MIB
from tests.hosts import needs_libvirt
from tests.images import qemu_img
from tests.programs import Site

pytestmark = needs_libvirt
LUN = (
    "<disk type='block' device='lun'><driver name='qemu' type='raw'/><source dev='/dev/the-lun'/>"
    "<target dev='sda' bus='scsi'/></disk>"
)
REASON = "a LUN (/dev/the-lun) that is passed through to the guest"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, host: LibvirtLab) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"), lease=5.0)
    made.open()
    body = {"name": "kvm", "url": host.uri, "path": str(host.storage)}
    made.hypervisor = made.api.post("/hypervisors", body)
    made.finished(made.hypervisor["task"]["guid"])
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _cleared(site: Site, host: LibvirtLab) -> Iterator[None]:
    yield
    host.clear()
    for _ in range(2):  # the first scan without any machine must be confirmed
        site.sync()


def define(host: LibvirtLab, *disks: str, more: str = "") -> str:
    """Define a stopped machine with images of 1 MiB; return its uuid."""
    said, uuid = "", str(uuids.uuid4())
    for device in disks:
        image = host.storage / f"{device}.qcow2"
        qemu_img("create", "-q", "-f", "qcow2", image, "1M")
        said += (
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
            f"<source file='{image}'/><target dev='{device}' bus='virtio'/></disk>"
        )
    host.connection.defineXML(
        f"<domain type='qemu'><name>web</name><uuid>{uuid}</uuid><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>"
        f"{said}{more}<memballoon model='none'/></devices></domain>"
    )
    return uuid


def restored(site: Site, backup: dict[str, Any], **more: Any) -> tuple[str, str, str]:
    """The status of a restore job, the log of its last task, and the end of its workflow."""
    body = {"backup": backup["guid"], "hypervisor": {"guid": site.hypervisor["guid"]}, **more}
    head = site.api.post("/tasks/restore-and-import", body)
    site.finished(head["guid"])
    site.all_final()
    job = site.api.get(f"/restore-jobs/{head['restoreJob']['guid']}")
    assert job["status"]["name"] == "SUCCESS", (job, site.log.read_text())
    steps = site.api.get("/tasks", {"workflow-execution": head["guid"]})
    [made] = [step["guid"] for step in steps if step["type"]["name"] == "IMPORT"]
    log = json.dumps(site.api.get(f"/tasks/{made}/log"))
    ended = site.api.get(f"/workflow-executions/{head['guid']}")["state"]["name"]
    return job.get("statusInfo", ""), log, ended


def test_a_lun_is_named_by_the_machine_its_backup_its_copy_and_itself(site: Site, host: LibvirtLab):
    uuid = define(host, "vda", more=LUN)
    machine = site.sync()["web"]
    [seen] = site.api.get(f"/virtual-machines/{machine}")["notBackedUp"]
    assert (seen["name"], seen["reason"]) == ("sda", REASON)
    backup = site.backed_up(machine)
    assert backup["warnings"] == [f"sda is not in the backup: {REASON}"]
    assert backup["warningsPresent"]
    shown = cli(site, "backup", "show", backup["guid"])
    assert json.loads(shown)["warnings"] == backup["warnings"]
    told, log, ended = restored(site, backup, restoredPeName="copy")
    assert told == f"sda is left out: {REASON}"
    assert REASON in log
    assert ended == "FINISHED_WITH_WARNINGS"
    copy = host.connection.lookupByName("copy")
    assert "/dev/the-lun" not in copy.XMLDesc()
    assert site.api.get(f"/virtual-machines/{site.sync()['copy']}").get("notBackedUp") is None
    told, log, _ = restored(site, backup, overwrite=True)
    assert told == f"sda stays as it is: {REASON}"
    assert "/dev/the-lun" in host.connection.lookupByUUIDString(uuid).XMLDesc()


def test_a_disk_that_is_excluded_is_named_too_and_not_lost(site: Site, host: LibvirtLab):
    define(host, "vda", "vdb")
    machine = site.sync()["web"]
    disks = site.api.get("/virtual-machine-disks", {"virtual-machine": machine})
    [excluded] = [disk["guid"] for disk in disks if disk["name"] == "vdb"]
    path = f"/virtual-machine-disks/{excluded}/settings"
    site.api.put(path, {"excludedFromBackup": True})
    backup = site.backed_up(machine)
    assert backup["warnings"] == ["vdb is not in the backup: the machine's settings exclude it"]
    told, _, _ = restored(site, backup, overwrite=True)
    assert told == "vdb stays as it is: the disk was not restored"
    assert (host.storage / "vdb.qcow2").exists()
    assert not (host.storage / "vda.qcow2").exists()
    told, _, _ = restored(site, backup, restoredPeName="copy")
    assert told == "vdb is left out: the disk was not restored"


def test_a_backup_of_nothing_is_none(site: Site, host: LibvirtLab):
    define(host, more=LUN)
    failed = site.final(site.export(site.sync()["web"])["guid"])
    assert failed["state"]["name"] == "FAILED"
    assert failed["statusInfo"] == f"web has no disk to back up: sda is not in the backup: {REASON}"


def test_a_machine_in_managed_save_is_not_put_back_and_its_backup_says_so(
    site: Site, host: LibvirtLab
):
    domain = host.connection.lookupByUUIDString(define(host, "vda"))
    machine = site.sync()["web"]
    [task] = site.api.post("/tasks/vm-snapshot", {"protectedEntities": [machine]})
    site.finished(task["guid"])
    [taken] = site.api.get("/snapshots", {"protected-entity": machine})
    domain.create()
    domain.managedSave()
    head = site.api.post("/tasks/revert", {"snapshot": {"guid": taken["guid"]}})
    failed = site.final(head["guid"])
    assert failed["state"]["name"] == "FAILED"
    assert "web is in managed save" in failed["statusInfo"]
    assert "virsh managedsave-remove web" in failed["statusInfo"]
    backup = site.backed_up(machine)
    assert backup["consistency"]["name"] == "CRASH"
    assert backup["warnings"] == [
        "the saved memory is not in the backup: the machine is in managed save; a backup "
        "holds disks only"
    ]
    assert domain.hasManagedSaveImage()
    told, _, _ = restored(site, backup, overwrite=True, powerOnAfterRestore=True)
    assert told == "the saved memory (managed save) was removed with its disks"
    assert domain.isActive()


SNAPSHOT = "<domainsnapshot><name>{}</name></domainsnapshot>"
RELEASED = "the checkpoints of the machine were released"


def test_an_owner_has_the_own_snapshots_again_after_a_release_and_by_our_revert(
    site: Site, host: LibvirtLab
):
    domain = host.connection.lookupByUUIDString(define(host, "vda"))
    domain.snapshotCreateXML(SNAPSHOT.format("1"), 0)
    machine = site.sync()["web"]
    site.backed_up(machine)
    with pytest.raises(libvirt.libvirtError):
        domain.snapshotCreateXML(SNAPSHOT.format("2"), 0)
    cli(site, "machine", "release", machine, "--watch")
    domain.snapshotCreateXML(SNAPSHOT.format("2"), 0)
    domain.revertToSnapshot(domain.snapshotLookupByName("1"), 0)
    full = site.backed_up(machine, "INCREMENTAL")
    assert full["type"]["name"] == "FULL"
    assert [warning for warning in full["warnings"] if RELEASED in warning]
    site.sync()
    known = site.api.get("/snapshots", {"protected-entity": machine})
    [theirs] = [snapshot["guid"] for snapshot in known if snapshot["uuid"] == "1"]
    site.finished(site.api.post("/tasks/revert", {"snapshot": {"guid": theirs}})["guid"])
    full = site.backed_up(machine, "INCREMENTAL")
    assert [text for text in full["warnings"] if "was reverted to the snapshot 1" in text]
    assert site.backed_up(machine, "INCREMENTAL")["type"]["name"] == "INCREMENTAL"


def test_a_copy_that_does_not_start_leaves_nothing_and_a_disk_is_as_thin_as_it_is_wanted(
    site: Site, host: LibvirtLab
):
    domain = host.connection.lookupByUUIDString(define(host, "vda"))
    text = domain.XMLDesc(2).replace(">32768<", ">999999999999<")
    host.connection.defineXML(text)
    backup = site.backed_up(site.sync()["web"])
    words = ["restore", "machine", backup["guid"], "--hypervisor", "kvm", "--watch"]
    cli(site, *words, "--name", "full", "--allocation", "preallocated")
    cli(site, *words, "--name", "thin")
    sizes = {name: _taken(host, name) for name in ("full", "thin")}
    assert sizes["thin"] < MIB <= sizes["full"]
    before = sorted(host.storage.rglob("*"))
    body = {"backup": backup["guid"], "hypervisor": {"guid": site.hypervisor["guid"]}}
    body |= {"restoredPeName": "none", "powerOnAfterRestore": True}
    head = site.api.post("/tasks/restore-and-import", body)
    site.all_final()
    steps = site.api.get("/tasks", {"workflow-execution": head["guid"]})
    [failed] = [step for step in steps if step["type"]["name"] == "IMPORT"]
    assert failed["state"]["name"] == "FAILED"
    assert failed["statusInfo"].endswith("none was removed again")
    assert sorted(host.storage.rglob("*")) == before
    assert sorted(machine.name() for machine in host.connection.listAllDomains()) == [
        "full",
        "thin",
        "web",
    ]


def _taken(host: LibvirtLab, name: str) -> int:
    """Bytes that the only disk of a machine takes."""
    root = parse(host.connection.lookupByName(name).XMLDesc(2))
    [source] = root.findall("devices/disk/source")
    return os.stat(source.get("file", "")).st_blocks * 512


def cli(site: Site, *words: str) -> str:
    """The output of a command."""
    token = site.api.token or ""
    environment = {**os.environ, "HAULBACK_SERVER": site.api.url, "HAULBACK_TOKEN": token}
    command = [sys.executable, "-m", "haulback", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout
