"""Hypervisors, destinations and nodes that planning reads."""

from __future__ import annotations

from collections.abc import Set
from typing import TypeVar

import msgspec
import sqlalchemy as sa

from haulback.contract.order_records import BackupDestination, Hypervisor
from haulback.errors import Malformed, NotFound
from haulback.hypervisor_types import INNER
from haulback.server.store import breakers, tables
from haulback.server.store.rows import one, records
from haulback.wire import JsonObject, Named

_NODES_SHOWN = 5  # names of nodes in an error
T = TypeVar("T", bound=msgspec.Struct)


class PlaceCatalogue:
    """`inventory.catalogue.PlaceRecords` on a connection; each record is read once."""

    def __init__(self, sql: sa.Connection) -> None:
        self._sql = sql
        self._seen: JsonObject = {}

    def hypervisor(self, guid: str) -> Hypervisor:
        return self._once(tables.hypervisor, Hypervisor, guid, "hypervisor")

    def hypervisors(self) -> list[Hypervisor]:
        table = tables.hypervisor.c
        query = sa.select(tables.hypervisor).where(table.driver.not_in(INNER))
        return records(self._sql, query.order_by(table.name), Hypervisor)

    def destination(self, guid: str) -> BackupDestination:
        return self._once(tables.destination, BackupDestination, guid, "backup destination")

    def destinations(self) -> list[BackupDestination]:
        return records(self._sql, sa.select(tables.destination), BackupDestination)

    def default_destination(self) -> BackupDestination:
        found = records(self._sql, sa.select(tables.destination).limit(2), BackupDestination)
        if len(found) != 1:
            why = (
                "there is no destination yet; add a destination"
                if not found
                else "there are several destinations; name one (--destination or --to)"
            )
            raise Malformed(f"backupDestination: {why}", field="backupDestination")
        return found[0]

    def node(self, guid: str) -> Named:
        query = sa.select(tables.node.c.name).where(tables.node.c.guid == guid)
        name = self._sql.scalar(query)
        if name is None:
            raise NotFound(f"there is no node {guid}", guid=guid)
        return Named(guid, name)

    def node_names(self) -> dict[str, str]:
        rows = self._sql.execute(sa.select(tables.node.c.guid, tables.node.c.name))
        return {str(row.guid): str(row.name) for row in rows}

    def heard_last(self, nodes: Set[str] | None) -> str | None:
        table = tables.node.c
        query = sa.select(table.guid).order_by(sa.func.coalesce(table.seen, 0).desc(), table.name)
        if nodes is not None:
            query = query.where(table.guid.in_(nodes))
        found: str | None = self._sql.scalar(query.limit(1))
        return found

    def away(self) -> Set[str]:
        return breakers.open_ones(self._sql)

    def only_node(self, field: str) -> str:
        names = self.node_names()
        if not names:
            why = "no node is enrolled; enrol a node first (haulback node token)"
            raise Malformed(f"{field}: {why}", field=field)
        if len(names) > 1:
            known = ", ".join(sorted(names.values())[:_NODES_SHOWN])
            raise Malformed(
                f"{field}: the server has {len(names)} nodes ({known}); name one (--node), several "
                "(`nodes`), or every node (--all-nodes, `allNodes`)",
                field=field,
            )
        return next(iter(names))

    def _once(self, table: sa.Table, kind: type[T], guid: str, what: str) -> T:
        if guid not in self._seen:
            self._seen[guid] = one(self._sql, table, kind, guid, what)
        found: T = self._seen[guid]
        return found
