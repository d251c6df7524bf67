"""UPLOAD on the node: copy files of a mounted backup into a running guest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from haulback.contract.upload import UploadOrder
from haulback.drivers.capabilities import GuestOperations, capability
from haulback.units import counted
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.phases import phase


def run(context: TaskContext) -> Results:
    order: UploadOrder = context.order
    machines = capability(context.machines.open(order.hypervisor), GuestOperations)
    context.progress.confirm()
    # A damaged file would overwrite an intact file of the guest, so all files are copied or none.
    parts = context.mounts.archive(order.mount, order.volume, order.paths)
    first = next(parts)  # missing files are found before the guest is changed
    whole = _metered(context, chain((first,), parts))
    with (
        context.machines.lock(order.hypervisor, order.uuid),  # a frozen guest accepts no files
        phase(
            context, f"{counted(len(order.paths), 'path')} copied to {order.folder} of the guest"
        ),
    ):
        machines.unpack(order.uuid, whole, order.folder, f".haulback-{context.guid}.tar")
    return {"uploaded": len(order.paths)}


def _metered(context: TaskContext, parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        context.progress.meter(len(part))
        yield part


WORK = TaskWork("UPLOAD", UploadOrder, run)
