"""Saved memory of a machine that is off: managed save, which belongs to the disks as they are.

A guest that goes on from its saved memory trusts its caches.  Over other disks the guest writes
those caches back, and destroys the file systems.
"""

from __future__ import annotations

from shlex import quote

from haulback.drivers.hypervisor import Apart
from haulback.drivers.images.snapshot import FolderSnapshot
from haulback.drivers.libvirt.edge import Domain
from haulback.errors import Conflict


def note(domain: Domain, snapshot: FolderSnapshot) -> None:
    """Have a snapshot of a machine that is off say what its saved memory means for the backup.

    The disks are held by now, so the machine can neither start nor be saved meanwhile.
    """
    if domain.was_saved():
        snapshot.consistency = "CRASH"
    if domain.in_managed_save():
        kept = Apart("the saved memory", "the machine is in managed save, and a backup holds disks")
        snapshot.machine = snapshot.machine._replace(apart=(*snapshot.machine.apart, kept))


def refuse_if_kept(domain: Domain, wish: str) -> None:
    """Raises Conflict for a machine in managed save, or whose memory is saved or sent right now.

    `wish` is what the caller would do to the disks, in words after "before".
    """
    if domain.in_managed_save():
        raise Conflict(
            f"{domain.name} is in managed save: its saved memory belongs to its disks as they are "
            f"now, and over other disks the guest destroys their file systems; before {wish}, "
            f"start the machine and shut it down, or give the memory up by "
            f"`virsh managedsave-remove {quote(domain.name)}`"
        )
    if domain.is_being_saved():
        raise Conflict(
            f"{domain.name}: its memory is being saved, dumped or moved; before {wish}, wait for "
            "the end of that"
        )
