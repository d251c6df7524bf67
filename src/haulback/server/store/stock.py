"""Machines and what surrounds them, as looks at their platforms change what is known of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.ids import new_guid
from haulback.inventory.records import Entity, Place, Record
from haulback.server.store import tables
from haulback.server.store.catalogue import SqlCatalogue, records, row_of

_UPSERTED = ("name", "type", "present", "disks", "seen")
_NONE = "{}"
_SEEN_AS = "seenAs"
_SEEN_ON = "seenOn"  # hypervisors that have it; only what nobody has written by hand says so
SEEN = (_SEEN_ON, _SEEN_AS, "pool")  # what looks write, and people do not take away


class InventoryLedger:
    """The part of a ledger that knows machines, networks and pools."""

    _sql: sa.Connection
    now: int

    def inventory(
        self, hypervisor: str, machines: Iterable[Entity], *, complete_since: int | None
    ) -> None:
        rows = {m.uuid: {**row_of(m, tables.entity), "seen": self.now} for m in machines}
        insert = postgresql.insert if self._sql.dialect.name == "postgresql" else sqlite.insert
        new = insert(tables.entity)
        fresh: dict[str, Any] = {name: new.excluded[name] for name in _UPSERTED}
        # A platform that knows no projects must not take away the one that people gave.
        fresh["project"] = sa.func.coalesce(new.excluded.project, tables.entity.c.project)
        hardware = (new.excluded.hardware, tables.entity.c.hardware)
        fresh["hardware"] = sa.case((hardware[0] == _NONE, hardware[1]), else_=hardware[0])
        if rows:
            upsert = new.on_conflict_do_update(index_elements=["hypervisor", "uuid"], set_=fresh)
            self._sql.execute(upsert, list(rows.values()))
        if complete_since is not None:
            table = tables.entity.c
            gone = (table.hypervisor == hypervisor, table.present, table.seen < complete_since)
            self._sql.execute(sa.update(tables.entity).where(*gone).values(present=False))

    def machines_gone(self, hypervisor: str, uuids: Iterable[str]) -> None:
        table = tables.entity.c
        gone = (table.hypervisor == hypervisor, table.uuid.in_(list(uuids)))
        self._sql.execute(sa.update(tables.entity).where(*gone).values(present=False))

    def reunited(self, hypervisor: str) -> None:
        if not (hosts := self._hosts_beside(hypervisor)):
            return
        old, new = tables.entity.alias("old"), tables.entity.alias("new")
        went = (~old.c.present, new.c.present, old.c.hypervisor != new.c.hypervisor)
        known = (old.c.facts != _NONE, new.c.facts == _NONE)
        here = (old.c.hypervisor.in_(hosts), new.c.hypervisor.in_(hosts))
        query = sa.select(old.c.guid, new.c.hypervisor).join(new, old.c.uuid == new.c.uuid)
        for guid, host in self._sql.execute(query.where(*went, *known, *here)).all():
            self.lives_on(guid, host)

    def _hosts_beside(self, hypervisor: str) -> list[str]:
        """All hosts of its manager, itself included; none without a manager."""
        known = SqlCatalogue(self._sql)
        manager = known.hypervisor(hypervisor).settings.get("hypervisorManager")
        hosts = known.hypervisors() if manager else []
        return [one.guid for one in hosts if one.settings.get("hypervisorManager") == manager]

    def lives_on(self, entity: str, hypervisor: str) -> None:
        """What is known of an earlier machine of that uuid there trades places with it."""
        table = tables.entity.c
        found = self._sql.execute(
            sa.select(table.uuid, table.hypervisor).where(table.guid == entity)
        ).one()
        other = (table.hypervisor == hypervisor, table.uuid == found.uuid)
        earlier = self._sql.scalar(sa.select(table.guid).where(*other))
        if earlier:  # no two of one place may bear the same uuid, not even for a moment
            self._place(earlier, uuid=earlier, present=False)
        self._place(entity, hypervisor=hypervisor, present=True, seen=self.now)
        if earlier:
            self._place(earlier, uuid=found.uuid, hypervisor=found.hypervisor)

    def _place(self, entity: str, **values: Any) -> None:
        here = tables.entity.c.guid == entity
        self._sql.execute(sa.update(tables.entity).where(here).values(**values))

    def surrounded(
        self, hypervisor: str, networks: list[Place] | None, pools: list[Place] | None
    ) -> None:
        host = SqlCatalogue(self._sql).hypervisor(hypervisor)
        parent = host.settings.get("hypervisorManager") or ""
        if networks is not None:
            found = {one.name: {"uuid": one.uuid} for one in networks if _fits(one.name)}
            self._around("network", hypervisor, parent, found)
        if pools is not None:
            spaces = {f"{host.name}: {one.name}": _space(one) for one in pools if _fits(one.name)}
            self._around("hypervisor-storage", hypervisor, parent, spaces)

    def _around(
        self, kind: str, hypervisor: str, parent: str, found: dict[str, dict[str, Any]]
    ) -> None:
        """What people wrote themselves is theirs; what nobody sees any more goes.

        One that was seen is known by the name it had then, whatever people call it now.
        """
        table = tables.record
        here = (table.c.kind == kind, table.c.parent == parent)
        query = sa.select(table).where(*here).with_for_update()
        kept = records(self._sql, query, Record)
        taken = {one.name for one in kept}
        known = {str(one.body.get(_SEEN_AS, one.name)): one for one in kept}
        for name, body in found.items():
            before = known.get(name)
            if before is None and name not in taken:
                whole = {**body, _SEEN_AS: name, _SEEN_ON: [hypervisor]}
                made = Record(guid=new_guid(), kind=kind, name=name, parent=parent, body=whole)
                self._add(made)
            elif before is not None and _SEEN_ON in before.body:
                hosts = sorted({*before.body[_SEEN_ON], hypervisor})
                self._write(before, {**before.body, **body, _SEEN_ON: hosts})
        for name, before in known.items():
            if name not in found and hypervisor in before.body.get(_SEEN_ON, ()):
                hosts = [one for one in before.body[_SEEN_ON] if one != hypervisor]
                self._write(before, {**before.body, _SEEN_ON: hosts})

    def _add(self, made: Record) -> None:
        row = {**row_of(made, tables.record), "created": self.now, "modified": self.now}
        try:
            with self._sql.begin_nested():
                self._sql.execute(sa.insert(tables.record).values(row))
        except sa.exc.IntegrityError:
            pass  # another host brought it in this moment; the next look adds this one

    def unseen(self, hypervisor: str) -> None:
        """A hypervisor that goes, or goes elsewhere, sees nothing here any more."""
        for kind in ("network", "hypervisor-storage"):
            for one in SqlCatalogue(self._sql).records(kind):
                if hypervisor in (hosts := one.body.get(_SEEN_ON, [])):
                    self._write(one, {**one.body, _SEEN_ON: [h for h in hosts if h != hypervisor]})

    def _write(self, before: Record, body: dict[str, Any]) -> None:
        table = tables.record
        here = table.c.guid == before.guid
        if not body[_SEEN_ON]:
            self._sql.execute(sa.delete(table).where(here))
        elif body != before.body:
            text = msgspec.json.encode(body).decode()
            self._sql.execute(sa.update(table).where(here).values(body=text, modified=self.now))


def _fits(name: str) -> bool:
    return 0 < len(name) <= 200 and name.isprintable()


def _space(one: Place) -> dict[str, Any]:
    used = None if one.total is None or one.free is None else one.total - one.free
    told = {
        "uuid": one.uuid,
        "pool": one.name,
        "totalAvailableSpace": one.total,
        "totalUsedSpace": used,
    }
    return {name: value for name, value in told.items() if value is not None}
