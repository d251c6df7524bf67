"""`haulback demo --running`: backup of a writing guest, its loss, and its restore."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from haulback.cli.watch import follow
from haulback.client.client import Client
from haulback.contract import export, import_machine, prove
from haulback.contract.backups import BackupType
from haulback.contract.hypervisors import NewHypervisor
from haulback.errors import Damaged, Unsupported
from haulback.testing import guest as guests
from haulback.testing import libvirt_lab
from haulback.testing.guest import Guest
from haulback.wire import Ref

_WRITES = "while :; do dd if=/dev/urandom of=/mnt/busy bs=64k count=16; sync; done >/dev/null 2>&1"


class _Known(NamedTuple):
    """Guids of the demo's objects on the server."""

    hypervisor: str
    machine: str


def check() -> None:
    """Check the requirements of this machine.  Raises Unsupported, naming the missing ones."""
    if lack := libvirt_lab.missing() or guests.missing():
        raise Unsupported(f"--running boots a guest on its own libvirt; install {lack} first")


def run(client: Client) -> None:
    """Run the demo.  Raises Damaged when the restored guest differs from the original."""
    # The folder is not in --data, because paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="haulback-lab-") as folder:
        _run(Path(folder), client, Console(highlight=False))


def _run(folder: Path, client: Client, say: Console) -> None:
    say.print(
        "[bold]Haulback demo[/]: a guest is backed up while it writes, is "
        "destroyed, and boots again"
    )
    with libvirt_lab.lab(folder / "host") as host:
        guest = Guest(host, "demo")
        guest.make(hello="I am the guest of the demo")
        guest.start()
        say.print(f"  the guest is up: {guest.console().split('GUEST-READY')[0].strip()}")
        known = _register(host, client, say)
        guest.run("dd if=/dev/urandom of=/mnt/a bs=1M count=12 2>/dev/null; sync")
        _back_up(known, BackupType.FULL, client, say)
        guest.run("dd if=/dev/urandom of=/mnt/b bs=64k count=8 2>/dev/null; sync")
        guest.run(f"{_WRITES} &")
        lost = guest.run("sha256sum /mnt/a /mnt/b")
        backup = _back_up(known, BackupType.INCREMENTAL, client, say)
        _prove(backup, client, say)
        guest.dies()
        say.print("  the guest and its disks are destroyed")
        request = import_machine.ImportMachineRequest(
            backup=Ref(backup), hypervisor=Ref(known.hypervisor), powerOnAfterRestore=True
        )
        follow(client, client.tasks.restore_and_import(request).guid, say)
        again = Guest(host, "demo", guest.uuid)
        words = again.wait_ready().split("GUEST-READY")[0].strip()
        say.print(f"  it boots again: {words}")
        back = again.run("sha256sum /mnt/a /mnt/b")
    say.print(f"  original\n{lost}  restored\n{back}", end="")
    if back != lost:
        raise Damaged("the restored guest differs from the destroyed one")
    say.print("[bold green]identical[/]: every byte was restored, and the guest runs")


def _register(host: libvirt_lab.LibvirtLab, client: Client, say: Console) -> _Known:
    place = NewHypervisor(name="libvirt", url=host.uri, path=str(host.storage))
    added = client.hypervisors.add(place)
    assert added.task
    follow(client, added.task.guid, say)
    [machine] = client.machines.all()
    return _Known(added.guid, machine.guid)


def _back_up(known: _Known, kind: BackupType, client: Client, say: Console) -> str:
    request = export.ExportRequest(protectedEntities=[Ref(known.machine)], backupType=kind)
    [task] = client.tasks.export(request)
    follow(client, task.guid, say)
    assert task.backup
    found = client.backups.get(task.backup.guid)
    how = found.consistency.name if found.consistency else "unknown"
    say.print(f"  {found.type.name.lower()} backup of the running guest, consistency {how}")
    return found.guid


def _prove(backup: str, client: Client, say: Console) -> None:
    task = client.tasks.prove(prove.ProveRequest(Ref(backup), script="ls /mnt/a /mnt/b"))
    follow(client, task.guid, say)
    proof = client.backups.proof(backup)
    say.print(f"  proved: {proof.level.name}, signature {'valid' if proof.valid else 'INVALID'}")
