"""Virtual machines and their disks, as portals read and change them."""

from __future__ import annotations

from haulback.contract import example_values as example
from haulback.contract.losses import Losses
from haulback.contract.machines import (
    DiskRecord,
    DiskSettings,
    Entities,
    MachineSettings,
    NotIncremental,
    Reason,
    VirtualDisk,
    VirtualMachine,
)
from haulback.contract.project_access import ProjectAccess
from haulback.contract.roles import ADMINS, PEOPLE
from haulback.errors import Malformed
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.derived_guids import disk_guid
from haulback.inventory.records import Entity
from haulback.server.http import paging, query_params
from haulback.server.http.dry_run import is_gone
from haulback.server.http.machine_views import view_of
from haulback.server.http.operation import GONE, GUID, ApiRequest, Param, Reply, Router
from haulback.server.http.protection import STATE, states
from haulback.server.services import giving_up, machines, protection, record_losses
from haulback.server.services.giving_up import MACHINE
from haulback.server.services.machines import MachineReading
from haulback.units import DAY_MS
from haulback.wire import label

router = Router()
_LONGEST_SILENCE = 10 * 365 * DAY_MS
_SILENT_FOR = Param(
    "silentFor",
    "With gone=true: silence (ms) after which a node counts as dead; default a day.",
    {"type": "integer", "minimum": giving_up.LEAST_SILENT_MS, "maximum": _LONGEST_SILENCE},
)


@router(
    "GET",
    "/virtual-machines",
    "Machines.",
    answer=VirtualMachine,
    many=True,
    query=(
        Param("hypervisor", "On this hypervisor.", GUID),
        Param("vm-backup-policy", "Of this backup policy.", GUID),
        Param("vm-snapshot-policy", "Of this snapshot policy.", GUID),
        STATE,
        *paging.COMMON,
    ),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="machine ls",
)
def list_machines(call: ApiRequest) -> Reply:
    """A page of machines, or all machines."""
    protection.before_answer(call.app)
    wanted = paging.wanted(
        call,
        hypervisor=query_params.guid(call, "hypervisor"),
        policy=query_params.guid(call, "vm-backup-policy"),
        snapshot_policy=query_params.guid(call, "vm-snapshot-policy"),
        statuses=states(call),
    )
    with MachineReading.of(call.app, call.who.scope) as reading:
        machines_shown, total = reading.page(wanted)
        return paging.page(machines_shown, total, view_of(call, reading, machines_shown))


@router(
    "GET",
    "/virtual-machines/{guid}",
    "A machine.",
    answer=VirtualMachine,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="machine show MACHINE",
)
def one_machine(call: ApiRequest) -> VirtualMachine:
    """A machine by its guid."""
    protection.before_answer(call.app)
    with MachineReading.of(call.app, call.who.scope) as reading:
        machine = reading.catalogue.machines.get(call.guid)
        return view_of(call, reading, [machine])(machine)


@router(
    "PUT",
    "/virtual-machines/{guid}/settings",
    "Change a machine's settings.",
    request=MachineSettings,
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.OBJECTS,
    examples=[{}],
    command="machine set MACHINE --project acme",
)
def set_machine(call: ApiRequest) -> None:
    """Set policies and project of a machine; absent members stay unchanged."""
    wanted: MachineSettings = call.read(MachineSettings)
    if wanted.project is not None and not 0 < len(wanted.project.guid) <= 80:
        raise Malformed("project: send 1 to 80 characters", field="project")
    machines.change_settings(call.app, call.who, call.guid, wanted)


@router(
    "DELETE",
    "/virtual-machines/{guid}",
    "Forget a machine.",
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.OBJECTS,
    query=(GONE, _SILENT_FOR),
    command="machine forget MACHINE",
    destroys=lambda call: _lost(call),
    slow=True,
)
def remove_machine(call: ApiRequest) -> Reply | None:
    """Remove an absent machine without backups; POST /tasks/delete removes backups too.

    `gone=true` gives up a machine that is lost for good: backups that a running node reaches stay.
    `silentFor` is the time after which a silent node counts as dead, at least 90 s; default a day.
    """
    if is_gone(call):
        losses = giving_up.give_up(call.app, MACHINE, call.guid, call.who, _silent_ms(call))
        return Reply(losses, status=200)
    machines.remove(call.app, call.who, call.guid)
    return None


