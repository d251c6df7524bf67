"""IMPORT: creates a machine from a backup; a RESTORE before it checks the backup."""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.import_machine import (
    ImportMachineOrder,
    ImportMachineRequest,
    ImportResult,
    NetworkCardChange,
    taken_name,
)
from haulback.contract.order_records import Hypervisor
from haulback.contract.project_access import ProjectAccess
from haulback.contract.restores import Allocation
from haulback.contract.roles import RESTORERS
from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Backup, Entity
from haulback.kinds.api import TARGET, Context, Submission, TaskKind
from haulback.kinds.support import machine_scan, planning, restore_target
from haulback.kinds.support.backup_choice import (
    chosen,
    other_places,
    reached_with,
    references,
)
from haulback.kinds.support.reports import READ_FROM, ReportMember
from haulback.kinds.support.restore_jobs import job_begun, job_ended, new_job
from haulback.tasks.destination_health import read_from
from haulback.tasks.record import Plan, Task
from haulback.wire import JsonObject, Named

_FORM = "restoredDiskAllocationFormat"


def plan(request: ImportMachineRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a RESTORE that checks the backup, and the IMPORT that follows.

    Raises Malformed, NotFound or Conflict.
    """
    backup = chosen(request.backup, request.backupLocation, catalogue)
    origin = catalogue.machines.get(backup.entity)
    store = catalogue.places.destination(backup.destination)
    to = restore_target.hypervisor(request, catalogue, origin, store)
    backup = chosen(request.backup, request.backupLocation, catalogue, reached_with(to))
    store = catalogue.places.destination(backup.destination)
    restore_target.honoured(request, to, catalogue)
    name = restore_target.name_of(request, catalogue)
    node = planning.pinned(catalogue, to, store)
    replaced = _replaced(request, catalogue, to, backup, name)
    where = {"hypervisor": planning.named(to), "name": name}
    job = new_job("RESTORE_AND_IMPORT", backup, context, where)
    refs = {
        **references(backup, catalogue),
        **planning.platform(to, catalogue),
        "dstProtectedEntity": replaced.named()
        if replaced
        else restore_target.target(request, catalogue, backup.entity, name),
        "restoreJob": Named(job.guid),
    }
    wishes = restore_target.wishes(request, name, to, backup, catalogue)
    params = {**_params(request, replaced), **wishes}
    spec = planning.TaskSpec(refs=refs, params=params, pinned=node)
    context = context.of(job.project or (request.tenantId or "")[:80] or None)
    first = planning.task("RESTORE", "restore", context, request, spec)
    locked = replaced.guid if replaced else None
    second = planning.task("IMPORT", "import", context, request, spec.after(first, locked))
    whole = Plan([first, second], restores=[job])
    return machine_scan.followed(whole, to, context)


def _params(request: ImportMachineRequest, replaced: Entity | None) -> JsonObject:
    form = request.restoredDiskAllocationFormat
    return {
        "restoreType": "RESTORE_AND_IMPORT",
        "overwrite": bool(request.overwrite),
        "replaces": replaced.uuid if replaced else "",
        "powerOnAfterRestore": bool(request.powerOnAfterRestore),
        **({_FORM: form.value} if form else {}),
    }


def _replaced(
    request: ImportMachineRequest, catalogue: Catalogue, to: Hypervisor, backup: Backup, name: str
) -> Entity | None:
    """The machine to overwrite: the named machine, or the machine of the backup.

    Raises NotFound for a machine of another caller, Malformed for a machine on another hypervisor.
    """
    if not request.overwrite:
        return None
    if target := request.dstProtectedEntity:
        machine = catalogue.machines.get(target.guid)
        if machine.hypervisor != to.guid:
            field = "dstProtectedEntity"
            raise Malformed(f"{field}: {machine.name} is not on {to.name}", field=field)
        return machine
    own = catalogue.machines.get(backup.entity)
    if name in ("", own.name) and own.hypervisor == to.guid and own.present:
        return own
    return catalogue.machines.find_named(to.guid, name or own.name)


def prepare(task: Task, catalogue: Catalogue) -> ImportMachineOrder:
    backup = catalogue.backups.get(task.ref("backup") or "")
    params = task.params
    return ImportMachineOrder(
        backup.guid,
        catalogue.places.destination(backup.destination),
        catalogue.places.hypervisor(task.ref("hypervisor") or ""),
        str(params["restoredPeName"]),
        str(params.get("replaces", "")),
        params.get(_FORM) == Allocation.PREALLOCATED.value,
        params.get("skip", []),
        params.get("rename", {}),
        params.get("stores", {}),
        bool(params.get("powerOnAfterRestore")),
        msgspec.convert(params.get("cards", []), list[NetworkCardChange]),
        task.ref("mountedBackup") or "",
        other_places(backup, task.node, catalogue),
        as_before=_FORM not in params,
        mark=str(params.get("mark", "")),
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record the restored machine in the inventory, and the end of the restore job."""
    job_ended(task, state, ledger, _other_name(task))
    share = task.ref("mountedBackup")
    if share and state is not State.FINISHED:
        ledger.mounts.until(share, ledger.now)
    if state is State.FINISHED and not task.params.get("skip") and not share:
        ledger.proofs.verified(read_from(task).backup or "")  # the task read all chunks
    if state is not State.FINISHED or "uuid" not in task.results:
        return  # without the uuid, the next inventory adds the machine
    report = msgspec.convert(task.results, ImportResult)
    entity = Entity(
        guid=new_guid(),
        uuid=report.uuid,
        name=report.name,
        hypervisor=task.ref("hypervisor") or "",
        disks=report.disks,
        project=task.project,
    )
    ledger.inventory.scanned(entity.hypervisor, [entity], complete_since=None)
    if share:
        ledger.mounts.runs_from(share, entity.hypervisor, report.uuid)


def _other_name(task: Task) -> str:
    """The sentence about a machine that got another name than the requested one, or ""."""
    entity, platform = task.refs.get("protectedEntity"), task.refs.get("hypervisor")
    asked = str(task.params.get("restoredPeName") or (entity.name if entity else ""))
    made = str(task.results.get("name", ""))
    if not made or not asked or made == asked:
        return ""
    return taken_name(asked, made, platform.name if platform else "the platform")


Request = ImportMachineRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="IMPORT",
    lane="import",
    order=ImportMachineOrder,
    prepare=prepare,
    start=job_begun,
    settle=settle,
    members=TARGET,
    retries=True,
    report=(
        ReportMember("uuid", "text", "The uuid of the new machine on its platform.", needed=True),
        ReportMember("name", "text", "The name of the new machine.", needed=True),
        ReportMember("disks", "array", "Each disk: name, size (bytes), format."),
        READ_FROM,
        ReportMember("warnings", "texts", "Sentences about parts that the machine lacks."),
    ),
    submissions=(
        Submission(
            "restore-and-import",
            ImportMachineRequest,
            plan,
            many=False,
            summary="Create restore and import task.",
            roles=RESTORERS,
            projects=ProjectAccess.OBJECTS,
            examples=[
                {
                    "backupLocation": example.LOCATION,
                    "hypervisor": example.REF,
                    "restoredPeName": "web-again",
                    "restoredDiskAllocationFormat": {"name": "SPARSE"},
                    "overwrite": False,
                }
            ],
            command="restore machine BACKUP --hypervisor HYPERVISOR",
        ),
    ),
)
