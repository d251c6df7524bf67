"""MOUNT on the node: share a backup's files and disks from the repository."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from haulback.contract.mount import MountOrder, MountResult
from haulback.filesystems.records import Volume as Found
from haulback.work.context import Results, Sharing, TaskContext, TaskWork
from haulback.work.support.volumes import as_volume


def run(context: TaskContext) -> Results:
    order: MountOrder = context.order
    shared = context.mounts.begin(sharing_of(order))
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


def sharing_of(order: MountOrder) -> Sharing:
    """The share of an order."""
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
    """The folder of a file system: its own, or a sub-folder of the folder of all."""
    if found.name in paths or not found.readable or "" not in paths:
        return paths.get(found.name, "")
    return f"{paths['']}/{found.name.replace('/', '-')}"


WORK = TaskWork("MOUNT", MountOrder, run)
