"""CONNECTIVITY_TEST on the node: reach a hypervisor or open a destination."""

from __future__ import annotations

from haulback.contract.connectivity_test import ConnectivityTestOrder
from haulback.errors import NotFound
from haulback.inventory.records import BackupDestination
from haulback.repository.config import read_config
from haulback.work.context import Results, TaskContext, TaskWork


def run(job: TaskContext) -> Results:
    order: ConnectivityTestOrder = job.order
    if order.hypervisor:
        job.hypervisor(order.hypervisor).check()
    elif order.destination and order.destination.repository:
        job.repository(order.destination)
    elif order.destination:
        _reach(job, order.destination)
    return {"reachable": True}


def _reach(job: TaskContext, record: BackupDestination) -> None:
    try:
        read_config(job.destination(record))
    except NotFound:
        job.log("the destination answers; it holds no repository yet")


WORK = TaskWork("CONNECTIVITY_TEST", ConnectivityTestOrder, run)
