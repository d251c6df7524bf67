"""CONNECTIVITY_TEST on the node: test a hypervisor or a destination."""

from __future__ import annotations

import msgspec

from haulback.contract.connectivity_test import ConnectivityTestOrder
from haulback.contract.order_records import BackupDestination
from haulback.destinations.probe import probe_again
from haulback.errors import NotFound
from haulback.repository.config import read_config
from haulback.work.context import Results, TaskContext, TaskWork


def run(context: TaskContext) -> Results:
    order: ConnectivityTestOrder = context.order
    if order.hypervisor:
        context.machines.open(order.hypervisor).check()
        context.log(f"hypervisor {order.hypervisor.name} answers and can be used")
    elif order.destination and order.destination.repository:
        repository = context.repositories.open(order.destination)
        seen = probe_again(repository.destination)
        context.log(f"destination {order.destination.name} answers and holds its repository")
        told = {"probe": msgspec.to_builtins(seen)} if seen else {}
        return {"reachable": True} | told | context.repositories.space(order.destination)
    elif order.destination:
        _reach(context, order.destination)
    return {"reachable": True}


def _reach(context: TaskContext, record: BackupDestination) -> None:
    try:
        read_config(context.repositories.store(record))
    except NotFound:
        context.log("the destination answers; it holds no repository yet")


WORK = TaskWork("CONNECTIVITY_TEST", ConnectivityTestOrder, run)
