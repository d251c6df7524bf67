"""`haulback repository ls` and `restore`: backups of a store, and whole machines from it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from haulback import units
from haulback.cli import repository_care
from haulback.cli.arguments import StoredFolder
from haulback.cli.output import moment, show, size, text
from haulback.cli.repository import KeyFile, Kit, app, open_repository
from haulback.cli.repository_location import FOLDER, StoreOptions
from haulback.cli.stored_backups import backup_named, readable
from haulback.contract.restores import Allocation
from haulback.drivers.capabilities import MachineTarget, capability
from haulback.drivers.free_space import free_bytes
from haulback.drivers.hypervisor import Machine, MachineDisk, MachineSource
from haulback.drivers.imagefolder.driver import ImageFolder
from haulback.drivers.libvirt import firmware
from haulback.drivers.registry import open_hypervisor
from haulback.durable_files import write_private
from haulback.errors import Damaged, Malformed, NotFound
from haulback.hypervisor_types import IMAGE_FOLDER, LIBVIRT, OWN_SERVER, is_remote
from haulback.ids import new_guid
from haulback.libvirt_xml import XML
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.texts import check_name
from haulback.transfer.power import start_restored
from haulback.transfer.restore import (
    RestoreServices,
    RestoreTarget,
    import_machine,
    wanted_of,
)
from haulback.wire import JsonObject

_COLUMNS = (
    text("backup"),
    text("machine"),
    text("type"),
    moment("time"),
    size("size"),
    size("stored"),
    text("disks"),
)
__all__ = ["app", "ls", "repository_care", "restore_command"]  # the noun and all its commands
_ATTEMPT = re.compile(r"by-hand-([0-9]{1,10})-.*")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NewMachineOptions:
    """The location and the format of a restored machine."""

    to: Annotated[Path | None, Parameter(help="Folder for the machine's own folder.")] = None
    libvirt: Annotated[str, Parameter(help="URL of a libvirt host, as qemu:///system.")] = ""
    storage: Annotated[Path, Parameter(help="Folder of the libvirt host for images.")] = Path(
        LIBVIRT.path
    )
    name: Annotated[
        str, Parameter(help="New name of the machine; the default is its name in the backup.")
    ] = ""
    format: Annotated[
        Literal["raw", "qcow2"] | None,
        Parameter(help="Format of all disks; the default is the format in the backup."),
    ] = None
    without: Annotated[list[str] | None, Parameter(help="Disk to leave out.")] = None
    overwrite: Annotated[bool, Parameter(negative="", help="Replace the machine.")] = False
    power_on: Annotated[bool, Parameter(negative="", help="Start the machine.")] = False
    allocation: Annotated[
        Allocation | None,
        Parameter(
            help="Space of all disks: only what is written, or all; the default is the space in "
            "the backup."
        ),
    ] = None

    def opened(self) -> MachineSource:
        """The driver of the target.  Raises Malformed."""
        if (self.to is None) == (not self.libvirt):
            raise Malformed("name the target: a folder by --to, or a host by --libvirt")
        if self.to is None:
            config = {"url": self.libvirt, "path": str(self.storage.absolute())}
            return open_hypervisor(LIBVIRT.driver, config)
        if self.power_on:
            raise Malformed(
                "--power-on: an image folder cannot start a machine; name a host by --libvirt"
            )
        self.to.mkdir(parents=True, exist_ok=True)
        return open_hypervisor(IMAGE_FOLDER.driver, {"path": str(self.to.absolute())})

    @property
    def images(self) -> Path | None:
        """The folder of this machine below which the images are written; None on another host."""
        if self.to is None and is_remote({"url": self.libvirt}):
            return None
        return self.to or self.storage


_NOWHERE = NewMachineOptions()


@app.command
def ls(
    folder: StoredFolder = None,
    *,
    key_file: KeyFile = None,
    kit: Kit = None,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
    store: StoreOptions = FOLDER,
) -> None:
    """List the backups in FOLDER, oldest first, with local times.

    Omit FOLDER if --type names another store.  Exits with the code of damage when a
    manifest cannot be read; the others are listed.
    """
    repository = open_repository(folder, key_file, kit, store)
    damaged: list[Damaged] = []
    manifests = sorted(readable(repository, damaged), key=lambda item: item.snapshot_time)
    if json:
        for manifest in manifests:
            print(msgspec.json.encode(manifest).decode())
    else:
        show([_row(manifest) for manifest in manifests], _COLUMNS, "table")
    if damaged:
        raise damaged[0]


@app.command(name="restore")
def restore_command(
    *place: Annotated[
        str,
        Parameter(
            help="FOLDER (not with --type) and BACKUP: guid, its beginning, or machine's name."
        ),
    ],
    key_file: KeyFile = None,
    kit: Kit = None,
    store: StoreOptions = FOLDER,
    target: NewMachineOptions = _NOWHERE,
) -> None:
    """Restore a whole machine: PLACE is FOLDER and BACKUP, or only BACKUP if --type is given.

    BACKUP is the guid of a backup or its beginning, or the name of a machine, whose newest backup
    is taken (`web`, `latest:web`). --to DIR makes a folder with `machine.json`, the images in their
    formats, and for a machine of libvirt `domain.xml` and the UEFI variables `nvram.fd`. --libvirt
    URL defines the machine on a host. An existing machine is not touched without --overwrite.
    """
    folder, backup = _place(place, store)
    repository = open_repository(folder, key_file, kit, store)
    manifest = _chosen(repository, backup)
    skip = frozenset(target.without or ())
    if unknown := sorted(skip - {disk.name for disk in manifest.disks}):
        names = ", ".join(disk.name for disk in manifest.disks)
        raise NotFound(f"--without: the backup has no disk {unknown[0]!r}; its disks are {names}")
    if target.name:
        check_name(target.name, "--name", 200)
    with closing(target.opened()) as machines:
        made = _made(repository, manifest, machines, target)
        _tell(made, machines)
        if target.power_on:
            start_restored(machines, made, replaced=target.overwrite)


def _place(words: tuple[str, ...], store: StoreOptions) -> tuple[Path | None, str]:
    if len(words) == (1 if store.kind else 2):
        return (None if store.kind else Path(words[0])), words[-1]
    raise Malformed("name FOLDER and BACKUP, or --type with its settings and BACKUP alone")


def _made(
    repository: Repository,
    manifest: Manifest,
    machines: MachineSource,
    wanted: NewMachineOptions,
) -> Machine:
    """The new machine, complete; leftovers of interrupted runs of this command are removed
    first.
    """
    if isinstance(machines, ImageFolder):
        machines.sweep(_OtherAttempts())
    target = RestoreTarget(
        f"by-hand-{os.getpid()}-{new_guid()[:8]}",
        name=wanted.name,
        format=wanted.format,
        overwrite=wanted.overwrite,
        allocate=wanted.allocation and wanted.allocation is Allocation.PREALLOCATED,
        skip=frozenset(wanted.without or ()),
    )
    if folder := wanted.images:
        _tell_space(wanted_of(manifest, target).disks, folder)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        host = capability(machines, MachineTarget)
        made = import_machine(repository, manifest, host, target, RestoreServices(pool))
    for sentence in made.left:
        print(sentence, file=sys.stderr)
    if isinstance(machines, ImageFolder):
        _describe(manifest, machines.folder_of(made.machine.uuid))
    return made.machine


def _tell_space(disks: Sequence[MachineDisk], folder: Path) -> None:
    """Print a warning if the disks may not fit into a folder; the restore refuses disks that
    cannot fit.
    """
    free, whole = free_bytes(folder), sum(disk.size for disk in disks)
    if free is not None and whole > free:
        print(
            f"{folder} has {units.size(free)} free, and the disks have {units.size(whole)}: the "
            "restore ends with an error if their data does not fit",
            file=sys.stderr,
        )


def _describe(manifest: Manifest, folder: Path) -> None:
    """Write the libvirt definition and the UEFI variables into the folder of the images, for other
    tools.
    """
    xml = manifest.definition.get(XML)
    for name in ("domain.xml", firmware.FILE):
        (folder / name).unlink(missing_ok=True)
    if isinstance(xml, str):
        write_private(folder / "domain.xml", xml.encode())
    firmware.write(manifest.definition, folder)


def _tell(made: Machine, machines: MachineSource) -> None:
    where = machines.folder_of(made.uuid) if isinstance(machines, ImageFolder) else made.uuid
    print(f"{made.name}\t{where}")
    for disk in made.disks:
        print(f"{disk.name}\t{disk.format}\t{disk.size}")


def _chosen(repository: Repository, wanted: str) -> Manifest:
    """The backup of a machine that a word names.  Raises NotFound, Malformed."""
    manifest = backup_named(repository, wanted)
    if manifest.definition.get("type") == OWN_SERVER.driver:
        raise Malformed(
            f"backup {manifest.backup} holds the database of a server, which is no machine: use "
            "haulback server restore-database"
        )
    return manifest


class _OtherAttempts(Set[str]):
    """Names of attempts that are not interrupted runs of this command."""

    def __contains__(self, name: object) -> bool:
        run = _ATTEMPT.fullmatch(str(name))
        return run is None or Path(f"/proc/{run[1]}").exists()

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _row(manifest: Manifest) -> JsonObject:
    return {
        "backup": manifest.backup,
        "machine": manifest.entity_name,
        "type": manifest.type,
        "time": manifest.snapshot_time,
        "size": sum(disk.map.size for disk in manifest.disks),
        "stored": manifest.stored,
        "disks": [f"{disk.name} ({disk.format})" for disk in manifest.disks],
    }
