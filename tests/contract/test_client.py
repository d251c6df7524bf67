"""The client covers the API: each operation has a method that decodes the response."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from haulback import errors
from haulback.client.client import Client
from haulback.client.records import Policies, RecordCollection
from haulback.client.schedules import Schedules
from haulback.contract import (
    backup_cleanup,
    connectivity_test,
    export,
    import_machine,
    instant_restore,
    inventory_sync,
    live_migration,
    mount,
    prove,
    repair,
    restore,
    snapshot,
    snapshot_cleanup,
    snapshot_reversion,
    unavailable,
    unmount,
    upload,
    verify,
)
from haulback.contract.backups import BackupType, Hint
from haulback.contract.catalogue import AttachedDestination, TakeOver
from haulback.contract.destination_move import MovedDestination
from haulback.contract.destinations import ChangedDestination, NewDestination, Retention
from haulback.contract.hypervisors import ChangedHypervisor, NewHypervisor
from haulback.contract.machines import MachineSettings
from haulback.contract.mounts import MountMode
from haulback.contract.nodes import ChangedNode
from haulback.contract.notifications import NotificationChannel, NotificationRule
from haulback.contract.own_database import DatabaseBackupRequest
from haulback.contract.policies import Policy, Rule, SnapshotPolicy
from haulback.contract.protect import ProtectRequest
from haulback.contract.recovery_plans import RecoveryPlan, RecoveryRule
from haulback.contract.reports import Measure, ReportRequest, SizeFilter
from haulback.contract.retention_preview import RetentionPreviewRequest
from haulback.contract.schedules import Schedule
from haulback.contract.task_states import State
from haulback.contract.tokens import NewToken
from haulback.contract.users import ChangedUser, NewUser
from haulback.errors import (
    Cancelled,
    Conflict,
    Forbidden,
    KindUnavailable,
    Malformed,
    NotFound,
    TaskFailed,
    Unauthenticated,
    Unavailable,
)
from haulback.ids import new_guid
from haulback.server.http.reference import TABLE
from haulback.server.store.ledger import SqlLedger
from haulback.wire import Choice, Ref
from tests.contract.conftest import PASSWORD, Served
from tests.contract.scene import CHANNEL, Scene, watch

CSV = Path(__file__).with_name("operations.csv")
CONTRACT = [
    f"{row['method']} {row['path']}" for row in csv.DictReader(CSV.read_text().splitlines())
]
# The node process calls these itself (node/server_client.py); /docs is a page for people.
OTHERS = {
    key
    for key in TABLE
    if "/nodes/self/" in key or key in ("POST /nodes/session", "POST /nodes/enrol", "GET /docs")
}
Way = Callable[[Scene], Any]


def machine_seen(s: Scene) -> dict[str, Any]:
    assert s.running  # a task about the backup
    return {"protectedEntity": {"guid": s.machine}, "instance": {"name": "db", "disks": []}}


def hypervisor_seen(s: Scene) -> dict[str, Any]:
    [task] = s.tasks.inventory_sync(
        inventory_sync.InventorySyncRequest(hypervisors=[Ref(s.hypervisor)])
    )
    s.mover.tasks.set_state(task.guid, State.RUNNING)
    return {"type": "KVM", "hypervisor": {"guid": s.hypervisor}, "task": {"guid": task.guid}}


def a_plan(s: Scene) -> str:
    s.served.stored()
    where, machines = Ref(s.hypervisor), [Ref(s.machine)]
    rule = RecoveryRule(name="r", protectedEntities=machines, hypervisor=where, suffix="-again")
    plan = RecoveryPlan(name=new_guid(), rules=[rule])
    return s.client.records.recovery_plans.add(plan).guid


def a_user(s: Scene) -> str:
    return s.client.users.add(NewUser(f"u-{new_guid()}", PASSWORD, ["viewer"])).guid


def a_token(s: Scene) -> str:
    return s.client.users.tokens.add(NewToken("t", ["administrator"], 1000)).guid


def an_empty_destination(s: Scene) -> str:
    """A destination whose BACKUP_DESTINATION_INIT was cancelled."""
    new = NewDestination(name=new_guid(), path=f"/{new_guid()}", node=Ref(s.worker))
    made = s.client.destinations.add(new)
    assert made.task
    s.client.tasks.cancel(made.task.guid)
    return made.guid


def a_destination(s: Scene) -> str:
    new = NewDestination(name=new_guid(), path=f"/{new_guid()}", node=Ref(s.worker))
    return s.client.destinations.add(new).guid


def a_repository(s: Scene) -> str:
    """A destination whose repository was made."""
    made = a_destination(s)
    with s.served.app.store.write() as sql:
        SqlLedger(sql, 0).destinations.initialised(made, new_guid())
    return made


def a_hypervisor(s: Scene) -> str:
    new = NewHypervisor(name=new_guid(), path=f"/{new_guid()}", node=Ref(s.worker))
    return s.client.hypervisors.add(new).guid


def restored(s: Scene) -> str:
    s.tasks.restore_and_import(
        import_machine.ImportMachineRequest(backup=Ref(s.backup), hypervisor=Ref(s.hypervisor))
    )
    return next(iter(s.client.restores.all())).guid


def entities(s: Scene) -> list[Ref]:
    return [Ref(s.machine)]


def a_backup(s: Scene) -> export.ExportRequest:
    return export.ExportRequest(
        protectedEntities=entities(s),
        backupType=BackupType.FULL,
        backupDestination=Ref(s.destination),
    )


TASKS: dict[str, Way] = {
    "GET /tasks": lambda s: list(s.tasks.all(states=["QUEUED"])),
    "GET /tasks/detailed": lambda s: list(s.tasks.all_detailed(protected_entity=s.machine)),
    "GET /tasks/queued": lambda s: s.tasks.queued(s.worker),
    "GET /tasks/modification-timestamps": lambda s: s.tasks.last_change(),
    "GET /tasks/{guid}": lambda s: s.tasks.get(s.task, extended=True),
    "GET /tasks/{guid}/state": lambda s: s.tasks.state(s.task),
    "GET /tasks/{guid}/state/v2": lambda s: s.tasks.state_v2(s.task),
    "GET /tasks/{guid}/transfer-rate/last": lambda s: s.tasks.last_rate(s.task),
    "GET /tasks/{guid}/log": lambda s: s.tasks.log(s.task),
    "POST /tasks/export": lambda s: s.tasks.export(a_backup(s), key=s.guid),
    "POST /tasks/restore": lambda s: s.tasks.restore(
        restore.RestoreRequest(Ref(s.worker), "/srv/r", backup=Ref(s.backup))
    ),
    "POST /tasks/restore-and-import": restored,
    "POST /tasks/verify": lambda s: s.tasks.verify(verify.VerifyRequest([Ref(s.destination)])),
    "POST /tasks/repair": lambda s: s.tasks.repair(repair.RepairRequest([Ref(s.destination)])),
    "POST /tasks/prove": lambda s: s.tasks.prove(
        prove.ProveRequest(Ref(s.backup), hypervisor=Ref(s.kvm), script="true")
    ),
    "POST /tasks/restore-and-mount": lambda s: s.tasks.restore_and_mount(
        mount.MountRequest(mode=MountMode.AUTO, backup=Ref(s.backup))
    ),
    "POST /tasks/instant-restore": lambda s: s.tasks.instant_restore(
        instant_restore.InstantRestoreRequest(
            mode=MountMode.INSTANT_RESTORE, backup=Ref(s.backup), hypervisor=Ref(s.kvm)
        )
    ),
    "POST /tasks/live-migration": lambda s: s.tasks.live_migration(
        live_migration.LiveMigrationRequest(mountedBackup=Ref(s.living))
    ),
    "POST /tasks/mount": lambda s: s.tasks.mount(
        mount.RemountRequest(mountedBackup=Ref(s.unmounted))
    ),
    "POST /tasks/unmount": lambda s: s.tasks.unmount(
        unmount.UnmountRequest(mountedBackup=Ref(s.mount))
    ),
    "POST /tasks/upload": lambda s: s.tasks.upload(
        upload.UploadRequest(mountedBackup=Ref(s.mount), paths=["/a"], protectedEntity=Ref(s.guest))
    ),
    "POST /tasks/snapshot": lambda s: s.tasks.snapshot(
        snapshot.SnapshotRequest(protectedEntities=[Ref(s.qcow2)])
    ),
    "POST /tasks/vm-snapshot": lambda s: s.tasks.vm_snapshot(
        snapshot.SnapshotRequest(protectedEntities=[Ref(s.qcow2)])
    ),
    "POST /tasks/revert": lambda s: s.tasks.revert(
        snapshot_reversion.SnapshotReversionRequest(snapshot=Ref(s.held))
    ),
    "POST /tasks/remove-old-snapshots": lambda s: s.tasks.remove_old_snapshots(
        snapshot_cleanup.SnapshotCleanupRequest(protectedEntities=entities(s))
    ),
    "POST /tasks/release": lambda s: s.tasks.release(
        snapshot_cleanup.ReleaseRequest(protectedEntities=entities(s))
    ),
    "POST /tasks/remove-old-backups": lambda s: s.tasks.remove_old_backups(
        backup_cleanup.BackupCleanupRequest([Ref(s.destination)])
    ),
    "POST /tasks/delete": lambda s: s.tasks.delete(s.guid),
    "POST /tasks/batch-delete": lambda s: s.tasks.batch_delete([s.guid]),
    "POST /tasks/inventory-sync": lambda s: s.tasks.inventory_sync(
        inventory_sync.InventorySyncRequest(hypervisors=[Ref(s.hypervisor)])
    ),
    "POST /tasks/wizard/inventory-sync": lambda s: s.tasks.try_hypervisors(
        inventory_sync.InventorySyncWizardRequest(
            hypervisors=[inventory_sync.Candidate(name=s.guid, path="/m", node=Ref(s.worker))]
        )
    ),
    "POST /tasks/connectivity-test": lambda s: s.tasks.connectivity_test(
        connectivity_test.ConnectivityTestRequest(backupDestinations=[Ref(s.destination)])
    ),
    "POST /tasks/eject-tape": lambda s: s.tasks.eject_tape(unavailable.Tapes(tapes=[Ref(s.guid)])),
    "POST /tasks/import-tape": lambda s: s.tasks.import_tape(
        unavailable.Tapes(tapes=[Ref(s.guid)])
    ),
    "POST /tasks/tape-manager-inventory-sync": lambda s: s.tasks.tape_inventory_sync(
        unavailable.TapeManagers(tapeManagers=[Ref(s.guid)])
    ),
    "POST /tasks/import-for-cloud": lambda s: s.tasks.import_for_cloud(
        unavailable.CloudImportRequest(backup=Ref(s.backup))
    ),
    "POST /tasks/import-for-cloud/per-feature": lambda s: s.tasks.import_for_cloud_per_feature(
        unavailable.CloudFeatureRequest(
            backup=Ref(s.backup), optionsPerFeature=[unavailable.FeatureOptions("MAIL")]
        )
    ),
    "POST /tasks/import-for-os-agent": lambda s: s.tasks.import_for_agent(
        unavailable.AgentImportRequest(backup=Ref(s.backup))
    ),
    "POST /tasks/{guid}": lambda s: s.tasks.recover(a_plan(s)),
    "DELETE /tasks/{guid}": lambda s: s.tasks.remove(s.task),
    "DELETE /tasks/all-finished": lambda s: s.tasks.remove_finished(),
    "DELETE /tasks/all-finished-and-queued": lambda s: s.tasks.remove_finished_and_queued(),
    "DELETE /tasks/all-running": lambda s: s.tasks.cancel_running(),
    "POST /tasks/cancel-running": lambda s: s.tasks.cancel_running(s.running),
    "POST /tasks/delete-finished": lambda s: s.tasks.remove_finished(s.task),
    "POST /tasks/delete-finished-and-queued": lambda s: s.tasks.remove_finished_and_queued(s.task),
    "PUT /tasks/{guid}/state": lambda s: s.tasks.cancel(s.task),
    "PUT /tasks/state": lambda s: s.tasks.set_states([s.task], State.CANCELLED, "no longer needed"),
    "PUT /tasks/{guid}/backup-type": lambda s: s.node.backup_type(s.running, BackupType.FULL),
    "PUT /tasks/{guid}/progress": lambda s: s.node.progress(s.running, 66.5),
    "PUT /tasks/{guid}/cloud-progress": lambda s: s.node.cloud_progress(s.running, 3, 10),
    "PUT /tasks/{guid}/os-progress": lambda s: s.node.os_progress(s.running, 3, 10),
    "PUT /tasks/{guid}/restore-host-id": lambda s: s.node.restore_host_id(s.restoring, "host-1"),
    "PUT /tasks/{guid}/restore-storage-id": lambda s: s.node.restore_storage_id(
        s.restoring, "st-1"
    ),
    "PUT /tasks/{guid}/transfer-info": lambda s: s.node.transfer_info(
        s.running, {"transferredBytes": 1}
    ),
    "PUT /tasks/{guid}/transfer-rate": lambda s: s.node.transfer_rate(s.running, 1.5, 4),
    "PUT /tasks/{guid}/transfer-rate/incremental": lambda s: s.node.transfer_more(
        s.running, 1.5, 4, 1
    ),
    "POST /tasks/{guid}/task-files": lambda s: s.node.files(
        s.running, [{"backupFile": {"guid": s.guid}}]
    ),
    "PUT /tasks/cbt-id": lambda s: s.node.cbt_id(s.running, "checkpoint-1"),
    "PUT /tasks/inc-snap-required": lambda s: s.node.inc_snap_required(s.running, False),
    "POST /tasks/inventory": lambda s: s.node.inventory(hypervisor_seen(s)),
    "POST /tasks/instance-inventory": lambda s: s.node.instance_inventory(machine_seen(s)),
    "POST /tasks/tape-manager-inventory": lambda s: s.node.tape_inventory(
        {"tapeManager": {"guid": s.guid}, "tapes": []}
    ),
    "POST /tasks/{guid}/log": lambda s: s.node.log(s.running, "a line", "another"),
}


def log_in_and_out(s: Scene) -> None:
    with Client(s.client.url) as made:
        made.log_in("admin", PASSWORD)
        made.log_out()


def a_mailed_report(s: Scene) -> None:
    with contextlib.suppress(Conflict):  # a mail channel may be missing
        s.client.reports.mail(ReportRequest(value="ops@example.org"))


REST: dict[str, Way] = {
    "POST /session/login": log_in_and_out,
    "POST /session/logout": log_in_and_out,
    "GET /user-info": lambda s: s.client.users.me(),
    "GET /roles": lambda s: s.client.users.roles(),
    "GET /users": lambda s: list(s.client.users.all()),
    "POST /users": a_user,
    "GET /users/{guid}": lambda s: s.client.users.get(a_user(s)),
    "PUT /users/{guid}": lambda s: s.client.users.change(a_user(s), ChangedUser(roles=["viewer"])),
    "DELETE /users/{guid}": lambda s: s.client.users.remove(a_user(s)),
    "GET /api-tokens": lambda s: list(s.client.users.tokens.all()),
    "POST /api-tokens": a_token,
    "DELETE /api-tokens/{guid}": lambda s: s.client.users.tokens.remove(a_token(s)),
    "GET /audit-log": lambda s: s.client.users.audit(size=5),
    "GET /nodes": lambda s: list(s.client.nodes.all()),
    "POST /nodes": lambda s: s.other_node,
    "GET /nodes/{guid}": lambda s: s.client.nodes.get(s.worker),
    "PUT /nodes/{guid}": lambda s: s.client.nodes.change(s.worker, ChangedNode(name="n1")),
    "DELETE /nodes/{guid}": lambda s: s.client.nodes.remove(s.other_node),
    "POST /nodes/{guid}/token": lambda s: s.client.nodes.renew_token(s.other_node),
    "POST /nodes/enrolment": lambda s: s.client.nodes.invite(),
    "GET /hypervisors": lambda s: list(s.client.hypervisors.all()),
    "POST /hypervisors": a_hypervisor,
    "GET /hypervisors/{guid}": lambda s: s.client.hypervisors.get(s.hypervisor),
    "PUT /hypervisors/{guid}": lambda s: s.client.hypervisors.change(
        s.hypervisor, ChangedHypervisor(name="hv")
    ),
    "POST /hypervisors/{guid}/confirm-absent": lambda s: s.client.hypervisors.confirm_absent(
        s.unbelieved
    ),
    "DELETE /hypervisors/{guid}": lambda s: s.client.hypervisors.remove(a_hypervisor(s)),
    "GET /virtual-machines": lambda s: list(s.client.machines.all()),
    "GET /virtual-machines/{guid}": lambda s: s.client.machines.get(s.machine),
    "DELETE /virtual-machines/{guid}": lambda s: s.client.machines.remove(s.machine),
    "DELETE /virtual-machines/all-non-present": lambda s: s.client.machines.remove_absent(),
    "PUT /virtual-machines/{guid}/settings": lambda s: s.client.machines.set(
        s.machine, MachineSettings()
    ),
    "POST /virtual-machines/incremental-not-possible": lambda s: s.client.machines.not_incremental(
        s.served.machines
    ),
    "GET /virtual-machine-disks": lambda s: s.client.machines.disks(s.machine),
    "PUT /virtual-machine-disks/{guid}/settings": lambda s: s.client.machines.set_disk(
        s.guid, excluded=True
    ),
    "GET /backup-destinations": lambda s: list(s.client.destinations.all()),
    "POST /backup-destinations": a_destination,
    "POST /backup-destinations/usable-for-vms": lambda s: s.client.destinations.usable_for(
        [s.machine]
    ),
    "POST /backup-destinations/attach": lambda s: s.client.destinations.attach(
        AttachedDestination(
            name=new_guid(), path="/srv/attached", keyFile="0" * 64, node=Ref(s.worker)
        )
    ),
    "POST /backup-destinations/{guid}/take-over": lambda s: s.client.destinations.take_over(
        a_destination(s), TakeOver()
    ),
    "POST /backup-destinations/{guid}/init": lambda s: s.client.destinations.init(
        an_empty_destination(s)
    ),
    "POST /backup-destinations/{guid}/read-catalogue": lambda s: (
        s.client.destinations.read_catalogue(a_destination(s))
    ),
    "GET /backup-destinations/{guid}": lambda s: s.client.destinations.get(s.destination),
    "PUT /backup-destinations/{guid}": lambda s: s.client.destinations.change(
        s.destination, ChangedDestination(retention=Retention(keepLastNFull=4))
    ),
    "DELETE /backup-destinations/{guid}": lambda s: s.client.destinations.remove(a_destination(s)),
    "PUT /backup-destinations/{guid}/copies": lambda s: s.client.destinations.copy_to(
        s.destination, []
    ),
    "POST /backup-destinations/{guid}/move": lambda s: s.client.destinations.move(
        a_repository(s), MovedDestination(settings={"path": f"/{new_guid()}"})
    ),
    "GET /backup-destinations/{guid}/space": lambda s: s.client.destinations.space(s.destination),
    "POST /backup-destinations/{guid}/close-breaker": lambda s: s.client.destinations.close_breaker(
        s.destination
    ),
    "GET /backups": lambda s: list(s.client.backups.all(protected_entity=s.machine)),
    "GET /backups/{guid}": lambda s: s.client.backups.get(s.backup),
    "POST /backups/{guid}/confirm-missing": lambda s: s.client.backups.confirm_missing(s.missing),
    "GET /backups/{guid}/proof": lambda s: s.client.backups.proof(s.proven),
    "PUT /backups/{guid}/description": lambda s: s.client.backups.describe(s.backup, "good"),
    "PUT /backups/{guid}/warnings-acknowledged": lambda s: s.client.backups.acknowledge(s.backup),
    "GET /backup-locations": lambda s: (
        s.client.backups.locations(),
        list(s.client.backups.all_locations()),
    ),
    "GET /backup-locations/{guid}": lambda s: s.client.backups.location(s.location),
    "GET /backup-files": lambda s: s.client.backups.files(s.backup),
    "GET /backup-files/detailed/for-restore": lambda s: s.client.backups.files_to_restore(s.backup),
    "POST /retention/mark-backups": lambda s: s.client.backups.mark([s.location], Hint.ARCHIVE),
    "POST /retention/mark-backups/preview": lambda s: s.client.backups.preview_mark(
        [s.location], Hint.TO_REMOVE
    ),
    "POST /retention/preview": lambda s: list(
        s.client.retention.previews(
            RetentionPreviewRequest(
                rule={"guid": s.client.records.rules.add(Rule(name=new_guid())).guid}
            )
        )
    ),
    "POST /retention/confirm": lambda s: s.client.retention.confirm(),
    "GET /mounted-backups": lambda s: list(s.client.mounts.all(finished_mount=False)),
    "GET /mounted-backups/{guid}": lambda s: s.client.mounts.get(s.mount),
    "GET /mounted-backups/{guid}/iscsi": lambda s: s.client.mounts.iscsi(s.iscsi),
    "GET /file-systems": lambda s: s.client.mounts.file_systems_of(s.backup),
    "GET /mounted-file-systems/detailed": lambda s: s.client.mounts.file_systems(s.mount),
    "GET /mounted-files": lambda s: s.client.mounts.disks(s.mount),
    "POST /mounted-file-systems/{guid}/listing": lambda s: list(
        s.client.mounts.listing(s.file_system)
    ),
    "POST /mounted-file-systems/{guid}/details": lambda s: s.client.mounts.details(
        s.file_system, "/etc"
    ),
    "POST /mounted-file-systems/{guid}/download": lambda s: b"".join(
        s.client.mounts.download(s.file_system, ["/etc"], archive=True)
    ),
    "GET /snapshots": lambda s: list(s.client.snapshots.all(protected_entity=s.machine)),
    "GET /snapshots/{guid}": lambda s: s.client.snapshots.get(s.held),
    "GET /server/hold": lambda s: s.client.server.hold(),
    "POST /server/hold/lift": lambda s: s.client.server.lift_hold(),
    "POST /server/database-backups": lambda s: s.client.server.back_up(
        DatabaseBackupRequest(Choice(s.destination))
    ),
    "GET /alarms": lambda s: list(s.client.alarms.all(kind=["BACKUP_DAMAGED"])),
    "GET /alarms/{guid}": lambda s: s.client.alarms.get(s.alarm),
    "POST /notification-channels/{guid}/test": lambda s: s.client.notifications.test(s.channel),
    "GET /deliveries": lambda s: s.client.notifications.page(state=["FAILED"]),
    "GET /deliveries/{guid}": lambda s: s.client.notifications.get(s.delivery),
    "POST /deliveries/{guid}/redeliver": lambda s: s.client.notifications.redeliver(s.delivery),
    "POST /runs/{guid}/retry": lambda s: s.tasks.retry_run(s.guid),
    "GET /events": lambda s: s.client.events.page(kind=["TASK_ENDED"]),
    "GET /restore-jobs": lambda s: list(s.client.restores.all()),
    "GET /restore-jobs/{guid}": lambda s: s.client.restores.get(restored(s)),
    "GET /workflow-executions": lambda s: s.client.workflows.page(),
    "GET /workflow-executions/{guid}": lambda s: s.client.workflows.get(s.task),
    "DELETE /workflow-executions/{guid}": lambda s: s.client.workflows.remove(s.task),
    "GET /dashboard/protection": lambda s: s.client.dashboard.protection(),
    "GET /dashboard/backup-stats": lambda s: s.client.dashboard.backups(since=0),
    "GET /dashboard/staging-space": lambda s: s.client.dashboard.staging(),
    "GET /dashboard/backup-destination-stats": lambda s: s.client.dashboard.destinations(),
    "GET /dashboard/vm-backup-size-stats": lambda s: s.client.dashboard.sizes(),
    "GET /dashboard/report": lambda s: s.client.reports.get(since=0),
    "POST /dashboard/report-pdf": lambda s: s.client.reports.file("pdf"),
    "POST /dashboard/report-html": lambda s: s.client.reports.file("html"),
    "POST /dashboard/report-text": lambda s: s.client.reports.file("text"),
    "POST /dashboard/report-email": a_mailed_report,
    "POST /chargeback-reporting/backup-size/vm": lambda s: s.client.reports.chargeback(
        SizeFilter()
    ),
    "POST /chargeback-reporting/transfer-size/vm": lambda s: s.client.reports.chargeback(
        SizeFilter(), Measure.TRANSFER_SIZE
    ),
    "GET /global-settings": lambda s: s.client.dashboard.settings(),
    "POST /policies/vm-backup/list-by-entities": lambda s: s.client.machines.policies([s.machine]),
    "POST /protect": lambda s: s.client.protection.protect(
        ProtectRequest(match=[new_guid()], nightly="22:00", to=Choice(s.destination))
    ),
    "GET /protection": lambda s: s.client.protection.counts(),
    "GET /protection/machines": lambda s: s.client.protection.machines(["UNASSIGNED"]),
    "POST /policies/vm-backup/auto-assignment-preview": lambda s: (
        s.client.records.backup_policies.preview(Policy(name="gold"))
    ),
    "POST /policies/vm-backup/{guid}/auto-assignment-preview": lambda s: preview_of(
        s.client.records.backup_policies
    ),
    "POST /policies/vm-snapshot/auto-assignment-preview": lambda s: (
        s.client.records.snapshot_policies.preview(SnapshotPolicy(name="gold"))
    ),
    "POST /policies/vm-snapshot/{guid}/auto-assignment-preview": lambda s: preview_of(
        s.client.records.snapshot_policies
    ),
    "GET /forecast": lambda s: list(s.client.schedules.forecast()),
    "POST /schedules/resume": lambda s: s.client.schedules.resume_all(),
    "GET /system-schedules": lambda s: list(s.client.system_schedules.all()),
    "GET /system-schedules/{guid}": lambda s: s.client.system_schedules.get(system_schedule(s)),
    "PUT /system-schedules/{guid}": lambda s: s.client.system_schedules.change(
        (shown := s.client.system_schedules.find("tidy")).guid, shown.what
    ),
    "GET /network/shared": lambda s: list(s.client.records.networks.shared()),
    "GET /livez": lambda s: s.client.dashboard.alive(),
    "GET /readyz": lambda s: s.client.dashboard.ready(),
    "GET /openapi.json": lambda s: s.client.dashboard.openapi(),
}


def system_schedule(s: Scene) -> str:
    return s.client.system_schedules.find("tidy").guid


def a_schedule(s: Scene) -> str:
    rule = a_record(s.client.records.rules)
    wanted = Schedule(name=new_guid(), hour=0, rules=[Ref(rule.guid)])
    return s.client.schedules.add(wanted).guid


def _fired(path: str, known: Callable[[Scene], Schedules[Any]], guid: Way) -> dict[str, Way]:
    """Ways to pause, resume, run and read schedules below a path."""
    return {
        f"POST {path}/{{guid}}/pause": lambda s: known(s).pause(guid(s)),
        f"POST {path}/{{guid}}/resume": lambda s: known(s).resume(guid(s)),
        f"POST {path}/{{guid}}/run": lambda s: known(s).run(guid(s)),
        f"GET {path}/{{guid}}/fires": lambda s: known(s).fires(guid(s)),
    }


REST |= _fired("/schedules", lambda s: s.client.schedules, a_schedule)
REST |= _fired("/system-schedules", lambda s: s.client.system_schedules, system_schedule)


def preview_of(kind: Policies[Any]) -> Any:
    made = a_record(kind)
    return kind.preview(made.what, made.guid)


def a_record(kind: RecordCollection[Any]) -> Any:
    needed: dict[str, Any] = {"uuid": "u-1", "recipients": ["ops@example.org"], "hour": 0}
    if kind.struct is NotificationChannel:
        needed |= CHANNEL
    if kind.struct is NotificationRule:
        channels = RecordCollection(kind._calls, "/notification-channels", NotificationChannel)
        needed["channels"] = [Ref(a_record(channels).guid)]
    extra = {k: v for k, v in needed.items() if k in kind.struct.__struct_fields__}
    return kind.add(kind.struct(name=new_guid(), **extra))


def _of(kind: str) -> dict[str, Way]:
    def known(s: Scene) -> RecordCollection[Any]:
        result: RecordCollection[Any] = getattr(s.client.records, kind)
        return result

    path = known_paths[kind]
    return {
        f"GET {path}": lambda s: list(known(s).all()),
        f"POST {path}": lambda s: a_record(known(s)),
        f"GET {path}/{{guid}}": lambda s: known(s).get(a_record(known(s)).guid),
        f"PUT {path}/{{guid}}": lambda s: known(s).change(
            (item := a_record(known(s))).guid, item.what
        ),
        f"DELETE {path}/{{guid}}": lambda s: known(s).remove(a_record(known(s)).guid),
    }


_nowhere = Client("http://127.0.0.1:1")
known_paths = {
    name: kind.path
    for name, kind in vars(_nowhere.records).items()
    if isinstance(kind, RecordCollection)
}
_nowhere.close()
RECORDS = {key: way for kind in known_paths for key, way in _of(kind).items()}


@pytest.fixture
def scene(served: Served) -> Iterator[Scene]:
    made = Scene(served)
    try:
        yield made
    finally:
        made.close()


def test_every_operation_of_the_contract_and_of_the_server_has_a_method():
    assert set(CONTRACT) <= set(TASKS)
    assert set(TABLE) - OTHERS == set(TASKS) | set(REST) | set(RECORDS)


@pytest.mark.parametrize("key", TASKS)
def test_a_task_operation_is_asked_for_and_its_answer_understood(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, key: str
):
    check(scene, monkeypatch, key, TASKS[key])


def test_every_other_operation_is_asked_for_and_its_answer_understood(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    for key, way in (REST | RECORDS).items():
        check(scene, monkeypatch, key, way)


def check(scene: Scene, monkeypatch: pytest.MonkeyPatch, key: str, way: Way) -> None:
    refused = (KindUnavailable,)
    if key in (
        "DELETE /virtual-machines/{guid}",
        "PUT /virtual-machine-disks/{guid}/settings",
        "POST /runs/{guid}/retry",
    ):
        refused += (Conflict, NotFound)  # type: ignore[assignment]
    with monkeypatch.context() as patch:
        seen = watch(patch)
        with contextlib.suppress(*refused):
            way(scene)
    assert key in seen, seen


def test_a_list_is_read_page_by_page_by_its_cursor(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    scene.served.rest()
    asked = [str(scene.served.export()["guid"]) for _ in range(7)]
    calls = watch(monkeypatch)
    guids = [task.guid for task in scene.tasks.all(size=3, type="EXPORT")]
    assert sorted(guids) == sorted(asked)
    assert len(calls) == 3
    calls.clear()
    assert sorted(
        t.guid for t in scene.tasks.all(size=3, type="EXPORT", orderBy="startTime")
    ) == sorted(asked)
    page = scene.tasks.page(size=3, type="EXPORT")
    assert (page.total, len(page.rows)) == (7, 3)
    after = scene.tasks.page(size=3, type="EXPORT", cursor=page.cursor or "")
    assert not {t.guid for t in page.rows} & {t.guid for t in after.rows}
    machines = [row.name for row in scene.client.machines.all(size=1)]
    assert len(machines) == len(set(machines)) >= 2


def test_the_same_key_makes_the_same_tasks(scene: Scene):
    request = a_backup(scene)
    [one] = scene.tasks.export(request, key=scene.guid)
    [two] = scene.tasks.export(request, key=scene.guid)
    [three] = scene.tasks.export(request)
    assert one.guid == two.guid != three.guid


def test_a_task_is_followed_through_those_that_follow_it(scene: Scene):
    scene.served.rest()
    plans = scene.tasks.follow(scene.running, every=0.0)
    assert [task.type.name for task in next(plans)] == ["EXPORT"]
    scene.served.state(scene.running, "FINISHED")
    states = [[task.state.name for task in next(plans)]]
    [store] = scene.tasks.get(scene.running, extended=True).followers or []
    scene.served.run(store.guid, {"stored": 5})
    states += [[task.state.name for task in plan] for plan in plans]
    assert states == [["FINISHED", "QUEUED"], ["FINISHED", "FINISHED"]]
    assert [task.guid for task in scene.tasks.wait(scene.running)] == [scene.running, store.guid]


def test_waiting_for_what_went_wrong_says_so(scene: Scene):
    scene.mover.tasks.set_state(scene.running, State.FAILED, "the disk is on fire")
    with pytest.raises(TaskFailed, match="the disk is on fire"):
        scene.tasks.wait(scene.running)
    scene.tasks.cancel(scene.task)
    with pytest.raises(Cancelled, match="Cancelled by user"):
        scene.tasks.wait(scene.task)


def test_names_stand_for_guids_where_they_are_unique(scene: Scene):
    machines = scene.client.machines
    assert machines.find("db").guid == machines.find(scene.machine).guid == scene.machine
    scene.served.stored()
    scene.served.stored()
    with pytest.raises(Malformed, match="several"):
        scene.client.backups.find("db")  # a backup has the name of its machine
    with pytest.raises(NotFound, match="there is no machine 'nobody'"):
        machines.find("nobody")


def test_a_record_can_be_changed_and_sent_back(scene: Scene):
    policies = scene.client.records.backup_policies
    made = policies.add(Policy(name=new_guid(), priority=80))
    made.what.active = False
    changed = policies.change(made.guid, made.what)
    assert (changed.what.active, changed.what.priority) == (False, 80)
    assert changed.shown["autoAssignMode"]["name"] == "DISABLED"


def test_errors_are_those_of_the_server(scene: Scene):
    with pytest.raises(NotFound):
        scene.tasks.get(new_guid())
    with pytest.raises(Forbidden):
        scene.client.tasks.node.progress(scene.running, 1)
    with pytest.raises(Malformed) as caught:
        scene.tasks.export(export.ExportRequest(protectedEntities=[]))
    assert caught.value.details["field"] == "protectedEntities"
    with pytest.raises(Unauthenticated), Client(scene.client.url, "nobody") as stranger:
        stranger.users.me()
    with pytest.raises(Unavailable), Client("http://127.0.0.1:1") as nowhere:
        nowhere.users.me()
    assert issubclass(KindUnavailable, errors.Conflict)
