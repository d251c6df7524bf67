"""Haulback and restic on one image and one S3 server (SeaweedFS): `python -m benchmarks.s3 --help`.

Wall time and CPU seconds of each client, and Haulback's requests by class.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.images import Images, made
from haulback.contract.destination_types import S3Settings
from haulback.destinations.confirmed_lists import ConfirmedLists
from haulback.destinations.pass_through import PassThrough
from haulback.destinations.protocol import Item, list_many
from haulback.destinations.read_ahead import ReadAhead
from haulback.destinations.s3 import S3
from haulback.destinations.store_retries import Retrying
from haulback.drivers.sink import RawFile
from haulback.drivers.source import Extent, RawImage
from haulback.durable_files import DurableFiles
from haulback.repository.backup import DiskBase, back_up_disk
from haulback.repository.index_cache import CacheFolder
from haulback.repository.keys import Secret
from haulback.repository.manifest import Manifest, ManifestDisk
from haulback.repository.mapping import MapReader
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.restore import restore_disk
from haulback.testing.s3_server import ADMIN, s3_server
from haulback.units import GIB, MIB

SECRET = Secret("keyfile", bytes(32))
TARGETS = (
    ("first full / restic", "full", "seconds", 0.7),
    ("CPU of the first full / restic", "full", "cpu", 0.6),
    ("increment by CBT / restic", "increment", "seconds", 0.3),
    ("restore / restic", "restore", "seconds", 0.75),
)


class Measured(NamedTuple):
    """Seconds of wall time and of CPU time, peak MiB of memory, and requests by class."""

    seconds: float
    cpu: float
    peak: float
    requests: dict[str, int]


class Counting(PassThrough):
    """Counts the requests by class: the method and the folder of the object."""

    def __init__(self, destination: S3) -> None:
        super().__init__(destination)
        self.requests = Counter[str]()

    def store(self, name: str, data: bytes) -> None:
        self.requests[f"PUT {name.partition('/')[0]}"] += 1
        super().store(name, data)

    def adopt(self, name: str, path: Path) -> None:
        self.requests[f"PUT {name.partition('/')[0]}"] += 1
        super().adopt(name, path)

    def load(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.requests[f"GET {name.partition('/')[0]}"] += 1
        return super().load(name, offset, length)

    def info(self, name: str) -> Item:
        self.requests[f"HEAD {name.partition('/')[0]}"] += 1
        return super().info(name)

    def list(self, prefix: str) -> Iterator[Item]:
        self.requests[f"LIST {prefix}"] += 1
        return super().list(prefix)

    def list_many(self, folders: Sequence[str]) -> Iterator[Item]:
        self.requests[f"LIST {folders[0]} and others"] += 1
        return list_many(self._destination, folders)


def opened(endpoint: str, cache: Path) -> tuple[Repository, Counting]:
    """The repository in the bucket, and the counter below its wrappers."""
    counting = Counting(S3(settings_of(endpoint)))
    store = ReadAhead(ConfirmedLists(Retrying(counting)))
    return Repository.open(store, SECRET, CacheFolder(cache)), counting


def settings_of(endpoint: str) -> S3Settings:
    return S3Settings("haulback", ADMIN.key_id, ADMIN.secret, endpoint, createBucket=True)


def backup(repository: Repository, folder: Path, image: Path, changes: str) -> None:
    """Back up: full without `changes`, else an increment of the last backup by extents."""
    parent = repository.manifest((folder / "last").read_text()) if changes else None
    look = repository.look()
    reader = repository.reader(thorough=False, look=look)
    base = MapReader(parent.disks[0].map, reader.chunk, reader.expect) if parent else None
    extents = [Extent(*pair) for pair in json.loads(Path(changes).read_text())] if changes else None
    staging = folder / f"staging-{uuid.uuid4()}"
    staging.mkdir()
    source = RawImage(image)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        writer = repository.writer(staging, pool, look=look)
        old = DiskBase(base, extents) if base else None
        stored_map = back_up_disk(source, writer, repository.keys, Resources(pool), old)
        staged = writer.finish()
    source.close()
    when, disks = (parent.snapshot_time + 1 if parent else 1), (ManifestDisk("disk0", stored_map),)
    kind = "INCREMENTAL" if parent else "FULL"
    above = parent.backup if parent else None
    record = Manifest(
        str(uuid.uuid4()), "e", "bench", kind, when, disks, above, stored=staged.stored
    )
    repository.publish(staging, repository.draft(staging, staged, record, DurableFiles()))
    repository.merge_index(staging)
    (folder / "last").write_text(record.backup)


def restore(repository: Repository, folder: Path, target: Path) -> None:
    last = repository.manifest((folder / "last").read_text()).disks[0].map
    sink = RawFile(target, last.size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        restore_disk(last, repository.reader(), sink, pool)
    sink.close()


def step(name: str, endpoint: str, folder: Path, rest: list[str]) -> None:
    """A step in this process; its requests by class are printed as JSON."""
    if name == "init":
        store = S3(settings_of(endpoint))
        store.prepare()
        Repository.init(ConfirmedLists(Retrying(store)), SECRET)
        print("{}")
        return
    repository, counting = opened(endpoint, folder / "cache")
    if name == "backup":
        backup(repository, folder, Path(rest[0]), rest[1] if rest[1:] else "")
    elif name == "restore":
        restore(repository, folder, Path(rest[0]))
    else:
        repository.index()
    print(json.dumps(dict(sorted(counting.requests.items()))))


class S3Bench:
    """The measurements of one run."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self._folder, self._endpoint = folder, endpoint
        self.steps: dict[str, Measured] = {}
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path]),
            "AWS_ACCESS_KEY_ID": ADMIN.key_id,
            "AWS_SECRET_ACCESS_KEY": ADMIN.secret,
            "RESTIC_PASSWORD": "bench",
            "RESTIC_CACHE_DIR": str(folder / "restic-cache"),
            "RESTIC_REPOSITORY": f"s3:{endpoint}/restic",
        }

    def haulback(self, name: str, *arguments: object) -> None:
        """Run a step of Haulback in a separate process."""
        command = [sys.executable, "-m", "benchmarks.s3", "--step", self._endpoint]
        told = self._run([*command, str(self._folder), *map(str, arguments)])
        self._keep(f"haulback {name}", told)

    def restic(self, name: str, *arguments: str) -> None:
        """Run a step of restic."""
        self._keep(f"restic {name}", self._run(["restic", "-q", *arguments]))

    def _keep(self, name: str, measured: Measured) -> None:
        self.steps[name] = measured
        figures = f"{measured.seconds:7.2f} s {measured.cpu:7.2f} s of CPU {measured.peak:5.0f} MiB"
        print(f"{name:22} {figures}", flush=True)

    def _run(self, command: list[str]) -> Measured:
        # Write pending data first, so that no step waits for the writes of the step before.
        os.sync()
        started, output = time.monotonic(), self._folder / "output"
        with open(output, "wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=file, env=self._environment, cwd=Path.cwd()
            )
            _, status, used = os.wait4(process.pid, 0)
        took = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{command} failed: {output.read_text()[-2000:]}")
        lines = output.read_text().splitlines()
        told = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
        return Measured(took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, told)


