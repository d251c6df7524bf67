"""STORE on the node: publish the export that waits in staging."""

from __future__ import annotations

import msgspec

from haulback.contract.store import StoreOrder
from haulback.errors import BaseGone, HaulbackError, NotFound
from haulback.filesystems.browser import Browser
from haulback.repository.manifest import Manifest
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk
from haulback.transfer.store import store_machine
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.volumes import as_volume

_LOOK_SECONDS = 20.0  # for finding file systems


def run(job: TaskContext) -> Results:
    order: StoreOrder = job.order
    repository = job.repository(order.destination)
    folder = job.staging(order.staging)
    try:
        draft = repository.read_draft(folder, order.backup)
        job.confirm()
        manifest = store_machine(repository, folder, draft, job.disk)
    except NotFound:
        manifest = _stored_before(repository, order)
        job.discard(order.staging)
    job.count(manifest.stored)
    found = {"stored": manifest.stored, "parent": manifest.parent}
    return found | _volumes(job, repository, manifest) | job.space(order.destination)


def _volumes(job: TaskContext, repository: Repository, manifest: Manifest) -> Results:
    """The file systems in it, for who mounts some of them later; a backup is good without."""
    reader = repository.reader()
    disks = {disk.name: StoredDisk(disk.map, reader) for disk in manifest.disks}
    try:
        with Browser(disks, deadline=_LOOK_SECONDS) as browser:
            return {"volumes": [msgspec.to_builtins(as_volume(one)) for one in browser.volumes()]}
    except HaulbackError as error:
        job.log(f"what file systems it holds is not known: {error.message}")
        return {}


def _stored_before(repository: Repository, order: StoreOrder) -> Manifest:
    """What an attempt that died after publishing left.  Raises BaseGone when it left nothing."""
    try:
        return repository.manifest(order.backup)
    except NotFound:
        raise BaseGone("staging no longer holds the export; back up again") from None


def tidy(job: TaskContext) -> None:
    """The checkpoint that this backup's own replaces is of no use any more."""
    order: StoreOrder = job.order
    with job.alone(order.hypervisor, order.uuid):
        job.hypervisor(order.hypervisor).drop_checkpoints(order.uuid, job.needed())


WORK = TaskWork("STORE", StoreOrder, run, tidy)
