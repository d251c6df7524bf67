"""UPLOAD on the node: copy files of a mounted backup into a running guest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from haulback.contract.upload import UploadOrder
from haulback.drivers.capabilities import GuestOperations, capability
from haulback.work.context import Results, TaskContext, TaskWork


def run(job: TaskContext) -> Results:
    order: UploadOrder = job.order
    machines = capability(job.hypervisor(order.hypervisor), GuestOperations)
    job.confirm()
    # Zeros and gaps would overwrite intact files of the guest: every file, or none.
    parts = job.archive(order.mount, order.volume, order.paths)
    first = next(parts)  # what is missing is found out before the guest is touched
    whole = _metered(job, chain((first,), parts))
    with job.alone(order.hypervisor, order.uuid):  # one that is frozen takes nothing
        machines.unpack(order.uuid, whole, order.folder, f".haulback-{job.guid}.tar")
    return {"uploaded": len(order.paths)}


def _metered(job: TaskContext, parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        job.meter(len(part))
        yield part


WORK = TaskWork("UPLOAD", UploadOrder, run)
