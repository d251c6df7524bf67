"""LIVE_MIGRATION: moves a running machine from its mounted backup to storage, or to another
host.
"""

from __future__ import annotations

from haulback.contract import example_values as example
from haulback.contract.live_migration import LiveMigrationOrder, LiveMigrationRequest
from haulback.contract.mounts import MountMode
from haulback.contract.order_records import Hypervisor
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import RESTORERS
from haulback.contract.task_states import State
from haulback.errors import Conflict, Malformed
from haulback.hypervisor_types import TYPES, Capability, is_remote
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.ledger import Ledger
from haulback.inventory.records import Entity, Mount
from haulback.kinds.api import TARGET, Context, Submission, TaskKind
from haulback.kinds.support import conflicts, planning, restore_target, unmount_task
from haulback.kinds.support.reports import ReportMember
from haulback.tasks.record import Plan, Task
from haulback.wire import Named


def plan(request: LiveMigrationRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan the migration, and an UNMOUNT of the mount that the machine leaves.

    Raises Malformed, NotFound, or Conflict for a mounted backup from which no machine runs.
    """
    mount, entity = _meant(request, catalogue)
    here = catalogue.places.hypervisor(entity.hypervisor)
    to = _target(request, entity, here, mount, catalogue)
    restore_target.honoured(request, to, catalogue)
    restore_target.no_store(request, to, catalogue)
    conflicts.machine_free(entity.named(), "LIVE_MIGRATION", catalogue)
    if mount:
        conflicts.share_free(Named(mount.guid, mount.entity_name), catalogue)
    refs: dict[str, Named | None] = {
        "protectedEntity": entity.named(),
        **planning.platform(to, catalogue),
    }
    if mount:
        refs["mountedBackup"] = Named(mount.guid, mount.entity_name)
    context = context.of(entity.project or context.project)
    spec = planning.TaskSpec(
        refs=refs,
        params={"from": here.guid},
        locked=entity.guid,
        # a machine that runs from a mount needs the node that serves the mount
        pinned=mount.node if mount else planning.pinned(catalogue, here, to),
    )
    made = planning.task("LIVE_MIGRATION", "import", context, request, spec)
    rest = [unmount_task.task(mount, catalogue, context, request, follows=made)] if mount else []
    return Plan([made, *rest])


def _meant(request: LiveMigrationRequest, catalogue: Catalogue) -> tuple[Mount | None, Entity]:
    """The mount from which a machine runs, or None, and the machine."""
    if request.mountedBackup:
        mount = catalogue.mounts.get(request.mountedBackup.guid)
        if mount.state != "MOUNTED" or mount.mode != MountMode.INSTANT_RESTORE.value:
            raise Conflict(
                f"mountedBackup: no machine runs from the mount; its state is {mount.state}"
            )
        entity = catalogue.machines.find_at(mount.hypervisor or "", mount.machine or "")
        if entity is None:
            raise Conflict("mountedBackup: the machine of the mount does not exist yet")
        if request.protectedEntity and request.protectedEntity.guid != entity.guid:
            raise Malformed(
                f"protectedEntity: {entity.name} runs from the mount", field="protectedEntity"
            )
        return mount, entity
    if request.protectedEntity:
        entity = catalogue.machines.get(request.protectedEntity.guid)
        return catalogue.mounts.under_machine(entity), entity
    raise Malformed(
        "mountedBackup: name a mounted backup, or a protectedEntity", field="mountedBackup"
    )


def _target(
    request: LiveMigrationRequest,
    entity: Entity,
    here: Hypervisor,
    mount: Mount | None,
    catalogue: Catalogue,
) -> Hypervisor:
    named = request.hypervisor or request.hypervisorManager
    to = restore_target.hypervisor(request, catalogue, entity, here) if named else here
    platform = TYPES[here.driver]
    if not platform.can(Capability.POWER):
        raise Malformed(
            f"protectedEntity: {platform.words} cannot run machines; name a machine of "
            "another hypervisor",
            field="protectedEntity",
        )
    if reason := _hindrance(entity, here, to, mount):
        raise Malformed(f"hypervisor: {reason}", field="hypervisor")
    needed = Capability.INSTANT_RESTORE if mount else Capability.LIVE_MIGRATION
    platform.require(needed, "hypervisor")
    return to


def _hindrance(entity: Entity, here: Hypervisor, to: Hypervisor, mount: Mount | None) -> str:
    """The reason why the machine cannot move from `here` to `to`, "" if it can."""
    if mount and to.guid != here.guid:
        return f"{entity.name} runs from a backup; move its disks to {here.name} first"
    if not mount and to.guid == here.guid:
        return f"{entity.name} is on {here.name}; name another hypervisor"
    if to.driver != here.driver:
        words = TYPES[here.driver].words
        return (
            f"a machine on {words} cannot move to another host; restore a backup of the "
            "machine there"
        )
    for host in (here, to):
        if is_remote(host.config):
            return (
                f"{host.name} is reached by SSH, but machines move only between libvirt "
                "hosts with a node of their own; restore a backup of the machine there"
            )
    return ""


def prepare(task: Task, catalogue: Catalogue) -> LiveMigrationOrder:
    entity = catalogue.machines.get(task.ref("protectedEntity") or "")
    return LiveMigrationOrder(
        entity.uuid,
        catalogue.places.hypervisor(str(task.params["from"])),
        catalogue.places.hypervisor(task.ref("hypervisor") or ""),
    )


def settle(task: Task, state: State, ledger: Ledger) -> None:
    """Record the new host; a machine that moved keeps its guid and its backups."""
    to, entity = task.ref("hypervisor") or "", task.ref("protectedEntity") or ""
    if task.started is not None and to != task.params["from"]:
        # The new host has no record of the changed blocks.
        ledger.bases.void(entity, "the machine was moved")
        if state is State.FINISHED:
            ledger.inventory.lives_on(entity, to)


Request = LiveMigrationRequest  # the name in scripts that were written for the first release
KIND = TaskKind(
    type="LIVE_MIGRATION",
    lane="import",
    order=LiveMigrationOrder,
    prepare=prepare,
    settle=settle,
    members=TARGET,
    report=(ReportMember("uuid", "text", "The uuid of the machine where it runs now."),),
    submissions=(
        Submission(
            "live-migration",
            LiveMigrationRequest,
            plan,
            many=False,
            summary="Create live migration task.",
            roles=RESTORERS,
            projects=ProjectAccess.OBJECTS,
            examples=[{"mountedBackup": example.REF}],
            command="migrate LIVING",
        ),
    ),
)
