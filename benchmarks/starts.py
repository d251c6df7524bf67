"""Starts of programs, and exports from an image folder with many machines."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measured import repository
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.repository.repository import Repository
from haulback.transfer.export import ExportServices, ExportSpec, export_machine
from haulback.units import MIB

_PASSWORD, _PORT = "correct horse", 18199


def starts(folder: Path) -> dict[str, float]:
    """Seconds from the start of a command to its end, and of a server to its first answer."""
    environment = {
        **os.environ,
        "HAULBACK_ADMIN_PASSWORD": _PASSWORD,
        "HAULBACK_SERVER": f"http://127.0.0.1:{_PORT}",
        "XDG_CONFIG_HOME": str(folder / "config"),
    }
    with _server(folder, environment):  # the first start creates the database
        _seconds(["task", "ls"], environment)  # the first call logs in
    with _server(folder, environment) as first_answer:
        return {
            "--version": _seconds(["--version"], environment),
            "task ls": _seconds(["task", "ls"], environment),
            "server": first_answer,
        }


def _seconds(arguments: list[str], environment: dict[str, str]) -> float:
    command = [str(Path(sys.executable).with_name("haulback")), *arguments]
    begun = time.monotonic()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


@contextmanager
def _server(folder: Path, environment: dict[str, str]) -> Iterator[float]:
    """A running server; yields the seconds to its first answer."""
    program, data = str(Path(sys.executable).with_name("haulback")), str(folder / "data")
    command = [program, "server", "--data", data, "--port", str(_PORT)]
    begun = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield _first_answer(process, begun)
        finally:
            process.send_signal(signal.SIGINT)


def _first_answer(process: subprocess.Popen[bytes], begun: float) -> float:
    while time.monotonic() < begun + 60 and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{_PORT}/api/livez", timeout=5).close()
        except OSError:
            time.sleep(0.002)
        else:
            return time.monotonic() - begun
    sys.exit("the server does not answer")


def folder_exports(folder: Path) -> dict[str, float]:
    """CPU seconds of an export from a folder of one machine, and of a thousand: medians of exports
    in turn.

    The process has already exported once, as a node usually has.
    """
    kept, spent = repository(folder / "folder"), dict[str, list[float]]()
    machines = {count: _machines(folder / f"machines-{count}", count) for count in (1, 1000)}
    time.sleep(0.2)  # time until the definitions count as settled
    for attempt in range(10):
        for count, (machine, disk) in machines.items():
            # a small disk, whose export takes about as long as the other steps of a task
            disk.write_bytes(os.urandom(32 * MIB))
            begun = time.process_time()
            staging = folder / f"staging-{count}-{attempt}"
            _export(ImageFolder(disk.parent.parent), kept, machine, staging)
            taken = spent.setdefault(f"export of {count}", [])
            taken.append(time.process_time() - begun)
    return {name: statistics.median(taken[1:]) for name, taken in spent.items()}


def _machines(root: Path, count: int) -> tuple[str, Path]:
    """The uuid and the disk of the last of `count` machines of a new image folder."""
    for number in range(count):
        machine = str(uuid.uuid4())
        below = root / f"machine{number}"
        below.mkdir(parents=True, exist_ok=True)
        disk = {"name": "vda", "file": "disk.raw", "format": "raw"}
        definition = {"uuid": machine, "name": f"machine{number}", "disks": [disk]}
        (below / "machine.json").write_text(json.dumps(definition))
        (below / "disk.raw").touch()
    return machine, below / "disk.raw"


def _export(driver: ImageFolder, kept: Repository, machine: str, staging: Path) -> None:
    """The steps of an EXPORT, including the start of its look-ups."""
    staging.mkdir()
    driver.drop_checkpoints(machine, frozenset())
    with driver.snapshot(machine, "attempt-1") as snapshot, ThreadPoolExecutor(2) as pool:
        wanted = ExportSpec(str(uuid.uuid4()), machine, 1)
        export_machine(snapshot, kept, wanted, ExportServices(staging, pool))
