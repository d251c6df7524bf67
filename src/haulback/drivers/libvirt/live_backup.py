"""Backup of a running machine: a pull-mode backup job, NBD exports, and a checkpoint."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import msgspec

from haulback.drivers.auto_close import ClosesAtExit
from haulback.drivers.hypervisor import DiskView, Machine
from haulback.drivers.images.image_reader import DirtyExtents, TrackingBitmap
from haulback.drivers.libvirt.cleanup import SOCKET
from haulback.drivers.libvirt.connection import BrokenCheckpoint, Domain
from haulback.drivers.libvirt.domain import DomainDisk
from haulback.drivers.nbd import ALLOCATION, connect, dirty_bitmap
from haulback.errors import HaulbackError, SourceChanged, Unavailable
from haulback.libvirt_xml import parse

_BITMAP = "changed"  # name under which QEMU exports the bitmap of changes
_AGENT = "devices/channel/target[@name='org.qemu.guest_agent.0'][@state='connected']"


class DiskRead(NamedTuple):
    """Read plan of a disk: only changes since `base`, or the whole disk for the given `reason`."""

    volume: DomainDisk
    size: int
    base: str | None
    reason: str | None


class BackupJob(NamedTuple):
    """A started backup job: how each disk is read, the checkpoint, and the folder of the job.

    `folder` holds the NBD socket and QEMU's scratch files. `frozen` is set if the file systems of
    the guest were frozen at the moment of the snapshot.
    """

    reads: Sequence[DiskRead]
    checkpoint: str
    folder: Path
    frozen: bool


class RunningSnapshot(ClosesAtExit):
    """A Snapshot of a running machine."""

    def __init__(self, domain: Domain, machine: Machine, job: BackupJob) -> None:
        reads, checkpoint, folder = job.reads, job.checkpoint, job.folder
        self.consistency = "APPLICATION" if job.frozen else "CRASH"
        self.machine, self._domain, self._folder = machine, domain, folder
        self.checkpoint = checkpoint if any(tracked(read.volume) for read in reads) else None
        # Closed in reverse order: the NBD exports, the backup job, the folder of the job.
        self._open = ExitStack()
        self._open.callback(shutil.rmtree, folder, ignore_errors=True)
        self._open.callback(domain.end_backup)
        try:
            self._views = [self._view(read) for read in reads]
        except BaseException:
            with suppress(HaulbackError):
                self._open.close()
            if self.checkpoint:
                forget(domain, self.checkpoint)
            raise

    def views(self) -> list[DiskView]:
        return self._views

    def close(self) -> None:
        self._open.close()

    def _view(self, read: DiskRead) -> DiskView:
        device = read.volume.device
        contexts = [ALLOCATION, *([dirty_bitmap(_BITMAP)] if read.base else [])]
        export = connect(str(self._folder / "nbd"), device, contexts)
        self._open.callback(export.close)
        if export.size != read.size or (read.base and not export.offers(contexts[-1])):
            raise Unavailable(
                f"{self.machine.name}: the export of {device} has the wrong size or no bitmap"
            )
        disk = next(disk for disk in self.machine.disks if disk.name == read.volume.name)
        changed = DirtyExtents(export, _BITMAP) if read.base else None
        return DiskView(disk, export, changed, read.reason)


def end_abandoned(domain: Domain) -> None:
    """End a backup job that a dead attempt left.

    A running job of Haulback is a leftover, because one task at a time works on a machine. Raises
    SourceChanged for a job of another program, Unavailable when libvirt does not answer.
    """
    running = domain.backup()
    if running is None and domain.is_stuck():
        raise Unavailable(
            f"{domain.name}: libvirt was killed at the start of a backup and now waits "
            "forever for the end of that backup; shut the machine down, restart "
            "libvirtd, and start the machine again"
        )
    if running and not SOCKET.search(running):
        raise SourceChanged(
            f"{domain.name}: another program is backing the machine up; wait for the end of "
            "that backup"
        )
    if running:
        domain.end_backup()


def tracked(volume: DomainDisk) -> bool:
    """Whether the disk's image can store a dirty bitmap."""
    return volume.format == "qcow2"


def has_agent(live: str) -> bool:
    """Whether the guest agent is connected, by the machine's current XML."""
    return parse(live).find(_AGENT) is not None


def plan(
    domain: Domain, sized: Sequence[tuple[DomainDisk, int]], base: str | None
) -> list[DiskRead]:
    """Decide how to read each disk, by libvirt's record of the base checkpoint."""
    recorded = recorded_sizes(domain, base) if base else {}
    return [_read(volume, size, base, recorded) for volume, size in sized]


def recorded_sizes(domain: Domain, checkpoint: str) -> dict[str, int]:
    """Sizes of a checkpoint's disks at that time, by device; empty for an unknown checkpoint."""
    try:
        said = parse(domain.checkpoint(checkpoint)).findtext("description", "")
        return msgspec.json.decode(said, type=dict[str, int])
    except (BrokenCheckpoint, msgspec.MsgspecError):
        return {}


