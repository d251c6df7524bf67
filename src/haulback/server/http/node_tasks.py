"""The task operations for the node that runs a task; other callers are refused."""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.backups import BackupType
from haulback.contract.node_tasks import (
    DataTransferRateRequest,
    DoubleDTO,
    FullInventory,
    OneInventory,
    StringDTO,
    TapeManagerInventoryRequest,
    TaskFilesListRequest,
    TransferInfoRequest,
    UpdateCbtTaskRequest,
    UpdateIncSnapRequired,
    UpdateTaskProgressRequest,
)
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import NODES, PEOPLE_AND_NODES
from haulback.contract.tasks import TaskDetails
from haulback.errors import Forbidden, KindUnavailable, Malformed
from haulback.ids import guid_of
from haulback.server.caller import Node
from haulback.server.http import node_schemas, query_params, request_body, task_views
from haulback.server.http.operation import GUID, NUMBER, ApiRequest, Param, Reply, Router
from haulback.server.http.schemas import Schema, Schemas
from haulback.server.queries import MOST
from haulback.server.services import inventory_sync, node_tasks, nodes, tasks
from haulback.tasks.record import Task
from haulback.wire import JsonObject, Named, present, read

_MOST_QUEUED = 1000  # tasks of an offer at most, even if the node requests more
router = Router()


@router(
    "GET",
    "/tasks/queued",
    "Tasks to be executed by a node.",
    answer=TaskDetails,
    many=True,
    query=(
        Param("node", "The node that sends the request.", GUID),
        Param("size", "Largest number of tasks, usually 100.", NUMBER),
    ),
    waits=True,
    roles=PEOPLE_AND_NODES,
    projects=ProjectAccess.OBJECTS,
    command="task queued NODE",
)
def queued(call: ApiRequest) -> list[TaskDetails]:
    """The tasks that a node may start now; with `Prefer: wait=30` the request waits for tasks."""
    found = _offer(call, _asking(call))
    if call.who.node:
        return [task_views.details(task) for task in found]  # tasks that no limit delays
    waits = tasks.waits(call.app, found)
    return [task_views.details(task, waits.get(task.guid)) for task in found]


def _asking(call: ApiRequest) -> Node | None:
    """The node whose offer the request reads; None means all queued tasks.  Raises Forbidden."""
    guid = query_params.guid(call, "node")
    if call.who.node:
        if guid not in (None, call.who.node.guid):
            raise Forbidden("node: a node may name only itself; leave the parameter out")
        return call.who.node
    if guid is None:
        return None
    return nodes.node(call.app, guid)


def _offer(call: ApiRequest, asking: Node | None) -> list[Task]:
    if call.who.node:
        node_tasks.heard(call.app, call.who.node)
    if asking and (call.who.node or call.who.scope.listed is None):
        return node_tasks.offer(call.app, asking, _size(call))
    most = query_params.size(call, MOST, MOST)
    guid = asking.guid if asking else None
    return tasks.queued(call.app, call.who.scope.listed, guid, most)


def _size(call: ApiRequest) -> int:
    """The largest number of tasks to offer."""
    return query_params.size(call, _MOST_QUEUED, node_tasks.OFFERED)


def _or_number(schemas: Schemas, known: Schema) -> Schema:
    """The schema of a percentage: an object, or the bare number."""
    return {"anyOf": [known, {"type": "number", "minimum": 0, "maximum": 100}]}


@router(
    "PUT",
    "/tasks/{guid}/progress",
    "Percent done.",
    request=DoubleDTO,
    request_schema=_or_number,
    status=204,
    roles=NODES,
    examples=[{"value": 66.5}, 66.5],
    command="task node progress TASK 66.5",
)
def progress(call: ApiRequest) -> None:
    """Percent done."""
    value = call.parsed()
    percent = read(value, DoubleDTO, "").value if isinstance(value, dict) else None
    said = read(value, float, "value") if percent is None else percent
    node_tasks.progress(call.app, call.node, call.guid, _percent(said))


def _percent(value: float) -> float:
    if not 0 <= value <= 100:
        raise Malformed("value: send a progress from 0 to 100", field="value")
    return value


def _objects(call: ApiRequest) -> None:
    wanted: UpdateTaskProgressRequest = call.read(UpdateTaskProgressRequest)
    done, total = wanted.processedObjectCount, wanted.totalObjectCount
    if not 0 <= done <= total:
        raise Malformed(
            "processedObjectCount: send a number from 0 to totalObjectCount",
            field="processedObjectCount",
        )
    said = wanted.progress
    percent = (100.0 * done / total if total else 0.0) if said is None else _percent(said)
    counts = {"processedObjectCount": done, "totalObjectCount": total}
    node_tasks.add_results(call.app, call.node, call.guid, counts, progress=percent)


