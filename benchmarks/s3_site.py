"""A node at work on an S3 server (SeaweedFS): `python -m benchmarks.s3_site --help`.

The peak memory of a node with four tasks at once, the first listing of a mounted backup, and random
reads of 64 KiB compared with range requests to the store itself.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.programs import Site

from benchmarks.s3 import SECRET, backup, opened, settings_of
from haulback.destinations.confirmed_lists import ConfirmedLists
from haulback.destinations.s3 import S3
from haulback.filesystems.browser import Browser
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk
from haulback.testing.s3_server import ADMIN, S3Server, s3_server
from haulback.units import KIB, MIB

_MACHINES = 4
_READS = 200
_FILES = 2_000


def milliseconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1000


def peak_mib(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def four_tasks(folder: Path, server: S3Server, size: int) -> dict[str, float]:
    """The peak memory of the node while four machines are stored, and after four restores."""
    site = Site(folder / "site", lease=30.0)
    site.open()
    try:
        return _four_tasks(site, server, size)
    finally:
        site.close()


def _four_tasks(site: Site, server: S3Server, size: int) -> dict[str, float]:
    keys = {"accessKeyId": ADMIN.key_id, "secretAccessKey": ADMIN.secret}
    place = {"endpoint": server.endpoint, "bucket": "site", "createBucket": True}
    body = {"name": "s3", "type": "S3", "listingDelay": 0, **place, **keys}
    target = site.api.post("/backup-destinations", body)
    site.finished(target["task"]["guid"])
    for number in range(_MACHINES):
        machine(site.machines / f"m{number}", size)
    node = site.api.get("/nodes")[0]["guid"]
    lanes = ("export", "export.source", "store", "store.destination")
    body = {"name": "four", "limits": dict.fromkeys(lanes, _MACHINES)}
    config = site.api.post("/node-configs", body)
    site.api.put(f"/nodes/{node}", {"nodeConfig": {"guid": config["guid"]}})
    machines = [*site.sync().values()]
    begun = time.monotonic()
    backups = [
        site.export(guid, backupDestination={"guid": target["guid"]})["backup"]["guid"]
        for guid in machines
    ]
    most = site.wait_for(lambda: _busy(site), 600)
    site.wait_for(lambda: not site.api.get("/tasks", {"states": ["QUEUED", "RUNNING"]}), 1200)
    took = time.monotonic() - begun
    assert all(site.api.get(f"/backups/{b}")["status"]["name"] == "SUCCESS" for b in backups)
    assert site.node.process
    return {"stored_seconds": took, "peak_mib": peak_mib(site.node.process.pid), "at_once": most}


def _busy(site: Site) -> int:
    """The number of tasks that run at once, once it has reached four."""
    running = len(site.api.get("/tasks", {"states": ["RUNNING"]}))
    return running if running >= _MACHINES else 0


def machine(folder: Path, size: int) -> None:
    """A machine of the image folder with one raw disk, half of it random."""
    folder.mkdir()
    dice = random.Random(str(folder))
    with open(folder / "root.raw", "wb") as file:
        for number in range(size // MIB):
            file.write(dice.randbytes(MIB) if number % 2 else bytes([65 + number % 26]) * MIB)
    disks = [{"name": "root", "file": "root.raw", "format": "raw"}]
    about = {"uuid": str(uuid.uuid4()), "name": folder.name, "disks": disks}
    (folder / "machine.json").write_text(json.dumps(about))


def mounted(folder: Path, server: S3Server, size: int) -> dict[str, float]:
    """The first listing of a file system in a backup, and random reads of its disk."""
    image, (repository, counting) = file_system(folder, size), opened(server.endpoint, folder / "c")
    backup(repository, folder, image, "")
    begun = time.perf_counter()
    repository, counting = opened(server.endpoint, folder / "cold")
    manifest = repository.manifest((folder / "last").read_text())
    disk = StoredDisk(manifest.disks[0].map, repository.reader())
    with Browser({"disk0": disk}, deadline=60.0) as browser:
        volumes = browser.volumes()
        listed = browser.listing(volumes[0].name, "/", most=_FILES)
    listing = time.perf_counter() - begun
    assert len(listed) == _FILES, "as many as one page takes"
    dice, buffer = random.Random(7), memoryview(bytearray(64 * KIB))
    places = [dice.randrange(size // (64 * KIB)) * 64 * KIB for _ in range(_READS)]
    ours = [milliseconds(lambda at=at: disk.read_into(at, buffer)) for at in places]
    packs = [item for item in counting.list("packs") if item.size > MIB]
    theirs = [milliseconds(lambda: _range(counting, packs, dice)) for _ in range(_READS)]
    return {
        "first_listing_seconds": listing,
        "read_ms_p50": statistics.median(ours),
        "store_ms_p50": statistics.median(theirs),
    }


def _range(store: S3, packs: list, dice: random.Random) -> None:
    pack = dice.choice(packs)
    store.load(pack.name, dice.randrange(pack.size - 64 * KIB), 64 * KIB)


def file_system(folder: Path, size: int) -> Path:
    """An ext4 image with small files and incompressible data in the rest."""
    below, image = folder / "files", folder / "image.raw"
    below.mkdir()
    dice = random.Random(3)
    for number in range(_FILES):
        (below / f"file{number}").write_bytes(dice.randbytes(500))
    (below / "large").write_bytes(dice.randbytes(size * 3 // 4))
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", below, image], check=True)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=256, help="of each disk")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="haulback-s3-site-") as made, ThreadPoolExecutor(2):
        folder = Path(made)
        (folder / "server").mkdir()
        with s3_server(folder / "server") as server:
            bucket = opened_bucket(server)
            Repository.init(ConfirmedLists(bucket), SECRET)
            figures = mounted(folder, server, given.mib * MIB)
            figures |= four_tasks(folder, server, given.mib * MIB)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2))


def opened_bucket(server: S3Server) -> S3:
    """The bucket of the benchmark with both programs, created."""
    store = S3(settings_of(server.endpoint))
    store.prepare()
    return store


if __name__ == "__main__":
    main()
