"""Machines and their disks: lists, settings and removal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from shlex import quote

import msgspec

from haulback.contract.machines import MachineSettings
from haulback.contract.order_records import Hypervisor
from haulback.errors import Conflict, Malformed, NotFound
from haulback.hypervisor_types import Capability, type_of
from haulback.inventory.catalogue import Catalogue
from haulback.inventory.derived_guids import disk_guid
from haulback.inventory.records import Entity
from haulback.server.caller import Caller
from haulback.server.queries import ListQuery
from haulback.server.services import hold, policies
from haulback.server.services.app import App
from haulback.server.services.read_transaction import Reading
from haulback.server.store import lists, machines, policy_rpos, protection
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.server.store.ledger import SqlLedger
from haulback.wire import JsonObject, Named

COMMANDS = ("preCommand", "postCommand")
_COMMAND = 4000  # maximum length of a command, in characters
_PAGE = 1000  # machines that one query reads in the search for a disk


class MachineReading(Reading):
    """Read access to machines within one transaction."""

    def page(self, wanted: ListQuery) -> tuple[list[Entity], int]:
        """A page of machines ordered by name, and the number of all."""
        return lists.machines(self._sql, wanted)

    @cached_property
    def rpos(self) -> Mapping[str, int | None]:
        """The RPO in ms of the active backup policies, None without a limit."""
        return policy_rpos.active(self._sql)

    def last_snapshots(self, machines: Sequence[str]) -> dict[str, Named]:
        """The newest snapshot of each machine on its platform."""
        return protection.last_snapshots(self._sql, machines)


def change_settings(app: App, who: Caller, guid: str, wanted: MachineSettings) -> None:
    """Set policies, commands and project of a machine; absent members stay unchanged.

    Raises NotFound, Malformed, and Conflict for a policy of another project.
    """
    with app.change(who, "set machine", guid) as change:
        known = SqlCatalogue(change.sql, who.scope)
        before = known.machines.get(guid)
        settings = dict(before.settings)
        project = _project(wanted, known) or before.project
        if not who.scope.allows(project):
            raise NotFound(f"there is no project {project}")
        for kind, member in (
            ("vm-backup", "vmBackupPolicy"),
            ("vm-snapshot", "snapshotMgmtPolicy"),
        ):
            name, ref = policies.OWNED[kind].setting, getattr(wanted, member)
            if ref and ref.guid != settings.get(name):
                settings[name] = known.records.get(kind, ref.guid).guid
                policies.check_no_copy(change.sql, [before], member)
            _check_governed(known, kind, settings.get(name), project)
        _set_commands(settings, wanted, known.places.hypervisor(before.hypervisor))
        after = msgspec.structs.replace(before, settings=settings, project=project)
        machines.write_settings(change.sql, after)
        if project != before.project:
            SqlLedger(change.sql, change.now).inventory.change_project(after.guid, project)
        change.before, change.after = before, after


def _check_governed(known: Catalogue, kind: str, policy: str | None, project: str | None) -> None:
    """Raises Conflict if the policy of a machine would belong to another project."""
    try:
        result = known.records.get(kind, policy) if policy else None
    except NotFound:
        return
    if result and result.project not in (None, project):
        raise Conflict(
            f"the policy {result.name} belongs to project {result.project}; give the "
            f"machine a policy of {project or 'no project'}, or a policy of all projects",
            policy=result.guid,
        )


def _project(wanted: MachineSettings, known: Catalogue) -> str | None:
    """The uuid of the requested project; portals send the reference that an answer contained."""
    if wanted.project is None:
        return None
    for record in known.records.of_kind("project"):
        if record.guid == wanted.project.guid:
            return str(record.body["uuid"])
    return wanted.project.guid


def _set_commands(settings: JsonObject, wanted: MachineSettings, host: Hypervisor) -> None:
    """Raises Malformed if the platform cannot run the commands."""
    for name in COMMANDS:
        command: str | None = getattr(wanted, name)
        if command is None:
            continue
        if not command:
            settings.pop(name, None)
            continue
        if len(command) > _COMMAND or "\0" in command:
            raise Malformed(f"{name}: send at most {_COMMAND} characters, without NUL", field=name)
        platform = type_of(host.driver, host.config)
        if not platform.can(Capability.GUEST):
            raise Malformed(
                f"{name}: {platform.words} cannot run machines; leave the member out", field=name
            )
        settings[name] = command


def remove(app: App, who: Caller, guid: str) -> None:
    """Remove the record of an absent machine without backups.  Raises NotFound, Conflict."""
    with app.change(who, "remove machine", guid) as change:
        machine = SqlCatalogue(change.sql, who.scope).machines.get(guid)
        change.before = machine
        if machine.present:
            typed = quote(machine.name)
            raise Conflict(
                f"{machine.name} is present, so the next inventory would add the machine "
                "again; if the machine is lost for good, give it up: haulback machine "
                f"forget {typed} --gone"
            )
        hold.check_removal(change.sql, "the removal of a machine")
        if not _forget(change.sql, machine):
            raise Conflict(
                f"{machine.name} has backups or tasks; delete them by haulback machine rm "
                f"{quote(machine.name)} (POST /tasks/delete)"
            )


def remove_absent(app: App, who: Caller) -> None:
    """Remove the records of absent machines without backups."""
    with app.change(who, "remove machines that are not present") as change:
        hold.check_removal(change.sql, "the removal of machines")
        absent = lists.absent_machines(change.sql, who.scope)
        change.before = [machine.guid for machine in absent if _forget(change.sql, machine)]
        change.silent = not change.before


def _forget(sql: Connection, machine: Entity) -> bool:
    SqlLedger(sql, 0).removals.forget_entity(machine.guid)
    return not machines.is_known(sql, machine.guid)


def set_disk(app: App, who: Caller, guid: str, *, excluded: bool) -> None:
    """Exclude a disk from backups, or include it again.

    Raises NotFound, and Conflict for the last disk that backups contain.
    """
    with app.change(who, "set disk", guid) as change:
        before, name = _with_disk(change.sql, who, guid)
        names = set(before.settings.get("excludedDisks", []))
        names = names | {name} if excluded else names - {name}
        if all(disk.name in names for disk in before.disks):
            raise Conflict(
                f"{before.name} would have no disk left to back up; keep at least one disk"
            )
        settings = {**before.settings, "excludedDisks": sorted(names)}
        after = msgspec.structs.replace(before, settings=settings)
        machines.write_settings(change.sql, after)
        change.before, change.after = before, after


def _with_disk(sql: Connection, who: Caller, guid: str) -> tuple[Entity, str]:
    """The machine of a disk; disks have no rows, since their guids derive from machine and name."""
    page = 0
    while True:
        result, _ = lists.machines(sql, ListQuery(scope=who.scope, page=page, size=_PAGE))
        for machine in result:
            for disk in machine.disks:
                if disk_guid(machine.guid, disk.name) == guid:
                    return machine, disk.name
        if len(result) < _PAGE:
            raise NotFound(f"there is no disk {guid}", guid=guid)
        page += 1
