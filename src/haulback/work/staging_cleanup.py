"""STAGING_CLEANUP on the node: remove the leftovers of dead attempts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.contract.staging_cleanup import StagingCleanupOrder
from haulback.drivers.capabilities import SnapshotKeeper, capability
from haulback.drivers.hypervisor import Machine, MachineSource
from haulback.errors import HaulbackError, NotFound
from haulback.retry import Backoff, retry
from haulback.units import counted
from haulback.wire import JsonObject
from haulback.work.context import PREFIX, Results, TaskContext, TaskWork

_BACKOFF = Backoff(2.0, attempts=4)  # seconds within which a restarted platform answers again


def run(context: TaskContext) -> Results:
    needed = context.server.needed()
    left = [attempt for attempt in context.staging.leftovers() if attempt not in needed]
    for attempt in left:
        context.staging.discard(attempt)
    removed, held = len(left), JsonObject()
    for hypervisor in context.order.hypervisors:
        removed += _sweep(context, hypervisor, held.setdefault(hypervisor.guid, {}))
    for destination in context.order.destinations:
        removed += _sweep_destination(context, destination)
    places = len(context.order.hypervisors) + len(context.order.destinations)
    context.log(
        f"{counted(removed, 'leftover')} of dead attempts removed, {len(left)} of them in staging; "
        f"hypervisors and destinations checked: {places}"
    )
    return {"removed": removed, "held": {guid: entry for guid, entry in held.items() if entry}}


def _sweep_destination(context: TaskContext, record: BackupDestination) -> int:
    try:
        return context.repositories.store(record).sweep(context.server.needed())
    except HaulbackError as error:
        context.log(f"{record.name}: {error.message}")
        return 0


class _Unswept(Exception):
    """A hypervisor that could not be swept."""


def _sweep(context: TaskContext, record: Hypervisor, held: JsonObject) -> int:
    """Sweep a hypervisor; a hypervisor that does not answer is skipped after a few attempts.

    `held` collects the snapshots that stay, with their times, because an attempt may have died
    before it reported its snapshot.
    """

    def look() -> tuple[MachineSource, int, Sequence[Machine]]:
        try:
            machines = context.machines.open(record)
            removed = len(machines.sweep(context.server.needed()))
            return machines, removed, machines.inventory().machines
        except HaulbackError as error:
            context.log(f"{record.name}: {error.message}")
            raise _Unswept from error

    def again(error: Exception) -> bool:
        return isinstance(error, _Unswept)

    def wait(seconds: float) -> None:
        time.sleep(seconds)
        context.progress.confirm()  # an error of this call must end the attempt

    try:
        machines, removed, scanned = retry(look, _BACKOFF, again, wait)
    except _Unswept:
        return 0
    for machine in scanned:
        context.progress.confirm()
        dropped = _drop(context, record, machines, machine)
        removed += len(dropped)
        if stay := {s.name: s.time for s in machine.snapshots or () if s.name not in dropped}:
            held[machine.uuid] = stay
    return removed


def sweep_after(context: TaskContext, record: Hypervisor) -> None:
    """Remove the leftovers of an attempt on a platform, and those of its machine.

    Raises Unavailable when the platform does not answer.
    """
    machines = context.machines.open(record)
    machines.sweep(context.server.needed())
    if uuid := getattr(context.order, "uuid", ""):
        with suppress(NotFound):
            _drop(context, record, machines, machines.machine(uuid))


def _drop(
    context: TaskContext, record: Hypervisor, machines: MachineSource, machine: Machine
) -> list[str]:
    """Remove checkpoints and snapshots of dead attempts; returns their names."""
    with context.machines.lock(record, machine.uuid, wait=False) as mine:
        if not mine:
            return []  # an EXPORT is running, which begins with the same clean-up
        try:
            dropped = machines.drop_checkpoints(machine.uuid, context.server.needed())
            return [*dropped, *_drop_snapshots(context, machines, machine)]
        except HaulbackError as error:
            context.log(f"{record.name}, {machine.uuid}: {error.message}")
            return []


def _drop_snapshots(context: TaskContext, machines: MachineSource, machine: Machine) -> list[str]:
    """Remove snapshots that failed attempts took; returns their names.

    A snapshot may be the only copy of some data, so a snapshot of unknown origin stays.
    """
    ours = [one.name for one in machine.snapshots or () if one.name.startswith(PREFIX)]
    unwanted = context.server.abandoned(ours) if ours else frozenset()
    if not unwanted:
        return []
    return capability(machines, SnapshotKeeper).remove_snapshots(machine.uuid, unwanted)


WORK = TaskWork("STAGING_CLEANUP", StagingCleanupOrder, run)
