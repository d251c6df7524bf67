"""SCOPED_INVENTORY_SYNC on the node: scan a few machines."""

from __future__ import annotations

from haulback.contract.scoped_inventory_sync import ScopedInventorySyncOrder
from haulback.drivers.hypervisor import MachineSource, Problem
from haulback.errors import HaulbackError, NotFound
from haulback.units import counted
from haulback.wire import JsonObject
from haulback.work.context import Results, TaskContext, TaskWork
from haulback.work.support.machine_report import failure_row, machine_row

_NAMED = 10  # machines that the log names


def run(context: TaskContext) -> Results:
    order: ScopedInventorySyncOrder = context.order
    machines = context.machines.open(order.hypervisor)
    reports, unreadable, missing = [], [], []
    for uuid in order.uuids:
        try:
            reports.append(machine_row(machines.machine(uuid)))
        except NotFound:
            missing.append(uuid)
        except HaulbackError as error:
            machines.check()  # the machine's location exists, but the machine is unreadable
            context.log(f"{uuid}: {error.message}")
            unreadable.append(failure_row(Problem(uuid, error.message, uuid)))
    for row in reports[:_NAMED]:
        context.log(f"machine {row['name']} was read, uuid {row['uuid']}")
    for uuid in missing[:_NAMED]:
        context.log(f"there is no machine with the uuid {uuid}")
    context.log(f"{len(reports)} of {counted(len(order.uuids), 'machine')} read")
    results: Results = {"machines": reports, "unreadable": unreadable}
    return results | (_whole_look(context, machines, missing, unreadable) if missing else {})


def _whole_look(
    context: TaskContext,
    machines: MachineSource,
    missing: list[str],
    unreadable: list[JsonObject],
) -> Results:
    """The requested machines that no longer exist: not found, and not among the unreadable
    machines.

    The check scans the whole platform; it only counts other machines, since the task may belong to
    a tenant.
    """
    machines.check()
    whole = machines.inventory()
    problems = [failure_row(problem) for problem in whole.problems]
    gone = []
    for uuid in set(missing) - {machine.uuid for machine in whole.machines}:
        place = context.order.places.get(uuid)
        same = [
            problem for problem in problems if problem["uuid"] == uuid or problem["where"] == place
        ]
        if same:
            context.log(f"{uuid}: {same[0]['message']}")
            unreadable.append({**same[0], "uuid": uuid})
        elif place is None and any(not problem["uuid"] for problem in problems):
            context.log(f"{uuid} was not found; it may be one of the unreadable machines")
        else:
            context.log(f"{uuid} is no longer on the platform")
            gone.append(uuid)
    return {"gone": gone, "shown": len(whole.machines) + len(problems)}


WORK = TaskWork("SCOPED_INVENTORY_SYNC", ScopedInventorySyncOrder, run)
