"""Virtual machines and their disks, as portals read and set them."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from haulback.contract import example_values as example
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
from haulback.errors import Conflict, Malformed, NotFound
from haulback.hypervisor_types import TYPES, Capability
from haulback.inventory.derived_guids import disk_guid
from haulback.inventory.records import Entity, Hypervisor
from haulback.server.http import paging, query_params
from haulback.server.http.machine_views import COMMANDS, view_of
from haulback.server.http.operation import GUID, ApiRequest, Param, Reply, Router
from haulback.server.queries import ListQuery
from haulback.server.store import lists, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.ledger import SqlLedger
from haulback.server.store.rows import row_of
from haulback.wire import label

_COMMAND = 4000  # characters of a command
room = Router()


@room(
    "GET",
    "/virtual-machines",
    "Machines.",
    answer=VirtualMachine,
    many=True,
    query=(
        Param("hypervisor", "On this hypervisor.", GUID),
        *paging.COMMON,
    ),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="machine ls",
)
def list_machines(call: ApiRequest) -> Reply:
    """A page of machines, or all."""
    wanted = paging.wanted(call, hypervisor=query_params.guid(call, "hypervisor"))
    with call.app.store.read() as sql:
        found, total = lists.machines(sql, wanted)
        known = SqlCatalogue(sql, call.who.scope)
        return paging.page(found, total, view_of(call, sql, known, found))


@room(
    "GET",
    "/virtual-machines/{guid}",
    "One machine.",
    answer=VirtualMachine,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="machine show MACHINE",
)
def one_machine(call: ApiRequest) -> VirtualMachine:
    """One machine."""
    with call.app.store.read() as sql:
        known = SqlCatalogue(sql, call.who.scope)
        one = known.machines.get(call.guid)
        return view_of(call, sql, known, [one])(one)


@room(
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
    """Policies and project; what is absent stays."""
    wanted: MachineSettings = call.read(MachineSettings)
    if wanted.project is not None and not 0 < len(wanted.project.guid) <= 80:
        raise Malformed("project: 1 to 80 characters", field="project")
    with call.app.change(call.who, "set machine", call.guid) as done:
        known = SqlCatalogue(done.sql, call.who.scope)
        before = known.machines.get(call.guid)
        settings = dict(before.settings)
        project = _project(wanted, known) or before.project
        if not call.who.scope.allows(project):
            raise NotFound(f"there is no project {project}")
        for kind, name, ref in (
            ("vm-backup", "backupPolicy", wanted.vmBackupPolicy),
            ("vm-snapshot", "snapshotPolicy", wanted.snapshotMgmtPolicy),
        ):
            if ref:
                settings[name] = known.records.get(kind, ref.guid).guid
            _check_governed(known, kind, settings.get(name), project)
        _set_commands(settings, wanted, known.places.hypervisor(before.hypervisor))
        after = msgspec.structs.replace(before, settings=settings, project=project)
        _write(done.sql, after)
        if project != before.project:
            SqlLedger(done.sql, done.now).inventory.change_project(after.guid, project)
        done.before, done.after = before, after


def _check_governed(known: SqlCatalogue, kind: str, policy: str | None, project: Any) -> None:
    """Raises Conflict where the policy of a machine would belong to another project."""
    try:
        found = known.records.get(kind, policy) if policy else None
    except NotFound:
        return
    if found and found.project not in (None, project):
        raise Conflict(
            f"the policy {found.name} belongs to project {found.project}; give the machine a "
            f"policy of {project or 'no project'}, or one of all projects",
            policy=found.guid,
        )


def _project(wanted: MachineSettings, known: SqlCatalogue) -> str | None:
    """The uuid of the project that is meant; portals send the reference that they were shown."""
    if wanted.project is None:
        return None
    for one in known.records.of_kind("project"):
        if one.guid == wanted.project.guid:
            return str(one.body["uuid"])
    return wanted.project.guid


def _set_commands(settings: dict[str, Any], wanted: MachineSettings, host: Hypervisor) -> None:
    """Raises Malformed where nothing can run them."""
    for name in COMMANDS:
        command: str | None = getattr(wanted, name)
        if command is None:
            continue
        if not command:
            settings.pop(name, None)
            continue
        if len(command) > _COMMAND or "\0" in command:
            raise Malformed(f"{name}: at most {_COMMAND} characters, without NUL", field=name)
        if not TYPES[host.driver].can(Capability.GUEST):
            raise Malformed(f"{name}: {TYPES[host.driver].words} runs no machines", field=name)
        settings[name] = command


def _write(sql: sa.Connection, one: Entity) -> None:
    """No more than people may set: a look may change the rest in the same moment."""
    row = row_of(one, tables.entity)
    values = {name: row[name] for name in ("settings", "project")}
    sql.execute(sa.update(tables.entity).where(tables.entity.c.guid == one.guid).values(values))


@room(
    "DELETE",
    "/virtual-machines/{guid}",
    "Forget a machine.",
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.OBJECTS,
    command="machine forget MACHINE",
)
def remove_machine(call: ApiRequest) -> None:
    """Forget one that is not present and has no backups; POST /tasks/delete does more."""
    with call.app.change(call.who, "remove machine", call.guid) as done:
        one = SqlCatalogue(done.sql, call.who.scope).machines.get(call.guid)
        done.before = one
        if one.present:
            raise Conflict(f"{one.name} is present; it would come back with the next inventory")
        if not _forget(done.sql, one):
            raise Conflict(f"{one.name} has backups or tasks; use POST /tasks/delete")


@room(
    "DELETE",
    "/virtual-machines/all-non-present",
    "Forget machines that are gone.",
    status=204,
    roles=ADMINS,
    projects=ProjectAccess.OBJECTS,
    command="machine forget",
)
def remove_absent(call: ApiRequest) -> None:
    """Forget those that are not present and have no backups."""
    with call.app.change(call.who, "remove machines that are not present") as done:
        found = lists.absent_machines(done.sql, call.who.scope)
        done.before = [one.guid for one in found if _forget(done.sql, one)]
        done.silent = not done.before


def _forget(sql: sa.Connection, one: Entity) -> bool:
    SqlLedger(sql, 0).removals.forget_entity(one.guid)
    query = sa.select(tables.entity.c.guid).where(tables.entity.c.guid == one.guid)
    return sql.scalar(query) is None


@room(
    "POST",
    "/virtual-machines/incremental-not-possible",
    "Which cannot be incremental.",
    request=Entities,
    answer=NotIncremental,
    many=True,
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    examples=[{"entities": [example.REF]}],
    command="machine check MACHINE",
)
def not_incremental(call: ApiRequest) -> list[NotIncremental]:
    """Those of the machines whose next backup will be full whatever is asked, and why."""
    wanted: Entities = call.read(Entities)
    with call.app.store.read() as sql:
        known = SqlCatalogue(sql, call.who.scope)
        found = []
        machines = known.machines.get_many([ref.guid for ref in wanted.entities])
        view = view_of(call, sql, known, machines)
        for one in machines:
            if reasons := _reasons(one, known):
                found.append(NotIncremental(view(one), reasons))
    return found


def _reasons(one: Entity, known: SqlCatalogue) -> list[Reason]:
    if not known.backups.of_entity(one.guid, "SUCCESS"):
        return [Reason("MISSING_FULL_BACKUP", "There is no backup to build on")]
    if not known.backups.bases(one.guid):
        return [Reason("MISSING_BASE", "What the last backup was built on is gone")]
    return []


@room(
    "GET",
    "/virtual-machine-disks",
    "Disks of a machine.",
    answer=DiskRecord,
    many=True,
    query=(Param("virtual-machine", "Whose disks.", GUID),),
    roles=PEOPLE,
    projects=ProjectAccess.OBJECTS,
    command="machine disk ls MACHINE",
)
def list_disks(call: ApiRequest) -> list[DiskRecord]:
    """The disks of a machine."""
    guid = query_params.guid(call, "virtual-machine")
    if guid is None:
        raise Malformed("virtual-machine: name a machine", field="virtual-machine")
    with call.app.store.read() as sql:
        one = SqlCatalogue(sql, call.who.scope).machines.get(guid)
    return [_disk(one, disk) for disk in one.disks]


@room(
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
    """Whether backups leave a disk out.  409 when none would be left."""
    wanted: DiskSettings = call.read(DiskSettings)
    with call.app.change(call.who, "set disk", call.guid) as done:
        before, name = _with_disk(done.sql, call)
        excluded = set(before.settings.get("excludedDisks", []))
        excluded = excluded | {name} if wanted.excludedFromBackup else excluded - {name}
        if all(disk.name in excluded for disk in before.disks):
            raise Conflict(f"{before.name} would have no disk left to back up")
        settings = {**before.settings, "excludedDisks": sorted(excluded)}
        after = msgspec.structs.replace(before, settings=settings)
        _write(done.sql, after)
        done.before, done.after = before, after


def _with_disk(sql: sa.Connection, call: ApiRequest) -> tuple[Entity, str]:
    """The machine of a disk: disks have no rows, their guids follow from what they belong to."""
    page = 0
    while True:
        wanted = ListQuery(scope=call.who.scope, page=page, size=1000)
        found, _ = lists.machines(sql, wanted)
        for one in found:
            for disk in one.disks:
                if disk_guid(one.guid, disk.name) == call.guid:
                    return one, disk.name
        if len(found) < 1000:
            raise NotFound(f"there is no disk {call.guid}", guid=call.guid)
        page += 1


def _disk(one: Entity, disk: VirtualDisk) -> DiskRecord:
    return DiskRecord(
        guid=disk_guid(one.guid, disk.name),
        name=disk.name,
        uuid=disk_guid(one.guid, disk.name),
        size=disk.size,
        present=one.present,
        supported=True,
        type=label(disk.format.upper()),
        excludedFromBackup=disk.name in one.settings.get("excludedDisks", []),
    )
