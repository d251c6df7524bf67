"""STAGING_CLEANUP on the node: remove the leftovers of dead attempts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from haulback.contract.staging_cleanup import StagingCleanupOrder
from haulback.drivers.capabilities import SnapshotKeeper, capability
from haulback.drivers.hypervisor import Machine, MachineSource
from haulback.errors import Cancelled, Fenced, HaulbackError, NotFound
from haulback.inventory.records import BackupDestination, Hypervisor
from haulback.retry import Backoff, retry
from haulback.work.context import PREFIX, Results, TaskContext, TaskWork

_BACKOFF = Backoff(2.0, attempts=4)  # a platform that was restarted is back by then


def run(job: TaskContext) -> Results:
    needed = job.needed()
    left = [attempt for attempt in job.leftovers() if attempt not in needed]
    for attempt in left:
        job.discard(attempt)
    removed, held = len(left), dict[str, Any]()
    for hypervisor in job.order.hypervisors:
        removed += _sweep(job, hypervisor, held.setdefault(hypervisor.guid, {}))
    for destination in job.order.destinations:
        removed += _sweep_destination(job, destination)
    return {"removed": removed, "held": {guid: found for guid, found in held.items() if found}}


def _sweep_destination(job: TaskContext, record: BackupDestination) -> int:
    try:
        return job.destination(record).sweep(job.needed())
    except HaulbackError as error:
        job.log(f"{record.name}: {error.message}")
        return 0


def _sweep(job: TaskContext, record: Hypervisor, held: dict[str, Any]) -> int:
    """Sweep a hypervisor; one that does not answer is skipped after a few tries.

    `held` takes the snapshots that stay, with their times: an attempt may have died before it said
    that it had taken one.
    """

    def look() -> tuple[MachineSource, int, Sequence[Machine]]:
        machines = job.hypervisor(record)
        return machines, len(machines.sweep(job.needed())), machines.inventory().machines

    def again(error: Exception) -> bool:
        if not isinstance(error, HaulbackError) or isinstance(error, Cancelled | Fenced):
            return False
        job.log(f"{record.name}: {error.message}")
        return True

    def wait(seconds: float) -> None:
        time.sleep(seconds)
        job.confirm()

    try:
        machines, removed, found = retry(look, _BACKOFF, again, wait)
    except (Cancelled, Fenced):
        raise
    except HaulbackError as error:
        job.log(f"{record.name}: {error.message}")
        return 0
    for machine in found:
        job.confirm()
        dropped = _drop(job, record, machines, machine)
        removed += len(dropped)
        if stay := {s.name: s.time for s in machine.snapshots or () if s.name not in dropped}:
            held[machine.uuid] = stay
    return removed


def sweep_after(job: TaskContext, record: Hypervisor) -> None:
    """Remove what an attempt may have left on a platform, of the one machine it was about.

    Raises Unavailable when the platform does not answer.
    """
    machines = job.hypervisor(record)
    machines.sweep(job.needed())
    if uuid := getattr(job.order, "uuid", ""):
        with suppress(NotFound):
            _drop(job, record, machines, machines.machine(uuid))


def _drop(
    job: TaskContext, record: Hypervisor, machines: MachineSource, machine: Machine
) -> list[str]:
    """The names of checkpoints and snapshots that were removed."""
    with job.alone(record, machine.uuid, wait=False) as mine:
        if not mine:
            return []  # an EXPORT is at work; it begins by doing the same
        try:
            dropped = machines.drop_checkpoints(machine.uuid, job.needed())
            return [*dropped, *_drop_snapshots(job, machines, machine)]
        except HaulbackError as error:
            job.log(f"{record.name}, {machine.uuid}: {error.message}")
            return []


def _drop_snapshots(job: TaskContext, machines: MachineSource, machine: Machine) -> list[str]:
    """Those that attempts took which ended badly.

    A snapshot may be somebody's only copy: one whose story is not known here is let be.
    """
    ours = [one.name for one in machine.snapshots or () if one.name.startswith(PREFIX)]
    unwanted = job.abandoned(ours) if ours else frozenset()
    if not unwanted:
        return []
    return capability(machines, SnapshotKeeper).remove_snapshots(machine.uuid, unwanted)


WORK = TaskWork("STAGING_CLEANUP", StagingCleanupOrder, run)