def _read(volume: DomainDisk, size: int, base: str | None, recorded: dict[str, int]) -> DiskRead:
    if base is None:
        return DiskRead(volume, size, None, "there is no earlier checkpoint to build on")
    if not tracked(volume):
        return DiskRead(
            volume, size, None, f"{volume.format} images have no changed-block tracking"
        )
    if volume.device not in recorded:
        why = f"{volume.name} has no record of changes since {base}"
        return DiskRead(volume, size, None, why)
    if recorded[volume.device] != size:
        return DiskRead(volume, size, None, f"{volume.name} was resized since {base}")
    return DiskRead(volume, size, base, None)


def begin(
    domain: Domain, reads: Sequence[DiskRead], checkpoint: str, folder: Path
) -> list[DiskRead]:
    """Start the backup job; returns how each disk is read.

    Disks whose record of changes is missing or broken are read whole; the others are not affected.
    """
    wanted = list(reads)
    try:
        _begin(domain, wanted, checkpoint, folder)
    except BrokenCheckpoint:
        wanted = [_proved(domain, read, folder) for read in wanted]
        _begin(domain, wanted, checkpoint, folder)
    return wanted


def _proved(domain: Domain, read: DiskRead, folder: Path) -> DiskRead:
    """The same plan if QEMU accepts this disk's record of changes, else a plan to read it whole."""
    if read.base is None:
        return read
    try:
        _begin(domain, [read], None, folder)
    except BrokenCheckpoint:
        why = f"the record of changes of {read.volume.name} since {read.base} is lost or broken"
        return read._replace(base=None, reason=why)
    domain.end_backup()
    return read


def _begin(domain: Domain, reads: Sequence[DiskRead], checkpoint: str | None, folder: Path) -> None:
    with suppress(FileNotFoundError):
        (folder / "nbd").unlink()
    marks = checkpoint_xml(checkpoint, [(r.volume, r.size) for r in reads]) if checkpoint else None
    try:
        domain.begin_backup(_backup_xml(reads, folder), marks)
    except Unavailable:
        if busy := [read.volume.name for read in reads if domain.has_job(read.volume.device)]:
            raise Unavailable(
                f"{domain.name}: a block job that Haulback did not start (commit, copy or "
                f"pull) runs on {', '.join(busy)}; wait for the end of the block job"
            ) from None
        raise


def _backup_xml(reads: Sequence[DiskRead], folder: Path) -> str:
    root = ET.Element("domainbackup", {"mode": "pull"})
    ET.SubElement(root, "server", {"transport": "unix", "socket": str(folder / "nbd")})
    disks = ET.SubElement(root, "disks")
    for read in reads:
        device = read.volume.device
        how = {"backupmode": "full"}
        if read.base:
            how = {"backupmode": "incremental", "incremental": read.base, "exportbitmap": _BITMAP}
        more = {"name": device, "backup": "yes", "type": "file", "exportname": device, **how}
        disk = ET.SubElement(disks, "disk", more)
        ET.SubElement(disk, "driver", {"type": "qcow2"})
        ET.SubElement(disk, "scratch", {"file": str(folder / f"{device}.scratch")})
    return ET.tostring(root, encoding="unicode")


def checkpoint_xml(
    name: str, sized: Sequence[tuple[DomainDisk, int]], definition: str | None = None
) -> str | None:
    """XML of a checkpoint for all disks that can track changes; None without such disks.

    With `definition`, the machine's XML, it can be registered after its bitmaps were created.
    """
    able = {volume.device: size for volume, size in sized if tracked(volume)}
    if not able:
        return None
    root = ET.Element("domaincheckpoint")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "description").text = msgspec.json.encode(able).decode()
    disks = ET.SubElement(root, "disks")
    for volume, _ in sized:
        how = {"checkpoint": "bitmap", "bitmap": TrackingBitmap(name, None).bitmap}
        more = how if volume.device in able else {"checkpoint": "no"}
        ET.SubElement(disks, "disk", {"name": volume.device, **more})
    if definition is not None:
        ET.SubElement(root, "creationTime").text = str(int(time.time()))
        root.append(parse(definition))
    return ET.tostring(root, encoding="unicode")


def forget(domain: Domain, checkpoint: str) -> None:
    """Delete a checkpoint with its bitmaps, or only its registration if the bitmaps are gone."""
    try:
        domain.delete_checkpoint(checkpoint, only_forget=not domain.is_active)
    except HaulbackError:
        with suppress(BrokenCheckpoint):
            domain.delete_checkpoint(checkpoint, only_forget=True)


def make_folder(folder: Path, like: Path | None) -> None:
    """Create a private folder with the owner of the images, as which QEMU writes to it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    if like is not None:
        owner = os.stat(like)
        if owner.st_uid != os.geteuid():
            os.chown(folder, owner.st_uid, owner.st_gid)
