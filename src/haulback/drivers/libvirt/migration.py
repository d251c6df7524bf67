"""Live migration of a machine with its disks between two libvirts on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import NamedTuple
from xml.etree import ElementTree as ET

from haulback.drivers.images.image_reader import PREFIX
from haulback.drivers.libvirt import domain as xml
from haulback.drivers.libvirt import internal_snapshots, managed_save, overlay, unprotected_devices
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.drivers.libvirt.volumes import located
from haulback.errors import Conflict, HaulbackError, SourceChanged
from haulback.libvirt_xml import parse

_LOOK_EVERY = 0.2  # seconds between two progress reports
Tell = Callable[[int], None]


def check(here: Host, domain: Domain, there: Host) -> None:
    """Check that a machine can be moved. Raises SourceChanged or Conflict with the reason."""
    managed_save.refuse_if_kept(domain, "moving it")
    if not domain.is_active:
        raise SourceChanged(f"{domain.name} is off; start it, or restore it there from a backup")
    if overlay.lies_on(located(here, domain.live())):
        raise Conflict(
            f"{domain.name} runs from a mounted backup; migrate its disks to this host first"
        )
    for disk in parse(domain.live()).findall("devices/disk"):
        _refuse_what_stays(domain, disk)
    if internal_snapshots.held(here, domain):
        raise Conflict(f"{domain.name} has snapshots, which cannot be moved; remove them first")
    if any(not name.startswith(PREFIX) for name in domain.checkpoints()):
        raise Conflict(f"{domain.name} has checkpoints of other programs; remove them first")
    for other in there.domains():
        if domain.uuid == other.uuid or domain.name == other.name:
            raise Conflict(f"the target has a machine {other.name} ({other.uuid}) already")


def _refuse_what_stays(domain: Domain, disk: ET.Element) -> None:
    """Raises Conflict: libvirt copies a LUN onto itself, and copies no shared disk."""
    device = unprotected_devices.device_of(disk)
    if disk.get("device") == "lun":
        raise Conflict(f"{domain.name}: {device} is a passed-through LUN; detach it first")
    if disk.find("shareable") is not None:
        raise Conflict(f"{domain.name}: {device} is shared with other machines; detach it first")


class MigrationProgress(NamedTuple):
    """Progress of a migration: `expect` takes the total bytes, `copied` the bytes copied since."""

    expect: Tell
    copied: Tell


def carry(
    domain: Domain,
    there: Host,
    places: Mapping[str, Path],
    folder: Path,
    progress: MigrationProgress,
) -> None:
    """Migrate a machine to empty disks that already exist at `places` (by name).

    An exception of `progress` aborts the migration, unless it has already succeeded.
    """
    texts = xml.moved(domain.migratable(), places), xml.moved(domain.with_passwords(), places)
    failed: list[HaulbackError] = []

    def go() -> None:
        try:
            domain.migrate(there, *texts, (folder / "memory", folder / "disks"))
        except HaulbackError as error:
            failed.append(error)

    going = Thread(target=go, name="migration")
    going.start()
    try:
        _follow(domain, going, progress)
    except BaseException:
        while going.is_alive():  # repeat: an abort has no effect before the migration has started
            with suppress(HaulbackError):
                domain.end_move()
            going.join(_LOOK_EVERY / 4)
        if failed:
            raise
    if failed:
        raise failed[0]


def _follow(domain: Domain, going: Thread, progress: MigrationProgress) -> None:
    before = 0
    while going.is_alive():
        total, done = domain.moved()
        if total:
            progress.expect(total)
        progress.copied(max(0, done - before))
        before = max(before, done)
        going.join(_LOOK_EVERY)
