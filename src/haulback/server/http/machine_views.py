"""Machines in the form that portals read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from haulback.contract.machines import ManagerOf, VirtualMachine
from haulback.contract.roles import ADMINS
from haulback.errors import NotFound
from haulback.hypervisor_types import declared
from haulback.inventory.managers import cluster_of, manager_of, portal_type
from haulback.inventory.records import Entity
from haulback.server.http.operation import ApiRequest
from haulback.server.services.machines import COMMANDS, MachineReading
from haulback.wire import JsonObject, Named, label


def view_of(
    call: ApiRequest, reading: MachineReading, found: Sequence[Entity]
) -> Callable[[Entity], VirtualMachine]:
    """The machines of an answer in the form that portals read; related records are read once for
    all.
    """
    around = _Around(call, reading, [one.guid for one in found])
    return lambda one: _machine(one, around)


class _Around:
    """The records to which machines refer."""

    def __init__(self, call: ApiRequest, reading: MachineReading, guids: Sequence[str]) -> None:
        self.known, self.now = reading.catalogue, call.app.clock.now_ms()
        self.sees_commands = bool(call.who.roles & ADMINS)  # commands may hold passwords
        self.rpos = reading.rpos
        self.snapshots = reading.last_snapshots(guids)
        self.record = cache(self._record)

    def _record(self, kind: str, guid: str | None) -> Any:
        """A record, None for a deleted record."""
        try:
            return self.known.records.get(kind, guid) if guid else None
        except NotFound:
            return None

    def named(self, kind: str, guid: str | None) -> Named | None:
        found = self.record(kind, guid)
        return Named(found.guid, found.name) if found else None

    def manager(self, guid: str) -> ManagerOf:
        found = self.record("hypervisor-manager", guid)
        body = found.body if found else {}
        kind = label(portal_type(str(body.get("type", ""))))
        return ManagerOf(guid, found.name if found else "", str(body.get("url", "")), kind)

    def project(self, uuid: str | None) -> Named | None:
        """The project of a machine, from the project's record if one exists."""
        return (self._projects().get(uuid) or Named(uuid, uuid)) if uuid else None

    def _projects(self) -> dict[str, Named]:
        if not hasattr(self, "_found"):
            records = self.known.records.of_kind("project")
            self._found = {
                str(record.body["uuid"]): Named(record.guid, record.name) for record in records
            }
        return self._found


def _machine(entity: Entity, around: _Around) -> VirtualMachine:
    facts, settings, known = entity.facts, entity.settings, around.known
    if not around.sees_commands:
        settings = {name: value for name, value in settings.items() if name not in COMMANDS}
    source = known.places.hypervisor(entity.hypervisor)
    full, inc = (facts.get(f"lastSuccessful{sort}Backup") for sort in ("Full", "Inc"))
    manager = around.manager(manager_of(source))
    cluster = cluster_of(source)
    return VirtualMachine(
        guid=entity.guid,
        name=entity.name,
        uuid=entity.uuid,
        present=entity.present,
        absentSince=entity.absent_since,
        problem=entity.problem,
        type=label(entity.type),
        hypervisor=Named(source.guid, source.name),
        hvType=label(declared(source.driver).label),
        hvmType=manager.type,
        restoreStatus="RESTORABLE" if facts else "NOT_RESTORABLE",
        restorable=bool(facts),
        tags=entity.hardware.get("tags", []),
        networkInterfaceCards=[
            {"name": f"card {number}", "macAddress": card["mac"], "network": card["network"]}
            for number, card in enumerate(entity.hardware.get("cards", []))
        ],
        notBackedUp=entity.hardware.get("apart", []),
        disks=entity.disks,
        hvManager=manager,
        hvCluster=around.named("hypervisor-cluster", cluster) or Named(cluster),
        project=around.project(entity.project),
        vmBackupPolicy=around.named("vm-backup", settings.get("backupPolicy")),
        snapshotMgmtPolicy=around.named("vm-snapshot", settings.get("snapshotPolicy")),
        backupUpToDate=_up_to_date(entity, around),
        protectionState=label(entity.protection),
        protectionSince=entity.protection_since,
        lastBackup=facts.get("lastBackup"),
        lastSuccessfulBackupSize=facts.get("lastSuccessfulBackupSize"),
        lastSuccessfulFullBackup=_backup(entity, full),
        lastSuccessfulFullBackupSize=facts.get("lastSuccessfulFullBackupSize"),
        lastSuccessfulIncBackup=_backup(entity, inc),
        lastSuccessfulIncBackupSize=facts.get("lastSuccessfulIncBackupSize"),
        lastStoredSnapshot=around.snapshots.get(entity.guid),
        settings=settings or None,
    )


def _up_to_date(one: Entity, around: _Around) -> bool | None:
    """Whether the last good backup is within the RPO of the policy; None without an RPO."""
    rpo = around.rpos.get(str(one.settings.get("backupPolicy")))
    return None if rpo is None else around.now - int(one.facts.get("lastBackup") or 0) <= rpo


def _backup(one: Entity, fact: JsonObject | None) -> Named | None:
    """Monitoring exporters parse the time after " - "."""
    return Named(fact["guid"], f"{one.name} - {fact['time']}") if fact else None
