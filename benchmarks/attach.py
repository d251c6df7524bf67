"""A new server attaches a repository of 10,000 backups: seconds, and memory of server and node.

`python -m benchmarks.attach [--backups 10000]`; the result is printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from tests.programs import Program, Site

from benchmarks.measured import SECRET
from haulback.contract.catalogue import CatalogueItem
from haulback.destinations.folder import Folder
from haulback.durable_files import DurableFiles
from haulback.repository.extracts import ExtractOrigin
from haulback.repository.manifest import Manifest, ManifestDisk, encode
from haulback.repository.manifest import name_of as manifest_name
from haulback.repository.pages import HOLE, DiskMap, depth_for
from haulback.repository.repository import Repository
from haulback.units import DAY_MS, GIB, KIB, MIB
from haulback.wire import JsonObject

_NOW = 1_790_000_000_000
_OF_MACHINE = 50  # backups of one machine
_XML = "<domain type='kvm'>" + "<controller type='usb' index='0' model='qemu-xhci'/>" * 120


class _NoSync(DurableFiles):
    """Files of a benchmark, which need not outlast a power cut."""

    def write_file(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)

    def sync_folder(self, path: Path) -> None:
        """Leave the folder to the system."""


def made(folder: Path, backups: int) -> Repository:
    """A repository with manifests of 6 KiB definitions, and a whole extract."""
    folder.mkdir(parents=True)
    repository = Repository.init(Folder(folder, _NoSync()), SECRET)
    dice, items = random.Random(1), []
    for number in range(backups):
        machine = number // _OF_MACHINE
        entity = str(uuid.UUID(int=machine + 1, version=4))
        manifest = _manifest(entity, f"machine-{machine:04d}", number, dice)
        sealed = encode(manifest, repository.keys)
        repository.destination.store(manifest_name(manifest.backup), sealed)
        facts: JsonObject = {"entity": entity, "hint": "ARCHIVE", "level": "VERIFIED"}
        facts |= {"policy": "nightly"}
        facts |= {"created": manifest.snapshot_time, "keep_until": _NOW + 99 * DAY_MS}
        items.append(CatalogueItem("backup", manifest.backup, facts))
        if number % _OF_MACHINE == 0:
            about = {"uuid": entity, "name": manifest.entity_name, "hypervisor": "hv"}
            items.append(CatalogueItem("entity", entity, about))
    repository.extracts.write(ExtractOrigin("old", _NOW, "old", "old"), items, lambda _: True)
    return repository


def _manifest(entity: str, name: str, number: int, dice: random.Random) -> Manifest:
    size = 40 * GIB
    empty = DiskMap(size, depth_for(size), HOLE.id, HOLE.group)
    disks = tuple(
        ManifestDisk(disk, empty, "qcow2", {"file": f"{disk}.qcow2"}) for disk in ("vda", "vdb")
    )
    return Manifest(
        backup=str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        entity=entity,
        entity_name=name,
        type="INCREMENTAL" if number % _OF_MACHINE else "FULL",
        snapshot_time=_NOW - number * 1000,
        disks=disks,
        definition={"uuid": entity, "name": name, "domain": _XML},
        read=GIB,
        stored=64 * MIB,
    )


def _peak(program: Program) -> float:
    """The peak memory of a process in MiB."""
    assert program.process
    lines = Path(f"/proc/{program.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("VmHWM")) / MIB


def measure(folder: Path, backups: int) -> dict[str, Any]:
    """Attach the repository by a new server and a new node."""
    made(folder / "vault", backups)
    site = Site(folder / "new", lease=30.0)
    site.open()
    try:
        before = {"server": _peak(site.server), "node": _peak(site.node)}
        body = {"name": "vault", "path": str(folder / "vault"), "keyFile": SECRET.value.hex()}
        seconds = [_timed(site, "/backup-destinations/attach", body)]
        to = next(d for d in site.api.get("/backup-destinations") if d["name"] == "vault")
        path = f"/backup-destinations/{to['guid']}"
        seconds.append(_timed(site, f"{path}/read-catalogue", {}))
        seconds.append(_timed(site, f"{path}/take-over", {"oldCredentialRevoked": True}))
        return {
            "backups": backups,
            "attach_seconds": round(seconds[0], 1),
            "sync_again_seconds": round(seconds[1], 1),
            "take_over_and_extract_seconds": round(seconds[2], 1),
            "server_mib": round(_peak(site.server)),
            "node_mib": round(_peak(site.node)),
            "before": {name: round(value) for name, value in before.items()},
            "shown": len(site.api.get("/backups", {"size": 10_000})),
        }
    finally:
        site.close()


def _timed(site: Site, path: str, body: dict[str, Any]) -> float:
    started = time.monotonic()
    task = site.api.post(path, body)["task"]["guid"]
    while site.api.get(f"/tasks/{task}")["state"]["name"] in ("QUEUED", "RUNNING"):
        assert time.monotonic() - started < 1800
        time.sleep(0.2)
    site.finished(task)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backups", type=int, default=10_000)
    with tempfile.TemporaryDirectory(prefix="haulback-attach-") as folder:
        print(json.dumps(measure(Path(folder), parser.parse_args().backups), indent=2))


if __name__ == "__main__":
    main()