def measure(bench: S3Bench, folder: Path, images: Images) -> None:
    """Run every step of both."""
    image, changed = images.before, images.after
    changes = folder / "changes.json"
    changes.write_text(json.dumps(images.changes))
    live, back = folder / "live.raw", folder / "back.raw"
    subprocess.run(["cp", "--sparse=always", image, live], check=True)
    bench.haulback("init", "init")
    bench.restic("init", "init")
    bench.haulback("full", "backup", live)
    bench.restic("full", "backup", "--force", str(live))
    subprocess.run(["cp", "--sparse=always", changed, live], check=True)
    bench.haulback("increment", "backup", live, changes)
    bench.restic("increment", "backup", "--force", str(live))
    bench.haulback("open, cached", "open")
    for file in (folder / "cache").rglob("*"):
        if file.is_file():
            file.unlink()
    bench.haulback("open, cold", "open")
    bench.haulback("restore", "restore", back)
    if not filecmp.cmp(back, changed, shallow=False):
        sys.exit("the restored image differs")
    bench.restic("restore", "restore", "latest", "--target", str(folder / "out"))


def report(steps: dict[str, Measured]) -> str:
    """The ratios, and the requests by class."""
    lines = ["| | measured | target |", "|---|---|---|"]
    for title, name, unit, target in TARGETS:
        ours, theirs = steps[f"haulback {name}"], steps[f"restic {name}"]
        ratio = getattr(ours, unit) / getattr(theirs, unit)
        lines.append(f"| {title} | {ratio:.2f} | ≤ {target} |")
    for name, measured in steps.items():
        if measured.requests:
            told = ", ".join(f"{count} {kind}" for kind, count in measured.requests.items())
            lines.append(f"{name}: {sum(measured.requests.values())} requests: {told}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="256 MiB instead of 1 GiB")
    parser.add_argument("--json", type=Path, help="write what was measured here")
    parser.add_argument("--step", nargs="+", help="a step in this process")
    given = parser.parse_args()
    if given.step:
        endpoint, folder, name, *rest = given.step
        step(name, endpoint, Path(folder), rest)
        return
    with tempfile.TemporaryDirectory(prefix="haulback-s3-bench-") as room:
        folder = Path(room)
        (folder / "server").mkdir()
        images = made(folder, "programs", 256 * MIB if given.quick else GIB)
        with s3_server(folder / "server") as server:
            bench = S3Bench(folder, server.endpoint)
            measure(bench, folder, images)
    print(report(bench.steps))
    if given.json:
        facts = {name: measured._asdict() for name, measured in bench.steps.items()}
        given.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
