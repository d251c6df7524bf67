"""INVENTORY_SYNC: what machines a hypervisor holds."""

from __future__ import annotations

import msgspec

from haulback.ids import new_guid
from haulback.inventory.records import Catalogue, Disk, Entity, Hypervisor, Ledger
from haulback.kinds import planning
from haulback.kinds.seam import Ask, Job, Kind, Results, Submission
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import State
from haulback.wire import Ref


class Request(msgspec.Struct):
    """InventorySyncTaskRequest; clients without anything to sync send empty arrays."""

    hypervisors: list[Ref] | None = None
    hypervisorManagers: list[Ref] | None = None  # noqa: N815 - the contract's spelling


class Order(msgspec.Struct):
    """Which hypervisor to look at."""

    hypervisor: Hypervisor


class Found(msgspec.Struct):
    """A machine as a node reports it."""

    uuid: str
    name: str
    disks: list[Disk] = []


class Seen(msgspec.Struct):
    """Everything a node saw."""

    machines: list[Found]


def plan(request: Request, catalogue: Catalogue, ask: Ask) -> Plan:
    """One task for each hypervisor.  Raises NotFound."""
    named = (request.hypervisors or []) + (request.hypervisorManagers or [])
    wanted = {ref.guid: catalogue.hypervisor(ref.guid) for ref in named}
    return Plan([sync(hypervisor, ask) for hypervisor in wanted.values()])


def sync(hypervisor: Hypervisor, ask: Ask) -> Task:
    """The task that looks at one hypervisor."""
    refs = {"hypervisor": planning.named(hypervisor)}
    return planning.task("INVENTORY_SYNC", "inventory", ask, refs=refs, pinned=hypervisor.node)


def prepare(task: Task, catalogue: Catalogue) -> Order:
    return Order(catalogue.hypervisor(task.ref("hypervisor") or ""))


def run(job: Job) -> Results:
    found = job.hypervisor(job.order.hypervisor).inventory()
    for problem in found.problems:
        job.log(f"{problem.where}: {problem.message}")
    machines = [
        {
            "uuid": machine.uuid,
            "name": machine.name,
            "disks": [{"name": d.name, "size": d.size, "format": d.format} for d in machine.disks],
        }
        for machine in found.machines
    ]
    return {"machines": machines, "problems": len(found.problems)}


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is not State.FINISHED:
        return
    seen = msgspec.convert(task.results, Seen)
    hypervisor = task.ref("hypervisor") or ""
    machines = [
        Entity(guid=new_guid(), uuid=m.uuid, name=m.name, hypervisor=hypervisor, disks=m.disks)
        for m in seen.machines
    ]
    # A machine that could not be read is still there: it must not vanish from the catalogue.
    since = None if task.results.get("problems") else task.started
    ledger.inventory(hypervisor, machines, complete_since=since)


KIND = Kind(
    type="INVENTORY_SYNC",
    lane="inventory",
    order=Order,
    prepare=prepare,
    run=run,
    settle=settle,
    submissions=(
        Submission("inventory-sync", Request, plan),
        Submission("wizard/inventory-sync", Request, plan),
    ),
)
