"""Saved memory (managed save) of a stopped machine, which belongs to its current disks.

A guest that resumes from saved memory trusts its caches. On other disks the guest writes those
caches back and destroys the file systems.
"""

from __future__ import annotations

from shlex import quote

from haulback.drivers.hypervisor import UnprotectedPart
from haulback.drivers.images.image_reader import FolderSnapshot
from haulback.drivers.libvirt.connection import Domain
from haulback.errors import Conflict


def note(domain: Domain, snapshot: FolderSnapshot) -> None:
    """Mark a stopped machine's snapshot with the effects of its saved memory.

    The images are locked or watched at this point: a machine that is started meanwhile is noticed.
    """
    if domain.was_saved():
        snapshot.consistency = "CRASH"
    if domain.in_managed_save():
        kept = UnprotectedPart(
            "the saved memory", "the machine is in managed save; a backup holds disks only"
        )
        snapshot.machine = snapshot.machine._replace(apart=(*snapshot.machine.apart, kept))


def refuse_if_kept(domain: Domain, wish: str) -> None:
    """Raises Conflict for a machine in managed save, or whose memory is being saved or sent.

    `wish` describes the refused operation and follows the word "before" in the message.
    """
    if domain.in_managed_save():
        raise Conflict(
            f"{domain.name} is in managed save: its saved memory belongs to its current disks, and "
            f"on other disks the guest would destroy its file systems; before {wish}, "
            f"start the machine and shut it down, or discard the memory by "
            f"`virsh managedsave-remove {quote(domain.name)}`"
        )
    if domain.is_being_saved():
        raise Conflict(
            f"{domain.name}: libvirt saves, dumps or migrates the memory of the machine; "
            f"before {wish}, wait for the end of this job"
        )
