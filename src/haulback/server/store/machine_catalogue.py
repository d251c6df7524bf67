"""Machines that planning reads, within a caller's projects."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from haulback.errors import Conflict, NotFound
from haulback.inventory.records import Entity
from haulback.server.scope import Scope
from haulback.server.store import tables
from haulback.server.store.record_catalogue import RecordCatalogue
from haulback.server.store.rows import records

_MANY = 500  # guids in one statement
_HINTED = 100  # machines of one uuid among which an error looks for one that the caller sees


class MachineCatalogue:
    """`inventory.catalogue.MachineRecords` on a connection."""

    def __init__(self, sql: sa.Connection, scope: Scope, configuration: RecordCatalogue) -> None:
        self._sql, self._scope = sql, scope
        self._configuration = configuration
        self._fired: set[str] | None = None  # rules that an active incremental schedule fires

    def get(self, guid: str) -> Entity:
        return self.get_many([guid])[0]

    def get_many(self, guids: Sequence[str]) -> list[Entity]:
        found: dict[str, Entity] = {}
        for at in range(0, len(guids), _MANY):
            query = sa.select(tables.entity).where(tables.entity.c.guid.in_(guids[at : at + _MANY]))
            found |= {machine.guid: machine for machine in records(self._sql, query, Entity)}
        for guid in guids:
            if guid not in found or not self._scope.allows(found[guid].project):
                raise NotFound(f"there is no protected entity {guid}{self._hint(guid)}", guid=guid)
        return [found[guid] for guid in guids]

    def _hint(self, uuid: str) -> str:
        """The guid of a machine whose uuid stands in place of a guid, "" if there is none."""
        table = tables.entity.c
        # The index of uuids begins with the hypervisor.
        hosts = table.hypervisor.in_(sa.select(tables.hypervisor.c.guid))
        query = sa.select(tables.entity).where(hosts, table.uuid == uuid).limit(_HINTED)
        for machine in records(self._sql, query, Entity):
            if self._scope.allows(machine.project):
                return (
                    f"; this is the uuid of {machine.name} on its hypervisor: name the guid "
                    f"{machine.guid}"
                )
        return ""

    def find_named(self, hypervisor: str, name: str) -> Entity | None:
        table = tables.entity.c
        where = (table.hypervisor == hypervisor, table.name == name, table.present)
        query = sa.select(tables.entity).where(*where).limit(2)
        machines = list(records(self._sql, query, Entity))
        if any(not self._scope.allows(machine.project) for machine in machines):
            raise NotFound(f"dstProtectedEntity: there is no machine {name} to replace")
        if len(machines) > 1:
            raise Conflict(
                f"several machines have the name {name}: name the guid of the machine in "
                "dstProtectedEntity"
            )
        return machines[0] if machines else None

    def find_at(self, hypervisor: str, uuid: str) -> Entity | None:
        table = tables.entity.c
        query = sa.select(tables.entity).where(table.hypervisor == hypervisor, table.uuid == uuid)
        found = records(self._sql, query, Entity)
        return next((one for one in found if self._scope.allows(one.project)), None)

    def is_scheduled(self, entity: str) -> bool:
        """Whether a schedule fires an incremental rule of the machine's policy."""
        schedules = self._incremental_rules()
        if not schedules:
            return False
        policy = self.get(entity).settings.get("backupPolicy")
        return any(
            rule.guid in schedules for rule in self._configuration.of_kind("rule", str(policy))
        )

    def on_hypervisor(self, hypervisor: str) -> list[Entity]:
        """The machines of one hypervisor."""
        query = sa.select(tables.entity).where(tables.entity.c.hypervisor == hypervisor)
        return records(self._sql, query.order_by(tables.entity.c.name), Entity)

    def _incremental_rules(self) -> set[str]:
        """The rules with an active incremental schedule."""
        if self._fired is None:
            bodies = [schedule.body for schedule in self._configuration.of_kind("schedule")]
            self._fired = {
                rule["guid"]
                for body in bodies
                if body.get("active", True) and body.get("backupType") == "INCREMENTAL"
                for rule in body.get("rules", [])
            }
        return self._fired
