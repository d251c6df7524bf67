"""Rounds of the data path: Haulback and restic alternately on one disk; each step is a process."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import images as images_
from benchmarks.images import Images

Seconds = dict[str, float]


def measured(images: Images, folder: Path) -> Seconds:
    """Seconds and CPU seconds of each step, and the bytes that the increment added; `folder` must
    not exist.

    Each step starts without pending writes and with a warm page cache.  A restore ends when the
    disk has all bytes, for both programs.
    """
    folder.mkdir(parents=True)
    try:
        return _Round(images, folder).run()
    finally:
        shutil.rmtree(folder)


def grown(images: Images, folder: Path) -> Seconds:
    """The bytes that an increment adds, with the steps before it; `folder` must not exist."""
    folder.mkdir(parents=True)
    try:
        return _Round(images, folder).grow()
    finally:
        shutil.rmtree(folder)


class _Round:
    """The repositories of one round, and its measurements so far."""

    def __init__(self, images: Images, folder: Path) -> None:
        self._images, self._folder, self._spent = images, folder, Seconds()
        self._live = folder / "live.raw"
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path]),
            "RESTIC_PASSWORD": "bench",
            "RESTIC_CACHE_DIR": str(folder / "cache"),
        }

    def grow(self) -> Seconds:
        self._full()
        self._increment()
        return self._spent

    def run(self) -> Seconds:
        self._full()
        packed = self._folder / "live.zst"
        self._time("zstd full", "zstd", "-q", "-3", "-T2", str(self._live), "-o", str(packed))
        packed.unlink()
        self._increment()
        self._restore()
        self._haulback("verify", "verify")
        self._restic("verify", "check", "--read-data")
        return self._spent

    def _full(self) -> None:
        self._haulback("init", "init")
        self._restic("init", "init")
        images_.copy(self._images.before, self._live)
        self._haulback("full", "backup", self._live)
        self._restic("full", "backup", "--force", str(self._live))

    def _increment(self) -> None:
        before = [self._used(name) for name in ("haulback", "restic")]
        images_.copy(self._images.after, self._live)
        changes = self._folder / "changes.json"
        changes.write_text(json.dumps(self._images.changes))
        self._haulback("increment", "backup", self._live, changes)
        self._restic("increment", "backup", "--force", str(self._live))
        for name, used in zip(("haulback", "restic"), before, strict=True):
            self._spent[f"{name} growth"] = self._used(name) - used

    def _restore(self) -> None:
        back, out = self._folder / "back.raw", self._folder / "out"
        self._haulback("restore", "restore", back)
        if not filecmp.cmp(back, self._images.after, shallow=False):
            sys.exit("the restored image differs")
        back.unlink()
        command = f"restic -q -r {self._folder}/restic restore latest --target {out}"
        self._time("restic restore", "sh", "-c", f"{command} && sync -f {out}")
        shutil.rmtree(out)

    def _haulback(self, name: str, step: str, *arguments: Path) -> None:
        store = str(self._folder / "haulback")
        command = (sys.executable, "-m", "benchmarks.haulback", step, store)
        self._time(f"haulback {name}", *command, *map(str, arguments))

    def _restic(self, name: str, *arguments: str) -> None:
        store = str(self._folder / "restic")
        self._time(f"restic {name}", "restic", "-q", "-r", store, *arguments)

    def _time(self, name: str, *command: str) -> None:
        os.sync()
        begun = time.monotonic()
        output = self._folder / "output"
        with open(output, "wb") as file:
            process = subprocess.Popen(command, env=self._environment, stdout=file, stderr=file)
            _, status, used = os.wait4(process.pid, 0)
        self._spent[name] = time.monotonic() - begun
        self._spent[f"{name} cpu"] = used.ru_utime + used.ru_stime
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{name} failed: {output.read_text()[-800:]}")

    def _used(self, name: str) -> int:
        files = (self._folder / name).rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file())
