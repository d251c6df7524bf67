"""UPLOAD: copies files of a mounted backup into a running guest, by its agent."""

from __future__ import annotations

from haulback.contract import example_values as example
from haulback.contract.order_records import Hypervisor
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import RESTORERS
from haulback.contract.upload import UploadOrder, UploadRequest
from haulback.errors import Conflict, Malformed
from haulback.hypervisor_types import Capability, type_of
from haulback.inventory import reach
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Entity, Mount
from haulback.kinds.api import Context, Submission, TaskKind
from haulback.kinds.support import planning
from haulback.kinds.support.reports import ReportMember
from haulback.tasks.record import Plan, Task
from haulback.wire import Named

_MOST = 10_000  # paths of one task, so that its order stays below about a megabyte


def plan(request: UploadRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan the task.  Raises Malformed, NotFound, or Conflict for a mount that is not mounted."""
    mount = catalogue.mounts.get(request.mountedBackup.guid)
    paths = _paths(request)
    if mount.state != "MOUNTED":
        raise Conflict(
            f"the backup of {mount.entity_name} is {mount.state}, not mounted; `haulback mount ls` "
            "lists the mounted ones"
        )
    volume = _volume(request, mount, catalogue)
    target = request.protectedEntity
    entity = catalogue.machines.get(target.guid if target else mount.entity)
    hypervisor = _reached(entity, mount, catalogue)
    if request.node and request.node.guid != mount.node:
        known = catalogue.places.node(request.node.guid)
        raise Malformed(f"node: {known.name} does not serve this mount", field="node")
    refs = {
        "backup": Named(mount.backup, mount.entity_name),
        "mountedBackup": Named(mount.guid, mount.entity_name),
        "protectedEntity": entity.named(),
        **planning.platform(hypervisor, catalogue),
    }
    params = {"paths": paths, "volume": volume, "destinationPath": request.destinationPath or "/"}
    context = context.of(mount.project)
    return Plan(
        [
            planning.task(
                "UPLOAD",
                "restore",
                context,
                request,
                planning.TaskSpec(refs=refs, params=params, pinned=mount.node),
            )
        ]
    )


def _paths(request: UploadRequest) -> list[str]:
    if not request.paths or len(request.paths) > _MOST:
        raise Malformed(f"paths: name 1 to {_MOST} paths", field="paths")
    for field, path in (
        *((f"paths[{i}]", path) for i, path in enumerate(request.paths)),
        ("destinationPath", request.destinationPath or "/"),
    ):
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path or len(path) > 4096:
            raise Malformed(f"{field}: send an absolute path without ..", field=field)
    return request.paths


def _volume(request: UploadRequest, mount: Mount, catalogue: Catalogue) -> str:
    """The name of the file system to copy from: the requested file system, or the only one.

    The mount points of the guest are unknown, so that several file systems need a destination path.
    """
    field = "mountedFileSystem"
    shown = {
        guid: volume for guid, volume in catalogue.mounts.volumes(mount.guid) if volume.readable
    }
    if len(shown) > 1 and not request.destinationPath:
        raise Malformed(
            f"destinationPath: name the folder, because the mount shows {len(shown)} file "
            "systems and Haulback does not know where the guest mounts them (/ for its "
            "root)",
            field="destinationPath",
        )
    if request.mountedFileSystem:
        chosen = shown.get(request.mountedFileSystem.guid)
        if chosen is None:
            raise Malformed(
                f"{field}: this backup has no file system with this guid; `haulback mount "
                "volumes` lists them",
                field=field,
            )
        return chosen.name
    if len(shown) != 1:
        raise Malformed(
            f"{field}: name one of the {len(shown)} file systems of the mount", field=field
        )
    return next(iter(shown.values())).name


def _reached(entity: Entity, mount: Mount, catalogue: Catalogue) -> Hypervisor:
    hypervisor = catalogue.places.hypervisor(entity.hypervisor)
    platform = type_of(hypervisor.driver, hypervisor.config)
    if not platform.can(Capability.POWER):
        raise Malformed(
            f"protectedEntity: {platform.words} cannot run machines; name a running "
            "machine of another hypervisor",
            field="protectedEntity",
        )
    platform.require(Capability.GUEST, "protectedEntity")
    if not reach.reaches(mount.node, hypervisor):
        raise Malformed(
            f"protectedEntity: the node that serves the mount does not reach {hypervisor.name}",
            field="protectedEntity",
        )
    return hypervisor


def prepare(task: Task, catalogue: Catalogue) -> UploadOrder:
    entity = catalogue.machines.get(task.ref("protectedEntity") or "")
    params = task.params
    return UploadOrder(
        mount=task.ref("mountedBackup") or "",
        volume=params["volume"],
        paths=params["paths"],
        folder=params["destinationPath"],
        uuid=entity.uuid,
        hypervisor=catalogue.places.hypervisor(entity.hypervisor),
    )


Request = UploadRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="UPLOAD",
    lane="restore",
    order=UploadOrder,
    prepare=prepare,
    members=frozenset({"taskFiles"}),
    report=(ReportMember("uploaded", "count", "Number of paths that were copied."),),
    submissions=(
        Submission(
            "upload",
            UploadRequest,
            plan,
            many=False,
            summary="Create upload task.",
            roles=RESTORERS,
            projects=ProjectAccess.OBJECTS,
            examples=[{"mountedBackup": example.REF, "paths": ["/etc/hosts"]}],
            command="mount upload MOUNT /etc/hosts --machine GUEST",
        ),
    ),
)
