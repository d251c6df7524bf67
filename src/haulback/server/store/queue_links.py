"""Reasons why no node takes a queued task: missing links, and silent nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from haulback.inventory.reach import NOWHERE, is_group, missing_link
from haulback.server.store import pins
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.reach_tables import node_group
from haulback.server.store.tables import node as nodes
from haulback.tasks.record import Task
from haulback.units import utc

# Milliseconds of silence after which a node counts as offline; nodes send a heartbeat every ten
# seconds.
SILENT_MS = 45_000
_NAMED = 5


class _Node(NamedTuple):
    name: str
    seen: int


def _away(node: _Node) -> str:
    return f"has been silent since {utc(node.seen)}" if node.seen else "has never connected"


class Links:
    """The nodes at the time `now` (epoch ms), read once for any number of tasks."""

    def __init__(self, sql: sa.Connection, now: int) -> None:
        self._sql, self._now = sql, now
        self._known = SqlCatalogue(sql)
        self._nodes: Mapping[str, _Node] | None = None
        self._groups: dict[str, Sequence[str]] = {}

    def reason(self, task: Task) -> str:
        """The reason why no node can take a task now, "" if an active node may take it."""
        if task.pinned_node == NOWHERE:
            names = {guid: node.name for guid, node in self._all().items()}
            return missing_link(pins.places_of(task, self._known), names)
        members = self._members(task.pinned_node)
        if not members or any(self._is_heard(node) for node in members):
            return ""
        known = sorted(node for guid in members if (node := self._all().get(guid)))
        if len(known) < 2:
            return (
                f"node {known[0].name}, the only node that can run the task, {_away(known[0])}"
                if known
                else ""
            )
        more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
        shown = ", ".join(f"{node.name} {_away(node)}" for node in known[:_NAMED])
        return f"no node that can run the task is online: {shown}{more}"

    def heard(self, pin: str) -> list[str]:
        """The active nodes with a pin."""
        return [guid for guid in self._members(pin) if self._is_heard(guid)]

    def _members(self, pin: str) -> Iterable[str]:
        if pin == "":
            return self._all().keys()
        if not is_group(pin):
            return (pin,)
        if pin not in self._groups:
            query = sa.select(node_group.c.node).where(node_group.c.guid == pin)
            self._groups[pin] = list(self._sql.scalars(query))
        return self._groups[pin]

    def _is_heard(self, guid: str) -> bool:
        node = self._all().get(guid)
        return bool(node) and self._now - (node.seen if node else 0) < SILENT_MS

    def _all(self) -> Mapping[str, _Node]:
        if self._nodes is None:
            rows = self._sql.execute(sa.select(nodes.c.guid, nodes.c.name, nodes.c.seen))
            self._nodes = {row.guid: _Node(row.name, row.seen or 0) for row in rows}
        return self._nodes
