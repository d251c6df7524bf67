"""Benchmark of a machine that runs from its backup, compared with the same machine on its own
image.

`python -m benchmarks.instant [--size GIB] [--rounds N]`; as root, with libvirtd, QEMU and the guest
that `scripts/guest` builds.  It measures seconds until the first line of the serial console: for
the original from `virsh start`, for the restored machine from the request and from the machine's
start.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import tempfile
import time
import xml.etree.ElementTree as ET
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.programs import Site

from haulback.mounts.supervisor import MountSupervisor
from haulback.testing.guest import Guest
from haulback.testing.libvirt_lab import LibvirtLab, lab
from haulback.testing.s3_server import ADMIN, S3Server, s3_server

_SILENCE = 120.0  # seconds after which a machine without a sign of life ends the benchmark


def first_line(domain: Any) -> float:
    """The time of the first line of a machine's serial console.

    The console is read where QEMU writes it, because a copy of a machine writes no log file of the
    original.
    """
    line, terminal = b"", os.open(_terminal(domain), os.O_RDONLY | os.O_NOCTTY)
    try:
        while b"\n" not in line:
            assert select.select([terminal], [], [], _SILENCE)[0], "the machine wrote no line"
            line += os.read(terminal, 4096)
        return time.perf_counter()
    finally:
        os.close(terminal)


def _terminal(domain: Any) -> str:
    """The path of a machine's serial console, which QEMU opens before the machine runs."""
    end = time.monotonic() + _SILENCE
    while (line := ET.fromstring(domain.XMLDesc(0)).find("devices/serial/source")) is None:
        assert time.monotonic() < end, "the machine has no serial console"
        time.sleep(0.005)
    return line.get("path", "")


def original(guest: Guest) -> float:
    begun = time.perf_counter()
    guest.domain.create()
    took = first_line(guest.domain) - begun
    guest.domain.destroy()
    return took


def instant(site: Site, host: LibvirtLab, backup: str) -> tuple[float, float, float]:
    """Seconds from the request, seconds from the start, and seconds of the migration."""
    body = {"mode": "INSTANT_RESTORE", "backup": backup, "restoredPeName": "now"}
    body["hypervisor"] = site.hypervisor["guid"]
    begun = time.perf_counter()
    head = site.api.post("/tasks/instant-restore", body)
    running = _running(site, host)
    started, line = time.perf_counter(), first_line(running)
    site.all_final()
    moving = time.perf_counter()
    site.api.post("/tasks/live-migration", {"mountedBackup": head["mountedBackup"]["guid"]})
    site.all_final()
    moved = time.perf_counter() - moving
    running.destroy()
    running.undefine()
    return line - begun, line - started, moved


def _running(site: Site, host: LibvirtLab) -> Any:
    """The machine that an instant restore has started."""
    end = time.monotonic() + _SILENCE
    while not (running := list(host.connection.listAllDomains(1))):
        assert time.monotonic() < end, site.api.get("/tasks", {"states": ["RUNNING", "FAILED"]})
        time.sleep(0.005)
    return running[0]


def measure(folder: Path, size: int, rounds: int, *, s3: bool) -> dict[str, Any]:
    (folder / "s3").mkdir()
    with lab(folder / "h1") as host, s3_server(folder / "s3") if s3 else nullcontext() as server:
        site = Site(folder / "site", lease=30.0)
        site.open()
        try:
            return _measure(site, host, size, rounds, server)
        finally:
            site.close()
            keeper = MountSupervisor(site.home / "shares")
            for guid in keeper.all():
                keeper.end(guid)


def _measure(
    site: Site, host: LibvirtLab, size: int, rounds: int, server: S3Server | None
) -> dict[str, Any]:
    body = {"name": "kvm", "url": host.uri, "path": str(host.storage)}
    site.hypervisor = site.api.post("/hypervisors", body)
    site.finished(site.hypervisor["task"]["guid"])
    guest = Guest(host, "db")
    guest.make(f"{size}G", hello="first")
    guest.start()
    guest.run(f"dd if=/dev/urandom of=/mnt/a bs=1M count={size * 200} 2>/dev/null; sync")
    machine = site.sync()["db"]
    backup = site.backed_up(machine)["guid"]
    bucket = _on_s3(site, machine, server) if server else ""
    guest.domain.destroy()
    theirs, ours, remote = [], [], []
    for _ in range(rounds):  # alternately, so that all run under equal conditions
        theirs.append(original(guest))
        ours.append(instant(site, host, backup))
        remote += [instant(site, host, bucket)[0]] if bucket else []
    asked, started, moved = (statistics.median(column) for column in zip(*ours, strict=True))
    usual = statistics.median(theirs)
    return {
        "original, first line s": usual,
        "instant restore, from the request on, first line s": asked,
        "instant restore, from its start on, first line s": started,
        "from the request on / original": asked / usual,
        "from its start on / original": started / usual,
        "moved off the backup s": moved,
        **({"from S3 / from the folder": statistics.median(remote) / asked} if remote else {}),
    }


def _on_s3(site: Site, machine: str, server: S3Server) -> str:
    """A backup of a machine in a bucket."""
    keys = {"accessKeyId": ADMIN.key_id, "secretAccessKey": ADMIN.secret}
    place = {"endpoint": server.endpoint, "bucket": "instant", "createBucket": True}
    body = {"name": "s3", "type": "S3", "listingDelay": 0, **place, **keys}
    target = site.api.post("/backup-destinations", body)
    site.finished(target["task"]["guid"])
    export = site.export(machine, backupDestination={"guid": target["guid"]})
    site.all_final()
    backup: str = export["backup"]["guid"]
    assert site.api.get(f"/backups/{backup}")["status"]["name"] == "SUCCESS"
    return backup


def main() -> None:
    """Print the measurements as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2, help="GiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--s3", action="store_true", help="also from a bucket of SeaweedFS")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="haulback-instant-") as folder:
        found = measure(Path(folder), options.size, options.rounds, s3=options.s3)
    print(json.dumps({key: round(value, 3) for key, value in found.items()}, indent=2))


if __name__ == "__main__":
    main()
