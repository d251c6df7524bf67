"""Internal snapshots of a machine under libvirt, running or stopped.

libvirt's own snapshots of a running machine put a new image over each disk. Internal snapshots are
taken by QEMU in one transaction for all disks and create no chains of images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from contextlib import nullcontext, suppress
from typing import NamedTuple
from xml.etree import ElementTree as ET

from haulback.drivers.hypervisor import SnapshotInfo
from haulback.drivers.images import internal_snapshots
from haulback.drivers.images.internal_snapshots import RevertNote
from haulback.drivers.libvirt import live_backup, managed_save
from haulback.drivers.libvirt.cleanup import Leftovers
from haulback.drivers.libvirt.connection import Domain, Host
from haulback.drivers.libvirt.domain import DomainDisk
from haulback.drivers.libvirt.freeze_guard import GuestFreeze
from haulback.drivers.libvirt.identities import another_generation
from haulback.drivers.libvirt.volumes import located, opened
from haulback.errors import HaulbackError, Unavailable, Unsupported
from haulback.libvirt_xml import parse
from haulback.wire import JsonObject

_WISH = "reverting to a snapshot"


def held(host: Host, domain: Domain) -> tuple[SnapshotInfo, ...] | None:
    """Snapshots of a machine; None if its images cannot be read."""
    try:
        with opened(_volumes(host, domain)) as images:
            return internal_snapshots.listed(images)
    except HaulbackError:
        return None


def take(uri: str, host: Host, domain: Domain, name: str) -> str:
    """Take a snapshot of all disks; returns its consistency."""
    volumes = _volumes(host, domain)
    with opened(volumes) as images:
        paths = internal_snapshots.able(images)
        if not paths:
            raise Unsupported(f"{domain.name} has no disk that can hold a snapshot")
        if not domain.is_active:
            internal_snapshots.take(paths, name)
            return "CRASH" if domain.was_saved() else "STOPPED"
        _remove_live(domain, volumes, {name}, internal_snapshots.listed(images))
    live = domain.live()
    nodes = [_node(live, volume) for volume in volumes]
    agent = live_backup.has_agent(live)
    with GuestFreeze(uri, domain) if agent else nullcontext() as frozen:
        _command(domain, "transaction", actions=[_action(node, name) for node in nodes])
    return "APPLICATION" if frozen and frozen.held else "CRASH"


def remove(host: Host, domain: Domain, names: Set[str]) -> list[str]:
    """Remove snapshots from all disks that have them; returns the removed ones."""
    volumes = _volumes(host, domain)
    with opened(volumes) as images:
        if not domain.is_active:
            paths = [image.path for image in images if image.qcow2]
            return internal_snapshots.remove(paths, names)
        return _remove_live(domain, volumes, names, internal_snapshots.listed(images))


class Reversion(NamedTuple):
    """A revert by `attempt` to the snapshot `name`, with the present state kept as `before`."""

    name: str
    before: str
    attempt: str


def revert(host: Host, left: Leftovers, domain: Domain, wanted: Reversion) -> None:
    """Revert the disks of a machine; see `SnapshotKeeper.revert`.

    While the note exists, a sweep undoes the revert, unless the machine was started since.
    """
    managed_save.refuse_if_kept(domain, _WISH)
    with opened(located(host, domain.definition())) as images:
        paths = internal_snapshots.able(images)
    internal_snapshots.check(paths, wanted.name)
    changes = another_generation(parse(domain.definition()))
    if changes:  # a host that refuses to show passwords refuses before anything is changed
        domain.with_passwords()
    ran, paused = domain.is_active, domain.is_held()
    note = left.note_back(wanted.attempt, RevertNote(domain.uuid, wanted.before, ran, paused))
    domain.stop()
    managed_save.refuse_if_kept(domain, _WISH)  # the machine may have been saved since
    for checkpoint in domain.checkpoints():
        domain.delete_checkpoint(checkpoint, only_forget=True)
    internal_snapshots.revert(paths, wanted.name, wanted.before)
    if changes:
        root = parse(domain.with_passwords())
        another_generation(root)
        domain = host.define(ET.tostring(root, encoding="unicode"))
    if ran:
        domain.start(paused=paused)
    note.unlink()


def _volumes(host: Host, domain: Domain) -> list[DomainDisk]:
    """Current disks of a machine."""
    return located(host, domain.live() if domain.is_active else domain.definition())


def _remove_live(
    domain: Domain, volumes: Sequence[DomainDisk], names: Set[str], known: Sequence[SnapshotInfo]
) -> list[str]:
    unwanted = {snapshot.name: snapshot for snapshot in known if snapshot.name in names}
    live = domain.live()
    for name, snapshot in unwanted.items():
        for volume in volumes:
            # A missing snapshot is an error only if all disks were found to have it.
            with suppress(Unavailable) if not snapshot.whole else nullcontext():
                node = _node(live, volume)
                _command(domain, "blockdev-snapshot-delete-internal-sync", device=node, name=name)
    return sorted(unwanted)


def _action(node: str, name: str) -> JsonObject:
    return {"type": "blockdev-snapshot-internal-sync", "data": {"device": node, "name": name}}


def _node(live: str, volume: DomainDisk) -> str:
    """QEMU's block node name of a disk. Raises Unsupported when libvirt does not report it."""
    disks = parse(live).findall("devices/disk")
    ours = (disk for disk in disks if disk.find(f"target[@dev='{volume.device}']") is not None)
    index = next((disk.find("source[@index]") for disk in ours), None)
    if index is not None:
        return f"libvirt-{index.get('index')}-format"
    raise Unsupported(
        f"{volume.name}: this version of libvirt does not report QEMU's name of the disk; "
        "update libvirt"
    )


def _command(domain: Domain, command: str, **arguments: object) -> None:
    """Send a QMP command. Raises Unavailable, with QEMU's message, when QEMU refuses it."""
    answer = domain.ask_qemu(json.dumps({"execute": command, "arguments": arguments}))
    try:
        error = json.loads(answer).get("error")
    except (ValueError, AttributeError):
        raise Unavailable(f"{domain.name}: QEMU sent a malformed response") from None
    if error is not None:
        raise Unavailable(f"{domain.name}: QEMU refuses {command}: {str(error)[:300]}")
