"""`haulback demo`: backup and restore of real data, verified by a hash."""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from haulback import credentials, units
from haulback.cli import demo_guest
from haulback.cli.output import print_table
from haulback.cli.repository_keys import key_of
from haulback.cli.repository_location import open_location
from haulback.cli.watch import follow
from haulback.client.client import Client
from haulback.clock import SystemClock
from haulback.contract import export, import_machine
from haulback.contract.backups import BackupType
from haulback.contract.hypervisors import NewHypervisor
from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.drivers.source import RawImage
from haulback.errors import Damaged, Malformed, Unavailable
from haulback.repository.keys import Secret
from haulback.repository.repository import Repository
from haulback.repository.resources import Resources
from haulback.repository.verify import Depth, verify
from haulback.wire import Ref

app = App(name="demo")
_SOURCES = ("/usr/lib", "/usr/share", "/usr/bin")
_CHANGE = 512 * units.KIB


class _Row(NamedTuple):
    """A row of the closing table: bytes read and stored, and seconds."""

    what: str
    read: int
    stored: int
    took: float


@app.default
def demo(
    *,
    data: Annotated[Path | None, Parameter(help="New folder for all files of the demo.")] = None,
    megabytes: Annotated[int, Parameter(help="MiB of real data on the machine.")] = 400,
    once: Annotated[bool, Parameter(negative="", help="Leave nothing behind.")] = False,
    running: Annotated[bool, Parameter(negative="", help="Use a running guest.")] = False,
) -> None:
    """The command `haulback demo`."""
    if running:
        demo_guest.check()
    if megabytes < 1:
        raise Malformed("--megabytes: give a number of at least 1")
    if data and once:
        raise Malformed("--once removes everything at the end; leave it out to keep --data")
    if data and data.exists():
        raise Malformed(f"--data: {data} exists already; name a new folder")
    folder = data or Path(tempfile.mkdtemp(prefix="haulback-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    server = _Server(folder.absolute())
    keep = False
    try:
        if running:
            demo_guest.run(server.start())
        else:
            _Demo(folder.absolute(), megabytes, server).run()
        keep = not once and not running
    finally:
        if not keep:
            server.stop()
        if once or (running and not data):
            shutil.rmtree(folder)
    if keep:
        server.leave()


class _Server:
    """A `haulback up` process as a user runs it, with a generated password."""

    def __init__(self, folder: Path) -> None:
        self.data, self.password = folder / "data", secrets.token_urlsafe(9)
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> Client:
        """Start the server, wait until it listens, and log in as admin.  Raises Unavailable with
        the end of its log.
        """
        command = [sys.executable, "-m", "haulback", "up", "--data", str(self.data), "--port", "0"]
        command += ["--password-file", "-"]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=credentials.for_children(),
                start_new_session=True,
            )
        assert self._process.stdin
        assert self._process.stdout
        # the log gives the reason of the end
        with suppress(BrokenPipeError), self._process.stdin as told:
            told.write(f"{self.password}\n".encode())
        line = self._process.stdout.readline().decode()
        if not line.startswith("Haulback listens at "):
            raise Unavailable(f"the server did not start: {self._log.read_text()[-500:]}")
        self.url = line.rpartition(" ")[2].strip()
        client = Client(self.url)
        client.log_in("admin", self.password)
        return client

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(30)
            assert self._process.stdout
            self._process.stdout.close()

    def leave(self) -> None:
        """Print how to continue with the running server."""
        assert self._process
        print(f"The server keeps running at {self.url} (admin, password {self.password}).")
        print(f"  export HAULBACK_SERVER={self.url} HAULBACK_ADMIN_PASSWORD={self.password}")
        command = Path(sys.executable).with_name("haulback")
        print(f"  {command} task ls; {command} backup ls")
        print(
            f"  kill {self._process.pid}    # stops the server; all its data is in "
            f"{self.data.parent}"
        )


class _Demo:
    """The steps of the demo, one method each.  `self.twin` is a raw copy that Haulback never
    reads.
    """

    def __init__(self, folder: Path, megabytes: int, server: _Server) -> None:
        self.folder, self.bytes, self.server = folder, megabytes * units.MIB, server
        self.say = Console(highlight=False)
        self.clock, self.rows = SystemClock(), list[_Row]()
        self.twin = folder / "twin.raw"
        self.format = "qcow2" if shutil.which("qemu-img") and shutil.which("qemu-nbd") else "raw"
        (folder / "machines").mkdir()
        self.machines = ImageFolder(folder / "machines")

    def run(self) -> None:
        self.say.print(
            "[bold]Haulback demo[/]: a machine is backed up, changed, destroyed and restored"
        )
        self.say.print(f"  {units.size(self.bytes)} of real files of this machine are copied ...")
        machine = self.build()
        self.say.print("  server and node are started ...")
        self.client = self.server.start()
        self.say.print(f"  server and node are running at {self.server.url}")
        hypervisor, entity = self.register()
        self.back_up(entity, BackupType.FULL)
        self.change(machine)
        expected = self.fingerprint()
        backup = self.back_up(entity, BackupType.INCREMENTAL)
        self.machines.remove(machine.uuid)
        left = len(self.machines.inventory().machines)
        self.say.print(f"  the machine is destroyed: machines left in the folder: {left}")
        self.bring_back(backup, hypervisor)
        self.check_backups()
        self.table()
        [back] = self.machines.inventory().machines
        self.prove(back, expected)

    def build(self) -> Machine:
        """Create a machine whose disk has a file system with real files."""
        size = _fill(self.twin, self.folder, self.bytes)
        wanted = Machine(
            "", "demo", (MachineDisk("disk0", size, self.format),), {"memory_mib": 512}
        )
        image = RawImage(self.twin)
        self.say.print(f"  a disk of {units.size(size)} is made of these files ...")
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

    def register(self) -> tuple[str, str]:
        """Add the folder of machines as a hypervisor; return its guid and the machine's guid."""
        place = NewHypervisor(name="demo", path=str(self.folder / "machines"))
        added = self.client.hypervisors.add(place)
        assert added.task
        follow(self.client, added.task.guid, self.say)
        [machine] = self.client.machines.all()
        return added.guid, machine.guid

    def back_up(self, entity: str, kind: BackupType) -> str:
        """Back up the machine by EXPORT and STORE; return the backup's guid."""
        started = self.clock.monotonic()
        request = export.ExportRequest(protectedEntities=[Ref(entity)], backupType=kind)
        [task] = self.client.tasks.export(request)
        follow(self.client, task.guid, self.say)
        took = self.clock.monotonic() - started
        assert task.backup
        backup = self.client.backups.get(task.backup.guid)
        if backup.type.name != kind.value:
            raise Damaged(f"the backup is {backup.type.name} instead of {kind.value}")
        label = "full backup" if kind is BackupType.FULL else "increment"
        self.rows.append(_Row(label, backup.transferredSize, backup.storedSize, took))
        return backup.guid

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

    def bring_back(self, backup: str, hypervisor: str) -> None:
        """Restore the machine through RESTORE and IMPORT."""
        started = self.clock.monotonic()
        request = import_machine.ImportMachineRequest(
            backup=Ref(backup), hypervisor=Ref(hypervisor)
        )
        head = self.client.tasks.restore_and_import(request)
        plan = follow(self.client, head.guid, self.say)
        samples = [task.dataTransferRate for task in plan if task.type.name == "IMPORT"]
        moved = max(((sample and sample.transferredBytes) or 0 for sample in samples), default=0)
        took = self.clock.monotonic() - started
        self.rows.append(_Row("restore and import", moved, 0, took))

    def check_backups(self) -> None:
        """Read all stored data again with only the folder and its key."""
        started = self.clock.monotonic()
        [place] = self.client.destinations.all()
        key = bytes.fromhex(key_of(self.server.data, "", place.name))
        repository = Repository.open(open_location(Path(place.path)), Secret("keyfile", key))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            report = verify(repository, Depth(3), Resources(pool))
        if not report.ok:
            raise Damaged(f"verify found damage: {report.findings[0]}")
        self.rows.append(_Row("verify all", report.bytes, 0, self.clock.monotonic() - started))

    def fingerprint(self) -> str:
        return _sha256(self.twin)

    def image_of(self, machine: Machine) -> Path:
        """The only image in the machine's folder."""
        folder = self.folder / "machines" / machine.name
        return next(path for path in folder.iterdir() if path.suffix != ".json")

    def prove(self, machine: Machine, expected: str) -> None:
        image = self.image_of(machine)
        if self.format == "qcow2":
            plain = self.folder / "came-back.raw"
            _call("qemu-img", "convert", "-O", "raw", str(image), str(plain))
            image = plain
        actual = _sha256(image)
        self.say.print(f"  lost      {expected}\n  came back {actual}")
        if actual != expected:
            raise Damaged("the restored machine differs from the destroyed one")
        self.say.print("[bold green]identical[/]: every byte was restored")

    def table(self) -> None:
        table = Table(
            "step", "moved", "stored", "saved", "took", title="Bytes and time of each step"
        )
        for row in self.rows:
            saved = f"{1 - row.stored / row.read:.0%}" if row.stored and row.read else "-"
            stored = units.size(row.stored) if row.stored else "-"
            table.add_row(row.what, units.size(row.read), stored, saved, units.duration(row.took))
        print_table(self.say, table)


def _fill(image: Path, folder: Path, wanted: int) -> int:
    """Make `image` from real files of this machine; return its size in bytes."""
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
    """Copy readable files of this machine below `tree` until `wanted` bytes are copied."""
    copied = 0
    for top in _SOURCES:
        for folder, _, names in os.walk(top):
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
    """Write through QEMU, as a guest would, so that the image's dirty bitmap records the write."""
    commands: list[str] = []
    scratch.mkdir()
    for offset, data in patches:
        file = scratch / str(offset)
        file.write_bytes(data)
        commands += ["-c", f"write -q -s {file} {offset} {len(data)}"]
    _call("qemu-io", "-f", "qcow2", *commands, str(image))
    shutil.rmtree(scratch)


def _call(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env=credentials.for_children(), check=False
    )
    if done.returncode:
        raise Unavailable(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
