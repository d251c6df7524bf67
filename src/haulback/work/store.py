"""STORE on the node: publish the export that waits in staging."""

from __future__ import annotations

import msgspec

from haulback import units
from haulback.contract.store import PUBLISHED, StoreOrder
from haulback.drivers.remote_set import RemoteSet
from haulback.errors import BaseGone, HaulbackError, NotFound
from haulback.filesystems.browser import Browser
from haulback.repository.group import GROUP_BYTES
from haulback.repository.group_cache import NearGroups
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import stored_disks
from haulback.transfer.store import store_machine
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.phases import phase
from haulback.work.support.volumes import as_volume

_NAMED = 16  # file systems that the log lists
_LOOK_SECONDS = 20.0  # seconds to find the file systems


def run(context: TaskContext) -> Results:
    order: StoreOrder = context.order
    repository = context.repositories.open_for_backup(order.destination)
    folder = context.staging.of(order.staging)
    try:
        draft = repository.read_draft(folder, order.backup)
        context.progress.confirm()
        with phase(context, f"the backup was published on {order.destination.name}") as storing:
            manifest = store_machine(repository, folder, draft, context.disk, order.lock)
            storing.moved = manifest.stored
            storing.result = units.counted(len(draft.packs), "pack")
    except NotFound:
        context.log("an earlier attempt published the backup already")
        manifest = _stored_before(repository, order)
        context.staging.discard(order.staging)
    context.progress.count(manifest.stored)
    _tell(context, manifest)
    results = {"stored": manifest.stored, "parent": manifest.parent, PUBLISHED: True}
    context.server.note(results)
    results |= _volumes(context, repository, manifest)
    results |= context.repositories.space(order.destination)
    _release(context)
    return results


def _tell(context: TaskContext, manifest: Manifest) -> None:
    """Log the type of the backup, its base and its lock."""
    order: StoreOrder = context.order
    parent = f"; its base is {manifest.parent}" if manifest.parent else ""
    context.log(f"backup {manifest.backup} has the type {manifest.type}{parent}")
    if order.lock:
        context.log(f"the store locks the backup for {units.duration(order.lock / 1000)}")


def _volumes(context: TaskContext, repository: Repository, manifest: Manifest) -> Results:
    """The file systems of the backup, for later mounts; the backup is valid without the list."""
    reader = repository.reader(look=repository.seen)
    reader.near = NearGroups(repository.groups, GROUP_BYTES)  # the next backup needs most of them
    disks = stored_disks(manifest, reader)
    try:
        with (
            phase(context, "the file systems were read") as looking,
            Browser(disks, deadline=_LOOK_SECONDS) as browser,
        ):
            volumes = browser.volumes()
            looking.result = ", ".join(
                f"{volume.name} ({volume.type})" for volume in volumes[:_NAMED]
            )
            return {"volumes": [msgspec.to_builtins(as_volume(volume)) for volume in volumes]}
    except HaulbackError as error:
        context.log(f"the file systems of the backup are unknown: {error.message}")
        return {}


def _stored_before(repository: Repository, order: StoreOrder) -> Manifest:
    """The manifest that a dead attempt published.  Raises BaseGone without a manifest."""
    try:
        return repository.manifest(order.backup)
    except NotFound:
        raise BaseGone("staging no longer holds the export; back up again") from None


def _release(context: TaskContext) -> None:
    """Remove the checkpoint that this backup replaces, before the task is reported as FINISHED.

    Removing a checkpoint of a stopped machine locks its images, but the machine may be started
    right after the end of the task.  The backup is stored, so that a later failure of this attempt
    loses no data: the next attempt finds the manifest.
    """
    order: StoreOrder = context.order
    needed = context.server.needed()
    keep = RemoteSet(lambda name: name != order.replaces and name in needed)
    try:
        with context.machines.lock(order.hypervisor, order.uuid, wait=False) as is_mine:
            if is_mine:
                context.machines.open(order.hypervisor).drop_checkpoints(order.uuid, keep)
    except HaulbackError as error:
        context.log(f"the replaced checkpoint is removed later: {error.message}")


def tidy(context: TaskContext) -> None:
    """Remove the checkpoint that this backup replaces, if the machine was in use before."""
    order: StoreOrder = context.order
    with context.machines.lock(order.hypervisor, order.uuid):
        context.machines.open(order.hypervisor).drop_checkpoints(
            order.uuid, context.server.needed()
        )


WORK = TaskWork("STORE", StoreOrder, run, tidy)
