"""INVENTORY_SYNC: what machines a hypervisor holds."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from haulback import hypervisor_types
from haulback.drivers.hypervisor import HypervisorResource as Seat
from haulback.drivers.hypervisor import Inventory, Machine, Problem
from haulback.errors import Conflict, Malformed
from haulback.ids import guid_of, is_guid, new_guid
from haulback.inventory.hardware import ApartSeen, Hardware, hardware_of
from haulback.inventory.ledger import Ledger
from haulback.inventory.managers import manager_of
from haulback.inventory.presence import UnreadableMachine
from haulback.inventory.records import Catalogue, Entity, Hypervisor, PlatformResource, VirtualDisk
from haulback.kinds.api import Amount, Ask, Name, Results, Submission, TaskContext, TaskKind
from haulback.kinds.support import planning
from haulback.tasks.record import Plan, Task
from haulback.tasks.states import State
from haulback.wire import Ref, Word

_NAMED = 1000  # machines that cannot be read and are named; a host with more is not judged
_REASON = 500  # characters of why one cannot be read
_MOST = 100  # parts of a machine that are named


class Sources(msgspec.Struct, kw_only=True):
    """What both requests may name besides hypervisors."""

    hypervisorManagers: list[Ref] | None = None
    storageProviders: list[Ref] | None = None
    cloudServiceProviders: list[Ref] | None = None
    osAgents: list[Ref] | None = None
    priority: int | None = None
    windowStart: int | None = None
    windowEnd: int | None = None


class InventorySyncRequest(Sources, kw_only=True):
    """InventorySyncTaskRequest; clients without anything to sync send empty arrays."""

    hypervisors: list[Ref] | None = None


class Candidate(msgspec.Struct):
    """A hypervisor of the wizard: one that is known, or one that is to be saved if it answers."""

    guid: str | None = None
    name: str | None = None
    path: str | None = None
    url: str | None = None
    driver: str | None = None
    type: Word | None = None
    node: Ref | None = None


class InventorySyncWizardRequest(Sources, kw_only=True):
    """InventorySyncTaskRequest whose hypervisors need not be saved yet."""

    hypervisors: list[Candidate] | None = None


class InventorySyncOrder(msgspec.Struct):
    """Which hypervisor to look at."""

    hypervisor: Hypervisor


class SnapshotSeen(msgspec.Struct):
    """A snapshot of a machine, epoch ms."""

    name: Name
    time: Amount


class ReportedMachine(msgspec.Struct):
    """A machine as a node reports it; without `snapshots` it could not tell.

    `place` is where its platform keeps it, in the words of `Broken.where`.
    """

    uuid: str
    name: str
    disks: list[VirtualDisk] = []
    project: str | None = None
    present: bool = True
    snapshots: list[SnapshotSeen] | None = None
    hardware: Hardware | None = None
    place: Annotated[str, msgspec.Meta(max_length=400)] | None = None


class Broken(msgspec.Struct):
    """A machine that a node could not read: where, why, and its uuid if that is known."""

    where: str
    message: str
    uuid: str = ""


class Seen(msgspec.Struct):
    """Everything a node saw; without `networks` or `storages` it could not tell.

    `gone` are uuids that were asked for, and are not there.  `problems` counts the machines that
    could not be read, `unreadable` names them; nodes of earlier versions only count.  `shown` is
    how many machines there are in all, where only a few were asked for.
    """

    machines: list[ReportedMachine]
    networks: list[PlatformResource] | None = None
    storages: list[PlatformResource] | None = None
    gone: list[str] = []
    problems: int = 0
    unreadable: list[Broken] = []
    shown: Amount | None = None

    @property
    def unnamed(self) -> int:
        """How many could not be read without the node saying which."""
        return max(0, self.problems - len(self.unreadable))


def plan(request: InventorySyncRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """One task for each hypervisor, those of named managers included.  Raises NotFound."""
    planning.no_such(request, "storageProviders", "cloudServiceProviders", "osAgents")
    wanted = {ref.guid: catalogue.hypervisor(ref.guid) for ref in request.hypervisors or []}
    for one in _of_managers(request.hypervisorManagers or [], catalogue):
        wanted[one.guid] = one
    return Plan([sync(one, ask, catalogue, request) for one in wanted.values()])


def _of_managers(managers: list[Ref], catalogue: Catalogue) -> list[Hypervisor]:
    for ref in managers:
        catalogue.record("hypervisor-manager", ref.guid)
    guids = {ref.guid for ref in managers}
    known = catalogue.hypervisors() if guids else []
    return [one for one in known if manager_of(one) in guids]


def plan_wizard(request: InventorySyncWizardRequest, catalogue: Catalogue, ask: Ask) -> Plan:
    """The same; a hypervisor without a guid is saved only if the sync succeeds."""
    candidates = request.hypervisors or []
    known = [Ref(guid_of(one.guid, "hypervisors.guid")) for one in candidates if one.guid]
    rest = {name: getattr(request, name) for name in Sources.__struct_fields__}
    whole = plan(InventorySyncRequest(hypervisors=known, **rest), catalogue, ask)
    new = [one.name for one in candidates if not one.guid]
    if len(set(new)) != len(new):
        raise Malformed("hypervisors: each needs a name of its own", field="hypervisors")
    for i, one in enumerate(candidates):
        if not one.guid:
            whole.tasks.append(_try(one, f"hypervisors[{i}]", request, catalogue, ask))
    return whole


def _try(
    one: Candidate, field: str, request: InventorySyncWizardRequest, catalogue: Catalogue, ask: Ask
) -> Task:
    chosen = hypervisor_types.driver_of(one.type, one.driver, f"{field}.")
    driver, path, more = hypervisor_types.config(chosen, one.path, one.url, f"{field}.")
    name, path = planning.place(one.name, path, f"{field}.")
    if any(known.name == name for known in catalogue.hypervisors()):
        raise Conflict(f"{field}.name: {name!r} is taken", field=f"{field}.name")
    node = catalogue.node(one.node.guid).guid if one.node else catalogue.only_node(f"{field}.node")
    record = Hypervisor(
        guid=new_guid(), name=name, driver=driver, config={"path": path, **more}, node=node
    )
    task = sync(record, ask, catalogue, request)
    task.params["unsaved"] = msgspec.to_builtins(record)
    return task


def sync(hypervisor: Hypervisor, ask: Ask, catalogue: Catalogue, request: Any = None) -> Task:
    """The task that looks at one hypervisor."""
    refs = planning.platform(hypervisor, catalogue)
    return planning.task(
        "INVENTORY_SYNC", "inventory", ask, request, refs=refs, pinned=hypervisor.node
    )


def prepare(task: Task, catalogue: Catalogue) -> InventorySyncOrder:
    if unsaved := task.params.get("unsaved"):
        return InventorySyncOrder(msgspec.convert(unsaved, Hypervisor))
    return InventorySyncOrder(catalogue.hypervisor(task.ref("hypervisor") or ""))


def run(job: TaskContext) -> Results:
    found = job.hypervisor(job.order.hypervisor).inventory()
    for problem in found.problems:
        job.log(f"{problem.where}: {problem.message}")
    return {
        "machines": [told(one) | placed(one.uuid, found) for one in found.machines],
        "problems": len(found.problems),
        "unreadable": [broken(one) for one in found.problems[:_NAMED]],
        "networks": _places(found.networks),
        "storages": _places(found.pools),
    }


def told(machine: Machine) -> dict[str, Any]:
    """A machine as a node reports it."""
    held = machine.snapshots
    return {
        "uuid": machine.uuid,
        "name": machine.name,
        "disks": [{"name": d.name, "size": d.size, "format": d.format} for d in machine.disks],
        "snapshots": held and [{"name": one.name, "time": one.time} for one in held],
        "hardware": msgspec.to_builtins(_hardware(machine)),
    }


def placed(uuid: str, found: Inventory) -> dict[str, Any]:
    """Where a machine lies, as a node reports it."""
    return {"place": found.places.get(uuid, "")[:400]}


def broken(problem: Problem) -> dict[str, Any]:
    """A machine that cannot be read, as a node reports it."""
    where, message = problem.where[:400], problem.message[:_REASON]
    uuid = problem.uuid or (where if is_guid(where) else "")
    return {"where": where, "message": message, "uuid": uuid}


def _hardware(machine: Machine) -> Hardware:
    apart = [ApartSeen(one.name, one.why) for one in machine.apart if not one.held]
    return msgspec.structs.replace(hardware_of(machine.definition), apart=apart[:_MOST])


def _places(found: list[Seat] | None) -> list[dict[str, Any]] | None:
    return None if found is None else [one._asdict() for one in found]


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """What was seen; a node may have delivered it by POST /tasks/inventory before."""
    if state is not State.FINISHED:
        return
    if unsaved := task.params.get("unsaved"):
        ledger.save_hypervisor(msgspec.convert(unsaved, Hypervisor))
    if "machines" not in task.results:
        return
    seen = msgspec.convert(task.results, Seen)
    # Any machine may be one that the node could not read and did not name: such a look misses none.
    since = None if seen.unnamed else task.started
    hypervisor = task.ref("hypervisor") or ""
    take_in(task, seen, since, ledger)
    ledger.surrounded(hypervisor, seen.networks, seen.storages)


def take_in(task: Task, seen: Seen, since: int | None, ledger: Ledger) -> None:
    """What a look at machines found; `since` as in `Ledger.inventory`."""
    deliver(task, seen, since, ledger)
    held = {
        one.uuid: {snapshot.name: snapshot.time for snapshot in one.snapshots}
        for one in seen.machines
        if one.snapshots is not None
    }
    ledger.snapshots_seen(task.ref("hypervisor") or "", held, since=task.started or 0)


def deliver(task: Task, seen: Seen, since: int | None, ledger: Ledger) -> None:
    """Put what a node saw into the inventory; `since` as in `Ledger.inventory`."""
    hypervisor = task.ref("hypervisor") or ""
    entities = [entity(one, hypervisor) for one in seen.machines]
    unreadable = [UnreadableMachine(one.where, one.message, one.uuid) for one in seen.unreadable]
    if seen.unnamed:
        unreadable.append(UnreadableMachine("", f"{seen.unnamed} that the node did not name"))
    ledger.inventory(
        hypervisor, entities, complete_since=since, by=task.workflow, unreadable=unreadable
    )
    ledger.reunited(hypervisor)


def entity(found: ReportedMachine, hypervisor: str) -> Entity:
    """A machine that a node saw, as the inventory keeps it."""
    return Entity(
        guid=new_guid(),
        uuid=found.uuid,
        name=found.name,
        hypervisor=hypervisor,
        disks=found.disks,
        project=found.project,
        present=found.present,
        hardware=msgspec.to_builtins(found.hardware) if found.hardware else {},
        place=found.place or "",
    )


KIND = TaskKind(
    type="INVENTORY_SYNC",
    lane="inventory",
    order=InventorySyncOrder,
    prepare=prepare,
    run=run,
    settle=settle,
    submissions=(
        Submission(
            "inventory-sync",
            InventorySyncRequest,
            plan,
            summary="Create inventory synchronization task.",
        ),
        Submission(
            "wizard/inventory-sync",
            InventorySyncWizardRequest,
            plan_wizard,
            summary="Create inventory synchronization task from configuration wizard.",
        ),
    ),
)
