"""INVENTORY_SYNC: scans the machines of a hypervisor."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from haulback import hypervisor_types
from haulback.contract import example_values as example
from haulback.contract.inventory_sync import (
    Candidate,
    InventoryScan,
    InventorySyncOrder,
    InventorySyncRequest,
    InventorySyncWizardRequest,
    Sources,
)
from haulback.contract.order_records import Hypervisor
from haulback.contract.roles import ADMINS, OPERATORS
from haulback.contract.task_states import State
from haulback.errors import Conflict, Malformed
from haulback.ids import guid_of, new_guid
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.managers import manager_of
from haulback.kinds.api import AnyRequest, Context, Submission, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.machine_report import SCAN_REPORT, take_in
from haulback.tasks.record import Plan, Task
from haulback.wire import Named, Ref


def plan(request: InventorySyncRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a task for each hypervisor, including those of the named managers.  Raises NotFound."""
    planning.no_such(request, "storageProviders", "cloudServiceProviders", "osAgents")
    wanted = {ref.guid: catalogue.places.hypervisor(ref.guid) for ref in request.hypervisors or []}
    for one in _of_managers(request.hypervisorManagers or [], catalogue):
        wanted[one.guid] = one
    return Plan([sync(one, context, catalogue, request) for one in wanted.values()])


def _of_managers(managers: list[Ref], catalogue: Catalogue) -> list[Hypervisor]:
    for ref in managers:
        catalogue.records.get("hypervisor-manager", ref.guid)
    guids = {ref.guid for ref in managers}
    known = catalogue.places.hypervisors() if guids else []
    return [one for one in known if manager_of(one) in guids]


def plan_wizard(
    request: InventorySyncWizardRequest, catalogue: Catalogue, context: Context
) -> Plan:
    """Plan a task for each candidate; a new hypervisor is saved only if its scan succeeds."""
    candidates = request.hypervisors or []
    known = [
        Ref(guid_of(candidate.guid, "hypervisors.guid"))
        for candidate in candidates
        if candidate.guid
    ]
    rest = {name: getattr(request, name) for name in Sources.__struct_fields__}
    whole = plan(InventorySyncRequest(hypervisors=known, **rest), catalogue, context)
    new = [candidate.name for candidate in candidates if not candidate.guid]
    if len(set(new)) != len(new):
        raise Malformed("hypervisors: each hypervisor needs a name of its own", field="hypervisors")
    for i, candidate in enumerate(candidates):
        if not candidate.guid:
            whole.tasks.append(_try(candidate, f"hypervisors[{i}]", request, catalogue, context))
    return whole


def _try(
    candidate: Candidate,
    field: str,
    request: InventorySyncWizardRequest,
    catalogue: Catalogue,
    context: Context,
) -> Task:
    chosen = hypervisor_types.driver_of(candidate.type, candidate.driver, f"{field}.")
    driver, path, more = hypervisor_types.config(chosen, candidate.path, candidate.url, f"{field}.")
    name, path = planning.place(candidate.name, path, f"{field}.")
    if any(known.name == name for known in catalogue.places.hypervisors()):
        raise Conflict(
            f"{field}.name: {name!r} is taken; choose another name", field=f"{field}.name"
        )
    node = (
        catalogue.places.node(candidate.node.guid).guid
        if candidate.node
        else catalogue.places.only_node(f"{field}.node")
    )
    record = Hypervisor(
        guid=new_guid(), name=name, driver=driver, config={"path": path, **more}, node=node
    )
    # The manager of the first hypervisor of a type is recorded together with the hypervisor.
    task = _scan(record, {"hypervisor": planning.named(record)}, context, request)
    task.params["unsaved"] = msgspec.to_builtins(record)
    return task


def sync(
    hypervisor: Hypervisor, context: Context, catalogue: Catalogue, request: AnyRequest = None
) -> Task:
    """The task that scans a hypervisor."""
    return _scan(hypervisor, planning.platform(hypervisor, catalogue), context, request)


def _scan(
    hypervisor: Hypervisor,
    refs: Mapping[str, Named | None],
    context: Context,
    request: AnyRequest,
) -> Task:
    spec = planning.TaskSpec(refs=refs, pinned=reach.pin(hypervisor))
    return planning.task("INVENTORY_SYNC", "inventory", context, request, spec)


def prepare(task: Task, catalogue: Catalogue) -> InventorySyncOrder:
    if unsaved := task.params.get("unsaved"):
        return InventorySyncOrder(msgspec.convert(unsaved, Hypervisor))
    return InventorySyncOrder(catalogue.places.hypervisor(task.ref("hypervisor") or ""))


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record the scan; the node may have sent the machines earlier by POST /tasks/inventory."""
    if state is not State.FINISHED:
        return
    if unsaved := task.params.get("unsaved"):
        ledger.inventory.save_hypervisor(msgspec.convert(unsaved, Hypervisor))
    if "machines" not in task.results:
        return
    seen = msgspec.convert(task.results, InventoryScan)
    # Any machine may be among the unreadable machines that the node did not name, so such a scan
    # misses none.
    since = None if seen.unnamed else task.started
    hypervisor = task.ref("hypervisor") or ""
    take_in(task, seen, since, ledger)
    ledger.inventory.surrounded(hypervisor, seen.networks, seen.storages)


Request = InventorySyncRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="INVENTORY_SYNC",
    lane="inventory",
    order=InventorySyncOrder,
    prepare=prepare,
    settle=settle,
    report=SCAN_REPORT,
    submissions=(
        Submission(
            "inventory-sync",
            InventorySyncRequest,
            plan,
            summary="Create inventory synchronization task.",
            roles=OPERATORS,
            examples=[{"hypervisorManagers": []}, {"hypervisors": [example.GUID]}],
            command="hypervisor sync HYPERVISOR",
        ),
        Submission(
            "wizard/inventory-sync",
            InventorySyncWizardRequest,
            plan_wizard,
            summary="Create inventory synchronization task from configuration wizard.",
            roles=ADMINS,
            examples=[
                {"hypervisors": [{"name": "new", "path": "/srv/machines", "node": example.REF}]}
            ],
            command="hypervisor try there /srv/machines --node NODE",
        ),
    ),
)
