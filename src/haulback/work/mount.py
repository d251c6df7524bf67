"""MOUNT on the node: mount a backup's files and disks from the repository."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from haulback.contract.mount import MountOrder, MountResult
from haulback.filesystems.records import Volume as Found
from haulback.mounts.spec import MountState
from haulback.work.context import Results, Sharing, TaskContext, TaskWork
from haulback.work.support.phases import phase
from haulback.work.support.volumes import as_volume

_NAMED = 16  # folders that the log lists


def run(context: TaskContext) -> Results:
    order: MountOrder = context.order
    with phase(context, f"backup {order.backup} was mounted from {order.destination.name}"):
        shared = context.mounts.begin(sharing_of(order))
    _tell(context, shared)
    try:
        # An instant restore does not wait for the scan of file systems.
        volumes = [] if order.hypervisor else context.mounts.volumes(order.mount)
        for volume in volumes:
            context.log(
                f"{volume.name}: {volume.type}{': ' + volume.reason if volume.reason else ''}"
            )
        context.progress.confirm()
    except BaseException:
        context.mounts.end(order.mount)
        raise
    shown = [as_volume(volume, _path_of(volume, shared.paths)) for volume in volumes]
    report = MountResult(shared.disks, "" if order.target else shared.raw, shared.portal, shown)
    return dict(msgspec.to_builtins(report))


def _tell(context: TaskContext, shared: MountState) -> None:
    """Log the places where the mounted backup can be read."""
    for name, path in list(shared.paths.items())[:_NAMED]:
        context.log(f"{name or 'all file systems'}: {path}")
    if shared.portal:
        context.log(f"the disks are served by iSCSI at {shared.portal}")


def sharing_of(order: MountOrder) -> Sharing:
    """The mount of an order."""
    for_machine = order.hypervisor is not None
    return Sharing(
        order.mount,
        order.backup,
        order.destination,
        order.visible,
        order.target,
        for_machine,
        order.others,
    )


def _path_of(found: Found, paths: Mapping[str, str]) -> str:
    """The folder of a file system: its own, or a sub-folder of the folder for all file systems."""
    if found.name in paths or not found.readable or "" not in paths:
        return paths.get(found.name, "")
    return f"{paths['']}/{found.name.replace('/', '-')}"


WORK = TaskWork("MOUNT", MountOrder, run)
