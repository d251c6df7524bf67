"""A guest on a host reached by SSH is backed up while it writes, proved, and restored."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback.errors import Malformed
from haulback.testing.guest import Guest
from haulback.testing.libvirt_lab import LibvirtLab
from haulback.testing.remote import Reached
from tests.hosts import needs_guest, needs_libvirt, needs_sshd
from tests.programs import Site

pytestmark = [needs_libvirt, needs_guest, needs_sshd]


@pytest.fixture
def site(tmp_path: Path, host: LibvirtLab, way: Reached) -> Iterator[Site]:
    made = Site(tmp_path, lease=5.0)
    made.open()
    made.hypervisor = added(made, "far", way.url(host.uri), host)
    yield made
    made.close()
    host.clear()


def added(site: Site, name: str, url: str, host: LibvirtLab) -> dict[str, Any]:
    body = {"name": name, "url": url, "path": str(host.storage)}
    found: dict[str, Any] = site.api.post("/hypervisors", body)
    site.finished(found["task"]["guid"])
    return found


def test_a_guest_of_a_far_host_is_backed_up_proved_and_boots_again(
    site: Site, host: LibvirtLab, way: Reached
):
    guest = Guest(host, "db")
    guest.make(hello="from far away")
    guest.start()
    machine = site.sync()["db"]
    guest.run("echo '#!/bin/sh' > /bin/hold; chmod 755 /bin/hold; mkdir -p /mnt/etc; sync")
    settings = {"preCommand": "hold", "postCommand": "echo done > /mnt/after"}
    site.api.put(f"/virtual-machines/{machine}/settings", settings)
    guest.run("dd if=/dev/urandom of=/mnt/a bs=1M count=8 2>/dev/null; sync")
    full = site.backed_up(machine)
    assert (full["type"]["name"], full["consistency"]["name"]) == ("FULL", "APPLICATION")
    assert guest.run("cat /mnt/after") == "done\n"
    guest.run("dd if=/dev/urandom of=/mnt/b bs=64k count=4 2>/dev/null; sync")
    sums = guest.run("sha256sum /mnt/a /mnt/b")
    increment = site.backed_up(machine, "INCREMENTAL")
    assert increment["transferredSize"] < full["transferredSize"] / 2
    place = {"hypervisor": {"guid": site.hypervisor["guid"]}}
    proof = site.api.post("/tasks/prove", {"backup": increment["guid"], **place})
    site.finished(proof["guid"])
    assert site.api.get(f"/backups/{increment['guid']}")["level"]["name"] == "BOOTED"
    guest.dies()
    body = {"backup": increment["guid"], "powerOnAfterRestore": True, **place}
    head = site.api.post("/tasks/restore-and-import", body)
    site.finished(head["guid"])
    site.all_final()
    assert site.sync()["db"]
    again = Guest(host, "db", guest.uuid)
    assert "MOUNTED from far away" in again.wait_ready()
    assert again.run("sha256sum /mnt/a /mnt/b") == sums
    site.wait_for(lambda: not way.clients())  # no idle SSH connection is kept


def test_what_needs_the_nodes_own_machine_is_refused_before_there_is_a_task(
    site: Site, host: LibvirtLab
):
    Guest(host, "web").make()
    machine = site.sync()["web"]
    backup = site.backed_up(machine)["guid"]
    near = added(site, "near", host.uri, host)
    rows = site.api.get("/virtual-machines")
    [other] = [row["guid"] for row in rows if row["guid"] != machine]
    far, before = site.hypervisor["guid"], len(site.api.get("/tasks"))
    for path, body in (
        ("instant-restore", {"backup": backup, "mode": "INSTANT_RESTORE", "hypervisor": far}),
        ("live-migration", {"protectedEntity": machine, "hypervisor": near["guid"]}),
        ("live-migration", {"protectedEntity": other, "hypervisor": far}),
    ):
        with pytest.raises(Malformed, match="reached by SSH") as caught:
            site.api.post(f"/tasks/{path}", body)
        assert caught.value.details["field"] == "hypervisor"
    assert len(site.api.get("/tasks")) == before


def test_a_node_that_is_killed_leaves_a_far_host_as_it_was(site: Site, host: LibvirtLab):
    guest = Guest(host, "busy")
    guest.make(size="512M")
    guest.start()
    machine = site.sync()["busy"]
    guest.run("dd if=/dev/urandom of=/mnt/big bs=1M count=200 2>/dev/null; sync")
    task = site.export(machine)
    site.wait_for(lambda: backs_up(guest))
    site.node.end(signal.SIGKILL)
    host.until(lambda: not backs_up(guest))  # closing the connection is sufficient
    assert guest.run("echo on > /mnt/on; sync; cat /mnt/on") == "on\n"
    site.node.start()
    site.finished(task["guid"])
    site.all_final()
    answer = site.api.get(f"/backups/{task['backup']['guid']}")
    assert answer["status"]["name"] == "SUCCESS", site.log.read_text()


def backs_up(guest: Guest) -> bool:
    try:
        return bool(guest.domain.backupGetXMLDesc())
    except Exception:  # noqa: BLE001 - libvirt's own
        return False
