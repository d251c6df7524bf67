"""RESTORE: checks that a backup is readable, and with a path writes its disks as raw files."""

from __future__ import annotations

from haulback.contract import example_values as example
from haulback.contract.project_access import ProjectAccess
from haulback.contract.restore import RestoreOrder, RestoreRequest
from haulback.contract.roles import RESTORERS
from haulback.contract.task_states import State
from haulback.errors import Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.kinds.api import TARGET, Context, Submission, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.backup_choice import (
    chosen,
    other_places,
    reached_by,
    references,
)
from haulback.kinds.support.reports import READ_FROM, ReportMember
from haulback.kinds.support.restore_jobs import job_begun, job_ended, job_goes_on, new_job
from haulback.tasks.destination_health import read_from
from haulback.tasks.record import Plan, Task
from haulback.wire import Named


def plan(request: RestoreRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a RESTORE on the requested node.  Raises Malformed, NotFound or Conflict."""
    if not request.restorePath.startswith("/"):
        raise Malformed("restorePath: name a folder by its absolute path", field="restorePath")
    where = "a restore to a node's file system has none; it"
    planning.refuse(request, where, "hypervisor", "hypervisorManager", "storage")
    near = reached_by(catalogue.places.node(request.node.guid).guid)
    backup = chosen(request.backup, request.backupLocation, catalogue, near)
    destination = catalogue.places.destination(backup.destination)
    node = planning.on_node(catalogue, request.node, destination)
    job = new_job("RESTORE", backup, context, {"node": node, "restorePath": request.restorePath})
    refs = {**references(backup, catalogue), "node": node, "restoreJob": Named(job.guid)}
    params = {"restorePath": request.restorePath, "restoreType": "RESTORE"}
    made = planning.task(
        "RESTORE",
        "restore",
        context.of(job.project),
        request,
        planning.TaskSpec(refs=refs, params=params, pinned=node.guid),
    )
    return Plan([made], restores=[job])


def prepare(task: Task, catalogue: Catalogue) -> RestoreOrder:
    backup = catalogue.backups.get(task.ref("backup") or "")
    destination = catalogue.places.destination(backup.destination)
    skip = task.params.get("skip", [])
    path, pointer = task.params.get("restorePath"), bool(task.params.get("pointer"))
    others = other_places(backup, task.node, catalogue)
    return RestoreOrder(backup.guid, destination, path, skip, pointer, backup.files, others)


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """End the restore job, unless an IMPORT or a MOUNT follows."""
    only = task.params.get("restoreType") == "RESTORE"
    if state is State.FINISHED and not only:
        job_goes_on(task, ledger)
    else:
        job_ended(task, state, ledger)
    if state is State.FINISHED and only and "path" in task.results:
        ledger.proofs.verified(read_from(task).backup or "")  # the task read all chunks


Request = RestoreRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="RESTORE",
    lane="restore",
    order=RestoreOrder,
    prepare=prepare,
    start=job_begun,
    settle=settle,
    members=TARGET,
    retries=True,
    report=(
        ReportMember(
            "path", "text", "The folder that holds a raw file of each disk now, like vda.raw."
        ),
        ReportMember("disks", "count", "Number of disks, if the order has the member pointer."),
        ReportMember(
            "checked", "flag", "Whether every byte was read and is equal to the stored byte."
        ),
        READ_FROM,
        ReportMember("warnings", "texts", "Sentences about parts that were not restored."),
    ),
    submissions=(
        Submission(
            "restore",
            RestoreRequest,
            plan,
            many=False,
            summary="Create restore task.",
            roles=RESTORERS,
            projects=ProjectAccess.OBJECTS,
            examples=[
                {"backup": example.REF, "node": example.REF, "restorePath": "/srv/restores/web"}
            ],
            command="restore disks BACKUP /srv/restores/web --node NODE",
        ),
    ),
)
