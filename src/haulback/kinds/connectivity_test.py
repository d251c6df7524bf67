"""CONNECTIVITY_TEST: tests whether a node reaches a hypervisor or can use a destination."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from haulback.contract import example_values as example
from haulback.contract.connectivity_test import (
    ConnectivityTestOrder,
    ConnectivityTestRequest,
    ConnectivityTestResult,
)
from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import OPERATORS
from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.managers import manager_of
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.reports import SPACE, ReportMember
from haulback.tasks.destination_health import AGAIN
from haulback.tasks.record import Plan, Task
from haulback.wire import Named


def plan(request: ConnectivityTestRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a task for each target, including the hypervisors of managers.

    Raises Malformed or NotFound.
    """
    planning.no_such(request, "storageProviders")
    hypervisors = {r.guid: catalogue.places.hypervisor(r.guid) for r in request.hypervisors or []}
    for ref in request.hypervisorManagers or []:
        manager = catalogue.records.get("hypervisor-manager", ref.guid)
        for hypervisor in catalogue.places.hypervisors():
            if manager_of(hypervisor) == manager.guid:
                hypervisors[hypervisor.guid] = hypervisor
    stores = {
        r.guid: catalogue.places.destination(r.guid) for r in request.backupDestinations or []
    }
    tests = [
        _test(planning.platform(target, catalogue), target, request, context)
        for target in hypervisors.values()
    ]
    tests += [
        _test({"backupDestination": planning.named(target)}, target, request, context)
        for target in stores.values()
    ]
    if not tests:
        raise Malformed("hypervisors: name at least one hypervisor or destination to test")
    return Plan(tests)


def of_destination(target: BackupDestination, context: Context) -> Task:
    """The test that the server plans for a destination that does not answer."""
    test = _test({"backupDestination": planning.named(target)}, target, None, context)
    test.params[AGAIN] = True
    return test


def _test(
    refs: Mapping[str, Named | None],
    target: Hypervisor | BackupDestination,
    request: ConnectivityTestRequest | None,
    context: Context,
) -> Task:
    return planning.task(
        "CONNECTIVITY_TEST",
        # A destination that hangs must not block the lane of the inventories.
        "inventory" if isinstance(target, Hypervisor) else "upkeep",
        context,
        request,
        planning.TaskSpec(refs=refs, pinned=reach.pin(target)),
    )


def prepare(task: Task, catalogue: Catalogue) -> ConnectivityTestOrder:
    if hypervisor := task.ref("hypervisor"):
        return ConnectivityTestOrder(hypervisor=catalogue.places.hypervisor(hypervisor))
    return ConnectivityTestOrder(
        destination=catalogue.places.destination(task.ref("backupDestination") or "")
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    destination = task.ref("backupDestination")
    if state is State.FINISHED and destination:
        report = msgspec.convert(task.results, ConnectivityTestResult)
        if report.probe:
            ledger.destinations.probed(destination, report.probe)
        ledger.destinations.space(destination, report.totalSpace, report.freeSpace)


Request = ConnectivityTestRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="CONNECTIVITY_TEST",
    lane="inventory",
    order=ConnectivityTestOrder,
    prepare=prepare,
    settle=settle,
    report=(
        ReportMember("reachable", "flag", "Always true: a finished task has reached its targets."),
        ReportMember("probe", "object", "The results of the probe of a destination's store."),
        *SPACE,
    ),
    submissions=(
        Submission(
            "connectivity-test",
            ConnectivityTestRequest,
            plan,
            summary="Create connectivity test tasks to check connection with target entities.",
            roles=OPERATORS,
            projects=ProjectAccess.COMMON,
            examples=[{"backupDestinations": [example.REF]}],
            command="destination test DESTINATION",
        ),
    ),
)
