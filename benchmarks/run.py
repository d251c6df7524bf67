"""Benchmark of Haulback and its peers on one image: `python -m benchmarks.run --help`."""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import images as images_
from benchmarks.images import CONTENTS, Images
from haulback.units import GIB, MIB

_PEERS = ("restic", "borg", "zstd", "qemu-img")
# (title, Haulback's step, peer's step, target): the ratio of Haulback's wall time to the peer's
TARGETS = (
    ("first full backup / restic", "haulback full", "restic full", 0.6),
    ("first full backup / borg", "haulback full", "borg full", 0.4),
    ("first full backup / zstd -3 -T2", "haulback full", "zstd", 1.3),
    ("unchanged, full scan / restic", "haulback rescan", "restic rescan", 0.5),
    ("increment by CBT / restic", "haulback increment", "restic increment", 0.2),
    ("restore / restic", "haulback restore", "restic restore", 0.7),
    ("verify everything / restic", "haulback verify", "restic verify", 0.6),
)
SIZES = (
    ("repository after the full / restic", "haulback full", "restic full", 1.05),
    ("growth by the increment / restic", "haulback increment", "restic increment", 0.35),
)


class Step(NamedTuple):
    """Seconds of wall time, peak resident MiB of the process, bytes added to the store."""

    seconds: float
    peak_mib: float
    grown: int


class Bench:
    """The folder of one run and its measurements."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.steps = folder, dict[str, Step]()
        self.environment = {
            **os.environ,
            "RESTIC_PASSWORD": "bench",
            "BORG_PASSPHRASE": "bench",
            "BORG_BASE_DIR": str(folder / "borg-home"),
            "RESTIC_CACHE_DIR": str(folder / "restic-cache"),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }

    def time(self, name: str, store: str, *command: str, cwd: str = ".") -> None:
        """Run one command and measure it.  Raises SystemExit with its output if it fails."""
        # Write pending data first, so that no step waits for the writes of the step before.
        os.sync()
        before, started = _usage(self.folder / store), time.monotonic()
        with open(self.folder / "output", "wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, env=self.environment, cwd=self.folder / cwd
            )
            _, status, used = os.wait4(process.pid, 0)
        took = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{name} failed: {(self.folder / 'output').read_text()[-800:]}")
        grown = _usage(self.folder / store) - before
        self.steps[name] = Step(took, used.ru_maxrss / 1024, grown)
        print(f"{name:22} {took:7.2f} s {used.ru_maxrss / 1024:7.0f} MiB {grown / MIB:9.1f} MiB")

    def haulback(self, name: str, *arguments: object) -> None:
        command = (sys.executable, "-m", "benchmarks.haulback", *map(str, arguments))
        self.time(f"haulback {name}", "haulback", *command)


def measure(bench: Bench, image: Path, changed: Path, changes: Path) -> None:
    """Run every step of every peer; the page cache is warm for all of them."""
    store, live = bench.folder / "haulback", bench.folder / "live.raw"
    images_.copy(image, live)
    bench.haulback("init", "init", store)
    bench.time("restic init", "restic", "restic", "init", "-q", "-r", "restic")
    bench.time("borg init", "borg", "borg", "init", "-e", "repokey-blake2", "borg")
    for step in ("full", "rescan"):
        bench.haulback(step, "backup", store, live)
        bench.time(f"restic {step}", "restic", *_restic("backup", "--force", str(live)))
        bench.time(f"borg {step}", "borg", *_borg(step), str(live))
    none = bench.folder / "none.json"
    none.write_text("[]")
    bench.haulback("unchanged by CBT", "backup", store, live, none)
    images_.copy(changed, live)
    bench.haulback("increment", "backup", store, live, changes)
    bench.time("restic increment", "restic", *_restic("backup", "--force", str(live)))
    bench.time("borg increment", "borg", *_borg("increment"), str(live))
    back = bench.folder / "back.raw"
    bench.haulback("restore", "restore", store, back)
    if not filecmp.cmp(back, changed, shallow=False):
        sys.exit("the restored image differs")
    back.unlink()
    bench.time("restic restore", "out", *_restic("restore", "latest", "--target", "out"))
    shutil.rmtree(bench.folder / "out")
    bench.haulback("verify", "verify", store)
    bench.time("restic verify", "restic", *_restic("check", "--read-data"))
    bench.time("borg verify", "borg", "borg", "check", "--verify-data", "borg")
    bench.time("zstd", "z", "zstd", "-q", "-3", "-T2", str(image), "-o", "z")
    bench.time("qemu-img", "q", "qemu-img", "convert", "-O", "qcow2", str(image), "q")


def _restic(*arguments: str) -> tuple[str, ...]:
    return ("restic", "-q", "-r", "restic", *arguments)


def _borg(archive: str) -> tuple[str, ...]:
    return (
        "borg",
        "create",
        "--compression",
        "zstd,3",
        "--files-cache=disabled",
        f"borg::{archive}",
    )


def _usage(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def table(steps: dict[str, Step]) -> str:
    rows = ["| | measured | target | |", "|---|---|---|---|"]
    for title, ours, theirs, target in TARGETS:
        rows.append(_row(title, steps[ours].seconds / steps[theirs].seconds, target))
    for title, ours, theirs, target in SIZES:
        rows.append(_row(title, steps[ours].grown / steps[theirs].grown, target))
    peak = max(step.peak_mib for name, step in steps.items() if name.startswith("haulback"))
    rows.append(_row("peak memory, MiB", peak, 220))
    lines = ["", "| step | seconds | peak MiB | stored MiB |", "|---|---|---|---|"]
    for name, step in steps.items():
        lines.append(
            f"| {name} | {step.seconds:.2f} | {step.peak_mib:.0f} | {step.grown / MIB:.1f} |"
        )
    return "\n".join(rows + lines)


def _row(title: str, measured: float, target: float) -> str:
    verdict = "met" if measured <= target else "**missed**"
    return f"| {title} | {measured:.3g} | ≤ {target:g} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, help="a raw image of your own")
    parser.add_argument("--content", choices=CONTENTS, default="programs")
    parser.add_argument("--changed", type=Path, help="the same image later")
    parser.add_argument("--json", type=Path, help="write what was measured here")
    parser.add_argument("--quick", action="store_true", help="256 MiB instead of 2 GiB")
    given = parser.parse_args()
    missing = [peer for peer in _PEERS if not shutil.which(peer)]
    if missing:
        sys.exit(f"install first: {' '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="haulback-bench-") as name:
        folder = Path(name)
        if given.image:
            images = Images(
                given.image, given.changed, images_.differences(given.image, given.changed)
            )
        else:
            size = 256 * MIB if given.quick else 2 * GIB
            images = images_.made(folder, given.content, size)
        image, changed, changes = images.before, images.after, folder / "changes.json"
        changes.write_text(json.dumps(images.changes))
        bench = Bench(folder)
        bench.environment["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), *sys.path])
        measure(bench, image.resolve(), changed.resolve(), changes)
    print(table(bench.steps))
    if given.json:
        facts: dict[str, Any] = {"machine": platform.platform(), "cores": os.cpu_count()}
        facts["steps"] = {name: step._asdict() for name, step in bench.steps.items()}
        given.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
