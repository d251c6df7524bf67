"""Instant restore: a machine runs from a mounted backup; no data is copied."""

from __future__ import annotations

import msgspec

from haulback.contract import example_values as example
from haulback.contract.instant_restore import InstantRestoreRequest
from haulback.contract.mounts import MountMode
from haulback.contract.order_records import Hypervisor
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import RESTORERS
from haulback.errors import Malformed
from haulback.hypervisor_types import Capability, is_remote, type_of
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.records import Backup
from haulback.kinds.api import Context, Submission
from haulback.kinds.support import conflicts, machine_scan, planning, restore_target
from haulback.kinds.support.backup_choice import chosen, reached_with, references
from haulback.kinds.support.new_mount import new_mount
from haulback.kinds.support.restore_jobs import new_job
from haulback.tasks.record import NewMount, Plan
from haulback.wire import JsonObject, Named, Ref


def plan(request: InstantRestoreRequest, catalogue: Catalogue, context: Context) -> Plan:
    """Plan a RESTORE that checks the backup, a MOUNT, and an IMPORT that starts the machine.

    Raises Malformed, NotFound or Conflict.
    """
    backup = chosen(request.backup, request.backupLocation, catalogue)
    origin = catalogue.machines.get(backup.entity)
    store = catalogue.places.destination(backup.destination)
    to = restore_target.hypervisor(request, catalogue, origin, store)
    backup = chosen(request.backup, request.backupLocation, catalogue, reached_with(to))
    _possible(request, to)
    restore_target.honoured(request, to, catalogue)
    name = restore_target.name_of(request, catalogue)
    wishes = restore_target.wishes(request, name, to, backup, catalogue)
    same = {"mode": request.mode.value, "restoredPeName": name, "on": to.guid}
    conflicts.backup_free(Named(backup.guid, backup.entity_name), same, catalogue)
    shared = _share(request, backup, to, catalogue, context)
    where = {"hypervisor": planning.named(to), "name": name}
    job = new_job("INSTANT_RESTORE", backup, context, {**where, "mount": shared.guid})
    refs = {
        **references(backup, catalogue),
        **planning.platform(to, catalogue),
        "dstProtectedEntity": restore_target.target(request, catalogue, backup.entity, name),
        "restoreJob": Named(job.guid),
        "mountedBackup": Named(shared.guid, backup.entity_name),
    }
    params = {**_params(shared), **wishes, "on": to.guid}
    spec = planning.TaskSpec(refs=refs, params=params, pinned=shared.node)
    context = context.of(job.project)
    first = planning.task("RESTORE", "restore", context, request, spec)
    second = planning.task("MOUNT", "restore", context, request, spec.after(first))
    third = planning.task("IMPORT", "import", context, request, spec.after(second))
    whole = Plan([first, second, third], restores=[job], mounts=[shared])
    return machine_scan.followed(whole, to, context)


def _params(shared: NewMount) -> JsonObject:
    return {
        "restoreType": "INSTANT_RESTORE",
        "mode": shared.mode,
        "pointer": True,
        "powerOnAfterRestore": True,
    }


def _possible(request: InstantRestoreRequest, to: Hypervisor) -> None:
    if request.mode is not MountMode.INSTANT_RESTORE:
        raise Malformed("mode: write INSTANT_RESTORE", field="mode")
    platform = type_of(to.driver, to.config)
    if not platform.can(Capability.POWER):
        raise Malformed(
            f"hypervisor: {platform.words} cannot run machines; name a hypervisor that can",
            field="hypervisor",
        )
    if is_remote(to.config):
        raise Malformed(
            f"hypervisor: {to.name} is reached by SSH, but a mounted backup is on the "
            "node; run a node on that host, or restore the machine as a copy",
            field="hypervisor",
        )
    platform.require(Capability.INSTANT_RESTORE, "hypervisor")
    for field in ("mountedFileSystems", "mountedDisks", "allowedClients"):
        if getattr(request, field):
            raise Malformed(
                f"{field}: a machine needs whole disks; leave the member out", field=field
            )
    if request.overwrite:
        raise Malformed(
            "overwrite: an instant restore replaces no machine; restore the machine under "
            "another name, move it (POST /tasks/live-migration), then remove the old one",
            field="overwrite",
        )


def _share(
    request: InstantRestoreRequest,
    backup: Backup,
    to: Hypervisor,
    catalogue: Catalogue,
    context: Context,
) -> NewMount:
    """The mount, on the node that reaches both the backup and the hypervisor."""
    destination = catalogue.places.destination(backup.destination)
    node = planning.on_node(catalogue, request.node, to, destination)
    told = msgspec.structs.replace(
        request, node=Ref(node.guid), unmountTime=request.unmountTime or 0
    )
    made = new_mount(told, backup, {}, catalogue, context)
    made.hypervisor = to.guid
    return made


SUBMISSION = Submission(
    "instant-restore",
    InstantRestoreRequest,
    plan,
    many=False,
    summary="Create restore and mount task for handling instant restore.",
    roles=RESTORERS,
    projects=ProjectAccess.OBJECTS,
    examples=[
        {"mode": {"name": "INSTANT_RESTORE"}, "backup": example.GUID, "hypervisor": example.REF}
    ],
    command="restore instant BACKUP --hypervisor KVM",
)
