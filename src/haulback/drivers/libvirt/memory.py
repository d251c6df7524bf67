"""The memory of a machine that is off, in managed save: it belongs to the disks as they are.

A guest that goes on from its saved memory believes that its disks hold what it last saw there.
Over other disks the guest writes what it had cached, and destroys their file systems.
"""

from __future__ import annotations

from haulback.drivers.hypervisor import Apart
from haulback.drivers.images.snapshot import FolderSnapshot
from haulback.drivers.libvirt.edge import Domain
from haulback.errors import Conflict


def note(domain: Domain, snapshot: FolderSnapshot) -> None:
    """Have a snapshot of a machine that is off say what its saved memory means for the backup.

    The disks are held by now, so the machine can neither start nor be saved meanwhile.
    """
    if domain.has_memory():
        lost = Apart("its saved memory", "the machine is in managed save, and only disks are read")
        snapshot.machine = snapshot.machine._replace(apart=(*snapshot.machine.apart, lost))
        snapshot.consistency = "CRASH"


def refuse_if_kept(domain: Domain, wish: str) -> None:
    """Raises Conflict for a machine whose memory is saved, or is being saved or sent away.

    `wish` is what the caller would do to the disks, in words after "before".
    """
    if domain.has_memory():
        raise Conflict(
            f"{domain.name} is in managed save: its saved memory belongs to its disks as they are "
            f"now, and over other disks the guest destroys their file systems; before {wish}, "
            f"start the machine and shut it down, or give the memory up by "
            f"`virsh managedsave-remove {domain.name}`"
        )
    if domain.is_being_saved():
        raise Conflict(
            f"{domain.name}: its memory is being saved, dumped or moved; before {wish}, wait for "
            "the end of that"
        )
