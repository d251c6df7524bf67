"""Repositories of many backups without data, as a lost server left them, with an extract."""

from __future__ import annotations

import random
import uuid
from pathlib import Path

from haulback.contract.catalogue import CatalogueItem
from haulback.destinations.folder import Folder
from haulback.destinations.protocol import ObjectStore
from haulback.durable_files import DurableFiles
from haulback.repository.extracts import ExtractOrigin
from haulback.repository.keys import Secret
from haulback.repository.manifest import Manifest, ManifestDisk, encode
from haulback.repository.manifest import name_of as manifest_name
from haulback.repository.pages import HOLE, DiskMap, depth_for
from haulback.repository.repository import Repository
from haulback.units import DAY_MS, GIB, MIB
from haulback.wire import JsonObject

SECRET = Secret("keyfile", bytes(32))
DISK = 40 * GIB  # size of each disk
NOW = 1_790_000_000_000
_OF_MACHINE = 50  # backups of one machine
_XML = "<domain type='kvm'>" + "<controller type='usb' index='0' model='qemu-xhci'/>" * 120


class _NoSync(DurableFiles):
    """Files that need not survive a power failure."""

    def write_file(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)

    def sync_folder(self, path: Path) -> None:
        """Let the system write the folder."""


def vault(folder: Path, backups: int, seed: int = 1) -> Repository:
    """A repository with manifests of 6 KiB definitions, and a whole extract."""
    folder.mkdir(parents=True)
    return fill(Folder(folder, _NoSync()), backups, seed)


def fill(destination: ObjectStore, backups: int, seed: int = 1) -> Repository:
    """A new repository like a lost one, on any store."""
    repository = Repository.init(destination, SECRET)
    dice, items = random.Random(seed), []
    for number in range(backups):
        machine = number // _OF_MACHINE
        entity = str(uuid.UUID(int=(seed << 20) + machine, version=4))
        manifest = _manifest(entity, f"machine-{machine:04d}", number, dice)
        sealed = encode(manifest, repository.keys)
        repository.destination.store(manifest_name(manifest.backup), sealed)
        facts: JsonObject = {"entity": entity, "hint": "ARCHIVE", "level": "VERIFIED"}
        facts |= {"policy": "nightly"}
        facts |= {"created": manifest.snapshot_time, "keep_until": NOW + 99 * DAY_MS}
        items.append(CatalogueItem("backup", manifest.backup, facts))
        if number % _OF_MACHINE == 0:
            about = {"uuid": entity, "name": manifest.entity_name, "hypervisor": "hv"}
            items.append(CatalogueItem("entity", entity, about))
    repository.extracts.write(ExtractOrigin("old", NOW, "old", "old"), items, lambda _: True)
    return repository


def _manifest(entity: str, name: str, number: int, dice: random.Random) -> Manifest:
    empty = DiskMap(DISK, depth_for(DISK), HOLE.id, HOLE.group)
    disks = tuple(
        ManifestDisk(disk, empty, "qcow2", {"file": f"{disk}.qcow2"}) for disk in ("vda", "vdb")
    )
    return Manifest(
        backup=str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        entity=entity,
        entity_name=name,
        type="INCREMENTAL" if number % _OF_MACHINE else "FULL",
        snapshot_time=NOW - number * 1000,
        disks=disks,
        definition={"uuid": entity, "name": name, "domain": _XML},
        read=GIB,
        stored=64 * MIB,
    )