for _what in ("cloud", "os"):
    router(
        "PUT",
        f"/tasks/{{guid}}/{_what}-progress",
        f"Progress of {_what} work, in objects.",
        roles=NODES,
        request=UpdateTaskProgressRequest,
        status=204,
        examples=[{"processedObjectCount": 3, "totalObjectCount": 10}],
        command=f"task node {_what}-progress TASK 3 10",
    )(_objects)


@router(
    "PUT",
    "/tasks/{guid}/backup-type",
    "Full or incremental.",
    request=BackupType,
    answer=TaskDetails,
    status=204,
    roles=NODES,
    examples=["FULL", {"name": "FULL"}],
    command="task node backup-type TASK full",
)
def backup_type(call: ApiRequest) -> Reply:
    """Record that an increment became a full backup."""
    kind: BackupType = read(call.parsed(), BackupType, "backupType")
    if kind not in (BackupType.FULL, BackupType.INCREMENTAL):
        raise Malformed("backupType: send FULL or INCREMENTAL", field="backupType")
    return _represented(call, node_tasks.became(call.app, call.node, call.guid, kind.value))


@router(
    "PUT",
    "/tasks/{guid}/transfer-info",
    "Results of the work.",
    request=TransferInfoRequest,
    request_schema=node_schemas.reports,
    answer=TaskDetails,
    status=204,
    roles=NODES,
    examples=[{"transferredBytes": 1048576, "totalBytes": 2097152}],
    command="task node transfer-info TASK FILE",
)
def transfer_info(call: ApiRequest) -> Reply:
    """The results of a task; they take effect once the task is FINISHED.

    Each kind of task has a report of its own, EXPORT for example ExportReport.  A repeated member
    replaces the earlier value.
    """
    info: object = call.parsed()
    if not isinstance(info, dict):
        raise Malformed("the body: send the transfer info as an object")
    known = msgspec.to_builtins(read(info, TransferInfoRequest, ""))
    kept = present({**info, **known})
    kept.pop("transferHistory", None)  # the server computes this member from samples
    return _represented(call, node_tasks.add_results(call.app, call.node, call.guid, kept))


def _represented(call: ApiRequest, task: Task) -> Reply:
    """Status 204 without a body, or 200 with the result if the caller prefers it (RFC 7240)."""
    if not call.wants_representation:
        return Reply()
    task.refs["node"] = Named(call.who.guid, call.who.name)
    applied = {"Preference-Applied": "return=representation"}
    return Reply(task_views.details(task), status=200, headers=applied)


@router(
    "PUT",
    "/tasks/{guid}/transfer-rate",
    "A sample of the transfer rate.",
    request=DataTransferRateRequest,
    status=204,
    roles=NODES,
    examples=[{"transferRate": 1048576.0, "transferredBytes": 4194304}],
    command="task node transfer-rate TASK 1048576 4194304",
)
def transfer_rate(call: ApiRequest) -> None:
    """A sample of the transfer rate; its bytes are the total so far."""
    sample, total = _sample(call)
    if total is not None:
        sample["transferredBytes"] = total
    node_tasks.add_sample(call.app, call.node, call.guid, sample)


@router(
    "PUT",
    "/tasks/{guid}/transfer-rate/incremental",
    "A sample whose bytes are added to the total.",
    request=DataTransferRateRequest,
    status=204,
    roles=NODES,
    examples=[{"transferRate": 1048576.0, "transferredBytes": 1048576}],
    command="task node transfer-rate TASK 1048576 1048576 --add",
)
def more_transferred(call: ApiRequest) -> None:
    """A sample of the transfer rate; its bytes are added to the total."""
    sample, more = _sample(call)
    node_tasks.add_bytes(call.app, call.node, call.guid, sample, more or 0)


def _sample(call: ApiRequest) -> tuple[JsonObject, int | None]:
    rate: DataTransferRateRequest = call.read(DataTransferRateRequest)
    for name in ("transferRate", "transferredBytes", "timestamp"):
        if (getattr(rate, name) or 0) < 0:
            raise Malformed(f"{name}: send a number of at least 0", field=name)
    when = call.app.clock.now_ms() if rate.timestamp is None else rate.timestamp
    return {"transferRate": rate.transferRate, "timestamp": when}, rate.transferredBytes


def _task_of(wanted: UpdateCbtTaskRequest | UpdateIncSnapRequired) -> str:
    if wanted.task:
        return wanted.task.guid
    named = wanted.guid or wanted.taskGuid
    if not named:
        raise Malformed("task: is required; send the guid of the task", field="task")
    return guid_of(named, "guid")


@router(
    "PUT",
    "/tasks/cbt-id",
    "The checkpoint.",
    request=UpdateCbtTaskRequest,
    status=204,
    roles=NODES,
    examples=[{"task": example.REF, "cbtId": "checkpoint-1"}],
    command="task node cbt-id TASK checkpoint-1",
)
def cbt_id(call: ApiRequest) -> None:
    """The checkpoint that the next increment may build on once the backup is stored."""
    wanted: UpdateCbtTaskRequest = call.read(UpdateCbtTaskRequest)
    if not 0 < len(wanted.cbtId) <= 120:
        raise Malformed("cbtId: send 1 to 120 characters", field="cbtId")
    node_tasks.set_member(call.app, call.node, _task_of(wanted), "cbtId", wanted.cbtId)


