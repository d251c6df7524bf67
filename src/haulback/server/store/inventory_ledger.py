"""Changes of machines, networks and storage pools by inventory scans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.contract.alarms import AlarmKind
from haulback.contract.inventory_sync import PlatformResource
from haulback.contract.order_records import Hypervisor
from haulback.ids import new_guid
from haulback.inventory.managers import SEEN_AS, SEEN_ON
from haulback.inventory.presence import HypervisorScan, UnreadableMachine
from haulback.inventory.records import Entity, Record
from haulback.server.store import alarms, evaluations, managers, mount_tables, rows, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.evaluations import EvaluationKind
from haulback.server.store.machines import policy_columns
from haulback.server.store.presence import PresenceLedger
from haulback.server.store.rows import records, row_of
from haulback.texts import is_printable
from haulback.wire import JsonObject

_UPSERTED = ("name", "type", "disks")
_NONE = "{}"


class InventoryLedger(PresenceLedger):
    """`inventory.ledger.InventoryChanges` on a connection, at the server time `now`."""

    def scanned(
        self,
        hypervisor: str,
        machines: Iterable[Entity],
        *,
        complete_since: int | None,
        by: str = "",
        unreadable: Sequence[UnreadableMachine] = (),
    ) -> None:
        self._lock(hypervisor)
        result = {machine.uuid: machine for machine in machines}
        shown = {uuid for uuid, item in result.items() if item.present}
        self._readable(hypervisor, shown)
        self._upsert(result.values())
        complete = complete_since is not None
        since = self._now if complete_since is None else complete_since
        unseen = self._unseen(hypervisor, since) if complete else []
        there = self._unread(hypervisor, unreadable, unseen, complete)
        absent = result.keys() - shown
        if absent:
            unseen += [machine for machine in self._present(hypervisor) if machine.uuid in absent]
        missed = {machine.guid: machine for machine in unseen if machine.guid not in there}
        self._weigh(hypervisor, list(missed.values()), HypervisorScan(by, since))
        evaluations.request(
            self._sql, EvaluationKind.HOST, hypervisor, 0 if complete or absent else since
        )

    def _upsert(self, machines: Iterable[Entity]) -> None:
        """Record machines as seen; a machine reported as absent stays present until
        `presence.judge` decides.
        """
        rows = [self._row(machine) for machine in machines]
        insert = postgresql.insert if self._sql.dialect.name == "postgresql" else sqlite.insert
        new, old = insert(tables.entity), tables.entity.c
        shown = new.excluded.present
        fresh: JsonObject = {name: new.excluded[name] for name in _UPSERTED}
        fresh["present"] = sa.or_(shown, old.present)
        for name, value in (("absent_since", None), ("problem", None), ("seen", self._now)):
            fresh[name] = sa.case((shown, sa.literal(value, old[name].type)), else_=old[name])
        # A platform without projects must not clear the project that users set.
        fresh["project"] = sa.func.coalesce(new.excluded.project, old.project)
        for name, none in (("hardware", _NONE), ("place", "")):
            told = new.excluded[name]
            fresh[name] = sa.case((told == none, old[name]), else_=told)
        if rows:
            upsert = new.on_conflict_do_update(index_elements=["hypervisor", "uuid"], set_=fresh)
            self._sql.execute(upsert, rows)

    def _row(self, one: Entity) -> JsonObject:
        row = {**row_of(one, tables.entity), "seen": self._now, "problem": None}
        row |= {**policy_columns(one.settings), "protection_since": self._now}
        return {**row, "absent_since": None if one.present else self._now}

    def reunited(self, hypervisor: str) -> None:
        if not (hosts := self._hosts_beside(hypervisor)):
            return
        old, new = tables.entity.alias("old"), tables.entity.alias("new")
        left = sa.or_(~old.c.present, old.c.absent_since.is_not(None))
        arrived = (new.c.present, new.c.absent_since.is_(None))
        known = (old.c.facts != _NONE, new.c.facts == _NONE)
        here = (old.c.hypervisor.in_(hosts), new.c.hypervisor.in_(hosts))
        went = (left, *arrived, old.c.hypervisor != new.c.hypervisor)
        query = sa.select(old.c.guid, new.c.hypervisor).join(new, old.c.uuid == new.c.uuid)
        for guid, host in self._sql.execute(query.where(*went, *known, *here)).all():
            self.lives_on(guid, host)

    def lives_on(self, entity: str, hypervisor: str) -> None:
        """Move a machine to a hypervisor; an earlier machine with its uuid moves to its old
        hypervisor.
        """
        self._lock(hypervisor)
        table = tables.entity.c
        result = self._sql.execute(
            sa.select(table.uuid, table.hypervisor).where(table.guid == entity)
        ).one()
        other = (table.hypervisor == hypervisor, table.uuid == result.uuid, table.guid != entity)
        earlier = self._sql.scalar(sa.select(table.guid).where(*other))
        if earlier:  # a uuid is unique on a hypervisor, also within a transaction
            self._place(earlier, uuid=earlier, present=False, absent_since=self._now, problem=None)
        here = {"present": True, "absent_since": None, "problem": None, "place": ""}
        self._place(entity, hypervisor=hypervisor, seen=self._now, **here)
        if earlier:
            self._place(earlier, uuid=result.uuid, hypervisor=result.hypervisor)
        self._alarms.clear_many(
            AlarmKind.MACHINE_UNREADABLE, [entity, *([earlier] if earlier else [])]
        )
        for host in {result.hypervisor, hypervisor}:
            self.settle_doubt(host)

    def _place(self, entity: str, **values: object) -> None:
        here = tables.entity.c.guid == entity
        self._sql.execute(sa.update(tables.entity).where(here).values(**values))

    def surrounded(
        self,
        hypervisor: str,
        networks: list[PlatformResource] | None,
        pools: list[PlatformResource] | None,
    ) -> None:
        host = SqlCatalogue(self._sql).places.hypervisor(hypervisor)
        parent = host.settings.get("hypervisorManager") or ""
        if networks is not None:
            result = {
                network.name: {"uuid": network.uuid}
                for network in networks
                if is_printable(network.name)
            }
            self._around("network", hypervisor, parent, result)
        if pools is not None:
            spaces = {
                f"{host.name}: {pool.name}": _space(pool)
                for pool in pools
                if is_printable(pool.name)
            }
            self._around("hypervisor-storage", hypervisor, parent, spaces)

    def _around(
        self, kind: str, hypervisor: str, parent: str, result: dict[str, JsonObject]
    ) -> None:
        """Update the records that scans made, and delete those not seen; records of users stay.

        A scanned record is recognised by its name on the platform, even after users renamed it.
        """
        table = tables.record
        here = (table.c.kind == kind, table.c.parent == parent)
        query = sa.select(table).where(*here).with_for_update()
        kept = records(self._sql, query, Record)
        taken = {record.name for record in kept}
        known = {str(record.body.get(SEEN_AS, record.name)): record for record in kept}
        for name, body in result.items():
            before = known.get(name)
            if before is None and name not in taken:
                whole = {**body, SEEN_AS: name, SEEN_ON: [hypervisor]}
                made = Record(guid=new_guid(), kind=kind, name=name, parent=parent, body=whole)
                self._add(made)
            elif before is not None and SEEN_ON in before.body:
                hosts = sorted({*before.body[SEEN_ON], hypervisor})
                self._write(before, {**before.body, **body, SEEN_ON: hosts})
        for name, before in known.items():
            if name not in result and hypervisor in before.body.get(SEEN_ON, ()):
                hosts = [item for item in before.body[SEEN_ON] if item != hypervisor]
                self._write(before, {**before.body, SEEN_ON: hosts})

    def _add(self, made: Record) -> None:
        row = {**row_of(made, tables.record), "created": self._now, "modified": self._now}
        try:
            with self._sql.begin_nested():
                self._sql.execute(sa.insert(tables.record).values(row))
        except sa.exc.IntegrityError:
            pass  # another host has just added the record; the next scan adds this host to it

    def unseen(self, hypervisor: str) -> None:
        """Remove a deleted or moved hypervisor from the records that its scans found."""
        for kind in ("network", "hypervisor-storage"):
            for record in SqlCatalogue(self._sql).records.of_kind(kind):
                if hypervisor in (hosts := record.body.get(SEEN_ON, [])):
                    self._write(
                        record, {**record.body, SEEN_ON: [h for h in hosts if h != hypervisor]}
                    )

    def _write(self, before: Record, body: JsonObject) -> None:
        table = tables.record
        here = table.c.guid == before.guid
        if not body[SEEN_ON]:
            self._sql.execute(sa.delete(table).where(here))
        elif body != before.body:
            text = msgspec.json.encode(body).decode()
            self._sql.execute(sa.update(table).where(here).values(body=text, modified=self._now))

    def change_project(self, entity: str, project: str | None) -> None:
        """Move an entity, with its backups, tasks and mounts, to another project."""
        for table in (
            tables.backup,
            tables.restore_job,
            tables.snapshot,
            mount_tables.mounted_backup,
            tables.task,
        ):
            self._sql.execute(
                sa.update(table).where(table.c.entity == entity).values(project=project)
            )
        alarms.moved(self._sql, entity, project)

    def save_hypervisor(self, record: Hypervisor) -> None:
        taken = set(self._sql.scalars(sa.select(tables.hypervisor.c.name)))
        name, number = record.name, 1
        while name in taken:  # the name is in use: the hypervisor gets a numbered name
            number += 1
            name = f"{record.name} ({number})"
        named = msgspec.structs.replace(record, name=name)
        rows.add(self._sql, tables.hypervisor, named)
        managers.surround(self._sql, named, self._now)


def _space(one: PlatformResource) -> JsonObject:
    used = None if one.total is None or one.free is None else one.total - one.free
    told = {
        "uuid": one.uuid,
        "pool": one.name,
        "totalAvailableSpace": one.total,
        "totalUsedSpace": used,
    }
    return {name: value for name, value in told.items() if value is not None}
