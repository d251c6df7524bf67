"""`haulback demo`: the main job on real input, narrated, and proved by a hash."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from haulback import units
from haulback.clock import SystemClock
from haulback.destinations.folder import Folder
from haulback.drivers.hypervisor import Disk, DiskView, Machine
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.drivers.source import RawImage
from haulback.errors import Damaged, Malformed, Unavailable
from haulback.repository.backup import Meter
from haulback.repository.keys import Secret, make_keyfile
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.verify import Depth, verify
from haulback.transfer.bring_back import Target, import_machine
from haulback.transfer.export import Wanted, export_machine
from haulback.transfer.store import store_machine

app = App(name="demo", help="Back up, change, destroy and bring back a machine; prove every byte.")
_ROOMS = ("/usr/lib", "/usr/share", "/usr/bin")
_CHANGE = 512 * units.KIB


class _Row(NamedTuple):
    """One line of the closing table: bytes read and stored, and seconds."""

    what: str
    read: int
    stored: int
    took: float


@app.default
def demo(
    *,
    data: Annotated[Path | None, Parameter(help="Keep everything below this new folder.")] = None,
    megabytes: Annotated[int, Parameter(help="How much real data the machine holds.")] = 400,
    once: Annotated[bool, Parameter(negative="", help="Leave nothing behind.")] = False,
) -> None:
    """Exits with 0 only if the machine that came back is identical, byte for byte."""
    if megabytes < 1:
        raise Malformed("--megabytes: at least 1")
    if data and once:
        raise Malformed("--once leaves nothing behind; leave it out to keep --data")
    if data and data.exists():
        raise Malformed(f"--data: {data} exists already; name a new folder")
    folder = data or Path(tempfile.mkdtemp(prefix="haulback-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _Demo(folder, megabytes).run()
    finally:
        if once:
            shutil.rmtree(folder)
    if not once:
        print(f"Look around: haulback repository ls {folder}/backups --key-file {folder}/key")


class _Demo:
    """The story, one method a scene.  `self.twin` is a raw copy that Haulback never sees."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder, self.bytes = folder, megabytes * units.MIB
        self.say = Console(highlight=False)
        self.clock, self.rows = SystemClock(), list[_Row]()
        self.twin = folder / "twin.raw"
        self.format = "qcow2" if shutil.which("qemu-img") and shutil.which("qemu-nbd") else "raw"
        (folder / "machines").mkdir()
        (folder / "backups").mkdir()
        self.machines = ImageFolder(folder / "machines")

    def run(self) -> None:
        self.say.print(
            "[bold]Haulback demo[/]: a machine is backed up, changed, lost, brought back"
        )
        make_keyfile(self.folder / "key")
        secret = Secret.keyfile(self.folder / "key")
        self.repository = Repository.init(Folder(self.folder / "backups"), secret)
        with ThreadPoolExecutor(os.cpu_count()) as self.pool:
            machine = self.build()
            first, checkpoint = self.back_up(machine, "full backup", None, None)
            self.change(machine)
            expected = self.fingerprint()
            second, _ = self.back_up(machine, "increment", first.backup, checkpoint)
            self.machines.remove(machine.uuid)
            self.say.print(
                f"  the machine is destroyed: {len(self.machines.inventory().machines)} left"
            )
            back = self.bring_back(second)
            self.check_backups()
        self.table()
        self.prove(back, expected)

    def build(self) -> Machine:
        """A disk with a file system of real files, imported as a machine."""
        size = _fill(self.twin, self.folder, self.bytes)
        wanted = Machine("", "demo", (Disk("disk0", size, self.format),), {"memory_mib": 512})
        image = RawImage(self.twin)
        try:
            with self.machines.create(wanted, "demo-build") as new:
                for extent in image.extents():
                    end = extent.offset + extent.length
                    for offset in range(extent.offset, end, units.MIB):
                        block = bytearray(min(units.MIB, end - offset))
                        image.read_into(offset, memoryview(block))
                        new.sink("disk0").write_at(offset, bytes(block))
                machine = new.commit()
        finally:
            image.close()
        self.say.print(f"  machine [b]{machine.name}[/]: {units.size(size)} {self.format} disk")
        return machine

    def back_up(
        self, machine: Machine, what: str, base: str | None, checkpoint: str | None
    ) -> tuple[Manifest, str | None]:
        started = self.clock.monotonic()
        staging = self.folder / "staging" / what.replace(" ", "-")
        staging.mkdir(parents=True)
        wanted = Wanted(str(uuid.uuid4()), machine.uuid, self.clock.now_ms())
        with (
            self.machines.snapshot(machine.uuid, wanted.backup, checkpoint) as snapshot,
            self.meter(what, _expected(snapshot.views())) as meter,
        ):
            mark = snapshot.checkpoint
            draft = export_machine(
                snapshot, self.repository, staging, wanted, self.pool, base=base, meter=meter
            )
        manifest = store_machine(self.repository, staging, draft)
        self.machines.drop_checkpoints(machine.uuid, {mark} if mark else set())
        took = self.clock.monotonic() - started
        self.rows.append(_Row(what, manifest.read, manifest.stored, took))
        return manifest, mark

    def change(self, machine: Machine) -> None:
        """Overwrite about 3 % of the disk, in the machine and in its twin."""
        size = self.twin.stat().st_size
        chance = random.Random(20)
        spots = sorted(chance.sample(range(size // _CHANGE), max(1, size // _CHANGE * 3 // 100)))
        patches = [(spot * _CHANGE, chance.randbytes(_CHANGE)) for spot in spots]
        _patch_raw(self.twin, patches)
        image = self.image_of(machine)
        if self.format == "raw":
            _patch_raw(image, patches)
        else:
            _patch_qcow2(image, patches, self.folder / "patch")
        self.say.print(f"  changed {units.size(len(patches) * _CHANGE)} in {len(patches)} places")

    def bring_back(self, manifest: Manifest) -> Machine:
        started = self.clock.monotonic()
        total = sum(disk.map.size for disk in manifest.disks)
        written = 0

        def count(more: int) -> None:
            nonlocal written
            written += more
            meter(more)

        with self.meter("restore and import", total) as meter:
            back = import_machine(
                self.repository,
                manifest.backup,
                self.machines,
                "demo-import",
                Target(),
                self.pool,
                count,
            )
        self.rows.append(_Row("restore and import", written, 0, self.clock.monotonic() - started))
        return back

    def check_backups(self) -> None:
        started = self.clock.monotonic()
        report = verify(self.repository, Depth(3), self.pool)
        if not report.ok:
            raise Damaged(f"verify found damage: {report.findings[0]}")
        self.rows.append(_Row("verify all", report.bytes, 0, self.clock.monotonic() - started))

    def fingerprint(self) -> str:
        return _sha256(self.twin)

    def image_of(self, machine: Machine) -> Path:
        """The one image below the machine's folder."""
        folder = self.folder / "machines" / machine.name
        return next(path for path in folder.iterdir() if path.suffix != ".json")

    def prove(self, machine: Machine, expected: str) -> None:
        found = self.image_of(machine)
        if self.format == "qcow2":
            plain = self.folder / "came-back.raw"
            _call("qemu-img", "convert", "-O", "raw", str(found), str(plain))
            found = plain
        actual = _sha256(found)
        self.say.print(f"  lost      {expected}\n  came back {actual}")
        if actual != expected:
            raise Damaged("the machine that came back differs from the one that was lost")
        self.say.print("[bold green]identical[/]: every byte came back")

    def table(self) -> None:
        table = Table("step", "moved", "stored", "saved", "took", title="What it cost")
        for row in self.rows:
            saved = f"{1 - row.stored / row.read:.0%}" if row.stored and row.read else "-"
            stored = units.size(row.stored) if row.stored else "-"
            table.add_row(row.what, units.size(row.read), stored, saved, units.duration(row.took))
        self.say.print(table)

    @contextmanager
    def meter(self, what: str, total: int) -> Iterator[Meter]:
        """A progress line with rate and ETA."""
        columns = (
            TextColumn("  {task.description:20}"),
            BarColumn(24),
            DownloadColumn(binary_units=True),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        started = self.clock.monotonic()
        with Progress(*columns, console=self.say) as progress:
            bar = progress.add_task(what, total=total, rate="")

            def meter(count: int) -> None:
                done = progress.tasks[bar].completed + count
                rate = units.rate(done / max(self.clock.monotonic() - started, 1e-6))
                progress.update(bar, advance=count, rate=rate)

            yield meter
            # Only an estimate until here: holes are skipped, changes widened to whole chunks.
            progress.update(bar, total=progress.tasks[bar].completed)


def _expected(views: list[DiskView]) -> int:
    """Bytes that a backup of these disks has to read, before they are widened to whole chunks."""
    extents = (v.source.extents() if v.changed is None else v.changed for v in views)
    return sum(extent.length for one in extents for extent in one)


def _fill(image: Path, folder: Path, wanted: int) -> int:
    """Make `image` from real files of this machine; its size in bytes."""
    tree = folder / "tree"
    copied = _copy_some(tree, wanted)
    size = -(-(copied * 3 // 2 + 64 * units.MIB) // units.MIB) * units.MIB
    mke2fs = shutil.which("mke2fs", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    with open(image, "xb") as file:
        file.truncate(size)
        if mke2fs is None:
            for path in sorted(tree.rglob("*")):
                file.write(path.read_bytes())
    if mke2fs:
        _call(mke2fs, "-q", "-F", "-t", "ext4", "-d", str(tree), str(image))
    shutil.rmtree(tree)
    return size


def _copy_some(tree: Path, wanted: int) -> int:
    """Copy readable files of this machine below `tree` until `wanted` bytes are there."""
    copied = 0
    for room in _ROOMS:
        for folder, _, names in os.walk(room):
            target = tree / folder.lstrip("/")
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
                    continue
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / name)
                copied += path.stat().st_size
                if copied >= wanted:
                    return copied
    return copied


def _patch_raw(image: Path, patches: list[tuple[int, bytes]]) -> None:
    with open(image, "r+b") as file:
        for offset, data in patches:
            file.seek(offset)
            file.write(data)


def _patch_qcow2(image: Path, patches: list[tuple[int, bytes]], scratch: Path) -> None:
    """Through QEMU, as a guest would: so the image's own dirty bitmap sees it."""
    commands: list[str] = []
    scratch.mkdir()
    for offset, data in patches:
        file = scratch / str(offset)
        file.write_bytes(data)
        commands += ["-c", f"write -q -s {file} {offset} {len(data)}"]
    _call("qemu-io", "-f", "qcow2", *commands, str(image))
    shutil.rmtree(scratch)


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