@router(
    "PUT",
    "/tasks/inc-snap-required",
    "Whether the export must keep a snapshot.",
    request=UpdateIncSnapRequired,
    status=204,
    roles=NODES,
    examples=[{"task": example.REF, "incSnapRequired": True}],
    command="task node inc-snap-required TASK",
)
def inc_snap_required(call: ApiRequest) -> None:
    """Set whether the export must keep a snapshot, which an incremental schedule will use."""
    wanted: UpdateIncSnapRequired = call.read(UpdateIncSnapRequired)
    node_tasks.inc_snap_required(call.app, call.node, _task_of(wanted), wanted.incSnapRequired)


@router(
    "POST",
    "/tasks/{guid}/task-files",
    "The files of a task.",
    request=TaskFilesListRequest,
    status=201,
    roles=NODES,
    examples=[{"taskFiles": [{"backupFile": example.REF}]}],
    command="task node files TASK FILES",
)
def task_files(call: ApiRequest) -> None:
    """Set the files of a task, which replace its earlier files."""
    wanted: TaskFilesListRequest = call.read(TaskFilesListRequest)
    files = present(msgspec.to_builtins(wanted.taskFiles))
    node_tasks.set_member(call.app, call.node, call.guid, "taskFiles", files)


def _place(name: str) -> object:
    def handle(call: ApiRequest) -> None:
        wanted: StringDTO = call.read(StringDTO)
        if not 0 < len(wanted.value) <= 400:
            raise Malformed("value: send 1 to 400 characters", field="value")
        node_tasks.set_member(call.app, call.node, call.guid, name, wanted.value)

    return handle


for _path, _name, _value in (
    ("restore-host-id", "restoreHostId", "host-1"),
    ("restore-storage-id", "restoreStorageId", "storage-1"),
):
    router(
        "PUT",
        f"/tasks/{{guid}}/{_path}",
        f"Target of the restore: {_name}.",
        roles=NODES,
        request=StringDTO,
        status=204,
        examples=[{"value": _value}],
        command=f"task node {_path} TASK {_value}",
    )(_place(_name))


@router(
    "POST",
    "/tasks/inventory",
    "A full inventory.",
    request=FullInventory,
    status=201,
    body=request_body.INVENTORY,
    roles=NODES,
    examples=[
        {
            "type": {"name": "KVM", "description": "Kvm"},
            "hypervisor": example.REF,
            "virtualMachines": [{"uuid": "a", "name": "web", "disks": []}],
        }
    ],
    command="task node inventory FILE",
)
def inventory(call: ApiRequest) -> None:
    """The inventory of a hypervisor, sent by its node."""
    inventory_sync.take_inventory(call.app, call.node, call.read(FullInventory))


@router(
    "POST",
    "/tasks/instance-inventory",
    "The inventory of a machine.",
    request=OneInventory,
    status=201,
    roles=NODES,
    examples=[{"protectedEntity": example.REF, "instance": {"name": "web", "disks": []}}],
    command="task node instance-inventory FILE",
)
def instance_inventory(call: ApiRequest) -> None:
    """The inventory of a machine, sent by its node."""
    inventory_sync.take_instance(call.app, call.node, call.read(OneInventory))


@router(
    "POST",
    "/tasks/tape-manager-inventory",
    "The inventory of a tape manager.",
    request=TapeManagerInventoryRequest,
    status=201,
    roles=NODES,
    examples=[{"tapeManager": example.REF, "tapes": []}],
    command="task node tape-inventory FILE",
)
def tape_inventory(call: ApiRequest) -> None:
    """Refuse the result of a kind of task that is not available yet."""
    wanted: TapeManagerInventoryRequest = call.read(TapeManagerInventoryRequest)
    if wanted.tapeManager is None and wanted.task is None:
        raise Malformed("tapeManager: name the tape manager or the task", field="tapeManager")
    if wanted.task:
        node_tasks.check_mine(call.app, call.node, wanted.task.guid)
    raise KindUnavailable(
        "tasks of type TAPE_MANAGER_INVENTORY_SYNC are not available yet: nothing was changed",
        type="TAPE_MANAGER_INVENTORY_SYNC",
    )


@router(
    "POST",
    "/tasks/{guid}/log",
    "Add lines to the log of a task.",
    request=list[str],
    status=201,
    roles=NODES,
    examples=[["disk 1 of 2"]],
)
def write_log(call: ApiRequest) -> None:
    """Add lines to the log of a task."""
    lines: list[str] = call.read(list[str])
    node_tasks.add_log(call.app, call.node, call.guid, lines)
