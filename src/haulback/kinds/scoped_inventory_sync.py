"""SCOPED_INVENTORY_SYNC: what a few machines are like; the system asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from haulback.drivers.hypervisor import MachineSource as Machines
from haulback.drivers.hypervisor import Problem
from haulback.errors import HaulbackError, NotFound
from haulback.inventory.ledger import Ledger
from haulback.inventory.presence import HypervisorScan
from haulback.inventory.records import Catalogue, Entity, Hypervisor
from haulback.kinds.api import Ask, Results, TaskContext, TaskKind
from haulback.kinds.inventory_sync import Seen, broken, take_in, told
from haulback.kinds.support import planning
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import State

_SAME = ("hypervisor", "hypervisorManager", "dstProtectedEntity")
FRESH_MS = 15 * 60_000  # what was seen since then is not looked at again before a backup


class ScopedInventorySyncOrder(msgspec.Struct):
    """Which machines to look at, by their uuids there, and where they lie as far as is known."""

    hypervisor: Hypervisor
    uuids: list[str]
    places: dict[str, str] = {}


def before(
    entities: Sequence[Entity], catalogue: Catalogue, ask: Ask, request: Any = None
) -> list[Task]:
    """Looks at those that nobody has seen for a while, one for each hypervisor and project.

    No backup waits for them: it reads the machine as it is then, and a look that fails is no
    reason to have no backup.
    """
    stale: dict[tuple[str, str | None], list[Entity]] = {}
    for one in entities:
        if one.seen < ask.now - FRESH_MS:
            stale.setdefault((one.hypervisor, one.project or ask.project), []).append(one)
    return [
        _look(catalogue.hypervisor(host), found, catalogue, ask.of(project), request)
        for (host, project), found in stale.items()
    ]


def _look(
    host: Hypervisor, entities: list[Entity], catalogue: Catalogue, ask: Ask, request: Any
) -> Task:
    refs = planning.platform(host, catalogue)
    if len(entities) == 1:
        refs["protectedEntity"] = entities[0].named()
    return planning.task(
        "SCOPED_INVENTORY_SYNC",
        "inventory",
        ask,
        request,
        refs=refs,
        params={
            "uuids": [one.uuid for one in entities],
            "entities": [msgspec.to_builtins(one.named()) for one in entities],
        },
        pinned=host.node,
    )


def followed(plan: Plan, hypervisor: Hypervisor, ask: Ask) -> Plan:
    """The same, and at its end a look at the machine that its last task makes."""
    last = plan.tasks[-1]
    look = planning.task(
        "SCOPED_INVENTORY_SYNC",
        "inventory",
        ask.of(last.project),
        refs={name: last.refs.get(name) for name in _SAME},
        params={"uuids": None},
        pinned=last.pinned_node or hypervisor.node,
        follows=last,
    )
    plan.tasks.append(look)
    return plan


def uuids_of(task: Task) -> list[str]:
    """The machines to look at, by their uuids on the platform."""
    uuids: list[str] | None = task.params.get("uuids")
    if uuids is None:  # it follows what made the machine, and is told what that reported
        made = task.params.get("before", {}).get("uuid")
        return [made] if isinstance(made, str) else []
    return uuids


def prepare(task: Task, catalogue: Catalogue) -> ScopedInventorySyncOrder:
    uuids = uuids_of(task)
    host = catalogue.hypervisor(task.ref("hypervisor") or "")
    known = [catalogue.machine_at(host.guid, uuid) for uuid in uuids]
    return ScopedInventorySyncOrder(
        host, uuids, {one.uuid: one.place for one in known if one and one.place}
    )


def run(job: TaskContext) -> Results:
    order: ScopedInventorySyncOrder = job.order
    machines = job.hypervisor(order.hypervisor)
    found, unreadable, missing = [], [], []
    for uuid in order.uuids:
        try:
            found.append(told(machines.machine(uuid)))
        except NotFound:
            missing.append(uuid)
        except HaulbackError as error:
            machines.check()  # the machine cannot be read in a place that is there
            job.log(f"{uuid}: {error.message}")
            unreadable.append(broken(Problem(uuid, error.message, uuid)))
    results: Results = {"machines": found, "unreadable": unreadable}
    return results | (_whole_look(job, machines, missing, unreadable) if missing else {})


def _whole_look(
    job: TaskContext, machines: Machines, missing: list[str], unreadable: list[dict[str, Any]]
) -> Results:
    """Machines that were not found are gone, unless they are there and cannot be read.

    The whole platform is looked at for that; what it holds besides is not reported but counted,
    for the task may be a tenant's.
    """
    machines.check()
    whole = machines.inventory()
    problems = [broken(one) for one in whole.problems]
    gone = []
    for uuid in set(missing) - {one.uuid for one in whole.machines}:
        place = job.order.places.get(uuid)
        same = [one for one in problems if one["uuid"] == uuid or one["where"] == place]
        if same:
            job.log(f"{uuid}: {same[0]['message']}")
            unreadable.append({**same[0], "uuid": uuid})
        elif place is None and any(not one["uuid"] for one in problems):
            job.log(f"{uuid} was not found; it may be one of those that cannot be read")
        else:
            job.log(f"{uuid} is no longer there")
            gone.append(uuid)
    return {"gone": gone, "shown": len(whole.machines) + len(problems)}


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is State.FINISHED and "machines" in task.results:
        seen = msgspec.convert(task.results, Seen)
        look = HypervisorScan(task.workflow, task.started or 0, seen.shown)
        ledger.machines_gone(task.ref("hypervisor") or "", seen.gone, look)
        take_in(task, seen, None, ledger)


KIND = TaskKind(
    type="SCOPED_INVENTORY_SYNC",
    lane="inventory",
    order=ScopedInventorySyncOrder,
    prepare=prepare,
    run=run,
    settle=settle,
    submissions=(),
)