def _silent_ms(call: ApiRequest) -> int:
    """The chosen silence of nodes.  Raises Malformed."""
    chosen = query_params.number(call, _SILENT_FOR.name, _LONGEST_SILENCE)
    if chosen is None:
        return giving_up.SILENT_MS
    if chosen < giving_up.LEAST_SILENT_MS:
        raise Malformed(
            f"silentFor: {chosen} ms is too short, because a working node may be silent "
            f"for {giving_up.LEAST_SILENT_MS} ms; send at least this number",
            field="silentFor",
        )
    return chosen


def _lost(call: ApiRequest) -> Losses:
    if is_gone(call):
        return giving_up.preview(call.app, MACHINE, call.guid, call.who, _silent_ms(call))
    return record_losses.of_machine(call.app, call.guid, call.who.scope)


@router(
    "DELETE",
    "/virtual-machines/all-non-present",
    "Remove absent machines.",
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.OBJECTS,
    command="machine forget",
    destroys=lambda call: record_losses.of_absent_machines(call.app, call.who.scope),
)
def remove_absent(call: ApiRequest) -> None:
    """Remove absent machines without backups."""
    machines.remove_absent(call.app, call.who)


@router(
    "POST",
    "/virtual-machines/incremental-not-possible",
    "Machines that need a full backup.",
    request=Entities,
    answer=NotIncremental,
    many=True,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    examples=[{"entities": [example.REF]}],
    command="machine check MACHINE",
)
def not_incremental(call: ApiRequest) -> list[NotIncremental]:
    """Machines whose next backup must be a full backup, with the reasons."""
    wanted: Entities = call.read(Entities)
    with MachineReading.of(call.app, call.who.scope) as reading:
        known = reading.catalogue
        asked = known.machines.get_many([ref.guid for ref in wanted.entities])
        view = view_of(call, reading, asked)
        return [
            NotIncremental(view(machine), reasons)
            for machine in asked
            if (reasons := _reasons(machine, known))
        ]


_GONE = "The base of the next increment is gone"


def _reasons(one: Entity, known: Catalogue) -> list[Reason]:
    if not known.backups.of_entity(one.guid, "SUCCESS"):
        return [Reason("MISSING_FULL_BACKUP", "There is no backup that an increment can build on")]
    if not known.bases.of_entity(one.guid):
        why = known.bases.why_lost(one.guid)
        text = f"The base of the next increment was given up: {why}" if why else _GONE
        return [Reason("MISSING_BASE", text)]
    return []


@router(
    "GET",
    "/virtual-machine-disks",
    "Disks of a machine.",
    answer=DiskRecord,
    many=True,
    query=(Param("virtual-machine", "The machine of the disks.", GUID),),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="machine disk ls MACHINE",
)
def list_disks(call: ApiRequest) -> list[DiskRecord]:
    """The disks of a machine."""
    guid = query_params.guid(call, "virtual-machine")
    if guid is None:
        raise Malformed("virtual-machine: send the guid of a machine", field="virtual-machine")
    with MachineReading.of(call.app, call.who.scope) as reading:
        machine = reading.catalogue.machines.get(guid)
    return [_disk(machine, disk) for disk in machine.disks]


@router(
    "PUT",
    "/virtual-machine-disks/{guid}/settings",
    "Change a disk's settings.",
    request=DiskSettings,
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.OBJECTS,
    examples=[{"excludedFromBackup": True}],
    command="machine disk exclude MACHINE root",
)
def set_disk(call: ApiRequest) -> None:
    """Set whether backups leave a disk out.  409 if no disk would be left."""
    wanted: DiskSettings = call.read(DiskSettings)
    machines.set_disk(call.app, call.who, call.guid, excluded=wanted.excludedFromBackup)


def _disk(entity: Entity, disk: VirtualDisk) -> DiskRecord:
    return DiskRecord(
        guid=disk_guid(entity.guid, disk.name),
        name=disk.name,
        uuid=disk_guid(entity.guid, disk.name),
        size=disk.size,
        present=entity.present,
        supported=True,
        type=label(disk.format.upper()),
        excludedFromBackup=disk.name in entity.settings.get("excludedDisks", []),
    )
