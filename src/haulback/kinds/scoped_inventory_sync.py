"""SCOPED_INVENTORY_SYNC: scans a few machines; the server plans it in addition to other tasks."""

from __future__ import annotations

import msgspec

from haulback.contract.inventory_sync import InventoryScan
from haulback.contract.scoped_inventory_sync import ScopedInventorySyncOrder
from haulback.contract.task_states import State
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.presence import HypervisorScan
from haulback.kinds.api import TaskKind
from haulback.kinds.support.machine_report import SCAN_REPORT, take_in
from haulback.tasks.record import Task


def uuids_of(task: Task) -> list[str]:
    """The machines to scan, by their uuids on the platform."""
    uuids: list[str] | None = task.params.get("uuids")
    # The scan follows the task that created the machine, and reads that task's report.
    if uuids is None:
        made = task.params.get("before", {}).get("uuid")
        return [made] if isinstance(made, str) else []
    return uuids


def prepare(task: Task, catalogue: Catalogue) -> ScopedInventorySyncOrder:
    uuids = uuids_of(task)
    host = catalogue.places.hypervisor(task.ref("hypervisor") or "")
    known = [catalogue.machines.find_at(host.guid, uuid) for uuid in uuids]
    return ScopedInventorySyncOrder(
        host, uuids, {one.uuid: one.place for one in known if one and one.place}
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    if state is State.FINISHED and "machines" in task.results:
        seen = msgspec.convert(task.results, InventoryScan)
        look = HypervisorScan(task.workflow, task.started or 0, seen.shown)
        ledger.inventory.machines_gone(task.ref("hypervisor") or "", seen.gone, look)
        take_in(task, seen, None, ledger)


KIND = TaskKind(
    type="SCOPED_INVENTORY_SYNC",
    lane="inventory",
    order=ScopedInventorySyncOrder,
    prepare=prepare,
    settle=settle,
    report=SCAN_REPORT,
    submissions=(),
)
