"""STAGING_CLEANUP: finds on a node what attempts left that ended without cleaning up."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from haulback.drivers.hypervisor import Hypervisor as Driver
from haulback.drivers.hypervisor import Machine
from haulback.errors import HaulbackError, NotFound
from haulback.inventory.records import Catalogue, Destination, Hypervisor
from haulback.kinds import planning
from haulback.kinds.seam import PREFIX, Ask, Job, Kind, Results
from haulback.tasks.record import Task
from haulback.wire import Named


class Order(msgspec.Struct):
    """Where to look besides the node's own folders."""

    hypervisors: list[Hypervisor]
    destinations: list[Destination]


def clean_up(node: Named, ask: Ask) -> Task:
    """The task that tidies one node."""
    return planning.task("STAGING_CLEANUP", "upkeep", ask, refs={"node": node}, pinned=node.guid)


def prepare(task: Task, catalogue: Catalogue) -> Order:
    node = task.pinned_node
    return Order(
        [one for one in catalogue.hypervisors() if one.node == node],
        [one for one in catalogue.destinations() if one.node == node],
    )


def run(job: Job) -> Results:
    needed = job.needed()
    left = [attempt for attempt in job.leftovers() if attempt not in needed]
    for attempt in left:
        job.discard(attempt)
    removed = len(left)
    for hypervisor in job.order.hypervisors:
        removed += _sweep(job, hypervisor)
    for destination in job.order.destinations:
        removed += _sweep_destination(job, destination)
    return {"removed": removed}


def _sweep_destination(job: Job, record: Destination) -> int:
    try:
        return job.destination(record).sweep(job.needed())
    except HaulbackError as error:
        job.log(f"{record.name}: {error.message}")
        return 0


def _sweep(job: Job, record: Hypervisor) -> int:
    """One that does not answer must not keep the others from being swept."""
    try:
        machines = job.hypervisor(record)
        removed = len(machines.sweep(job.needed()))
        found = machines.inventory().machines
    except HaulbackError as error:
        job.log(f"{record.name}: {error.message}")
        return 0
    for machine in found:
        job.confirm()
        removed += _drop(job, record, machines, machine)
    return removed


def sweep_after(job: Job, record: Hypervisor) -> None:
    """Remove what an attempt may have left on a platform, of the one machine it was about.

    Raises Unavailable when the platform does not answer.
    """
    machines = job.hypervisor(record)
    machines.sweep(job.needed())
    if uuid := getattr(job.order, "uuid", ""):
        with suppress(NotFound):
            _drop(job, record, machines, machines.machine(uuid))


def _drop(job: Job, record: Hypervisor, machines: Driver, machine: Machine) -> int:
    with job.alone(record, machine.uuid, wait=False) as mine:
        if not mine:
            return 0  # an EXPORT is at work; it begins by doing the same
        try:
            dropped = machines.drop_checkpoints(machine.uuid, job.needed())
            return len(dropped) + len(_drop_snapshots(job, machines, machine))
        except HaulbackError as error:
            job.log(f"{record.name}, {machine.uuid}: {error.message}")
            return 0


def _drop_snapshots(job: Job, machines: Driver, machine: Machine) -> list[str]:
    """Those that attempts took which ended badly.

    A snapshot may be somebody's only copy: one whose story is not known here is let be.
    """
    ours = [one.name for one in machine.snapshots or () if one.name.startswith(PREFIX)]
    unwanted = job.abandoned(ours) if ours else frozenset()
    return machines.remove_snapshots(machine.uuid, unwanted) if unwanted else []


KIND = Kind(type="STAGING_CLEANUP", lane="upkeep", order=Order, prepare=prepare, run=run)
