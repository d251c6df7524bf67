"""Changes of backup destinations that tasks report."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from haulback.contract.destination_probe import StoreProbe
from haulback.contract.events import Event, EventKind
from haulback.contract.space import SpaceUsage
from haulback.errors import Conflict
from haulback.inventory.ledger import AlarmChanges, NewDestinationLocation
from haulback.server.store import events, given_up_keys, node_groups, pins, rows, tables
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.space import SpaceRecords
from haulback.units import size
from haulback.wire import Named

_LEVELS = (0.8, 0.9, 0.95, 0.98)  # used shares of the capacity at which an event is added


class DestinationLedger:
    """`inventory.ledger.DestinationChanges` on a connection."""

    def __init__(self, sql: sa.Connection, now: int, alarms: AlarmChanges) -> None:
        self._sql, self._now = sql, now
        self._book = SpaceRecords(sql, alarms, now)

    def initialised(self, destination: str, repository: str) -> None:
        table = tables.destination
        where = table.c.guid == destination
        if self._sql.scalar(sa.select(table.c.repository).where(where)) == repository:
            return
        same = sa.select(table.c.name).where(table.c.repository == repository, ~where)
        if (name := self._sql.scalar(same.limit(1))) is not None:
            raise Conflict(
                f"the destination {name} has this repository already: two clean-ups would not know "
                f"of each other's tasks; remove the new destination; use {name} instead"
            )
        self._sql.execute(sa.update(table).where(where).values(repository=repository))
        given_up_keys.read_again(self._sql, repository)

    def probed(self, destination: str, seen: StoreProbe) -> None:
        """Merge the results of a probe into the earlier results; absent members stay."""
        table = tables.destination
        where = table.c.guid == destination
        text = self._sql.scalar(sa.select(table.c.probe).where(where)) or "{}"
        before = msgspec.json.decode(text, type=dict[str, object])
        merged = before | {k: v for k, v in msgspec.to_builtins(seen).items() if v is not None}
        encoded = msgspec.json.encode(merged).decode()
        self._sql.execute(sa.update(table).where(where).values(probe=encoded))

    def moved(self, place: NewDestinationLocation, repository: str, *, by: str) -> None:
        before = SqlCatalogue(self._sql).places.destination(place.destination)
        if before.repository != repository:
            raise Conflict(
                f"{before.name}: the new location holds another repository; copy the repository "
                f"of {before.name} there first"
            )
        config = before.config | place.settings
        after = msgspec.structs.replace(before, config=config, node=place.node, nodes=place.nodes)
        pins.check_idle(self._sql, before, besides=by)
        pins.check_held(self._sql, after)
        rows.change(self._sql, tables.destination, after)
        node_groups.keep(self._sql)
        pins.renew(self._sql, after, self._now)

    def space(self, destination: str, total: int | None, free: int | None) -> None:
        if total is None or free is None:
            return
        table, used = tables.destination, max(0, total - free)
        where = table.c.guid == destination
        columns = (table.c.name, table.c.total_space, table.c.used_space)
        before = self._sql.execute(sa.select(*columns).where(where)).one_or_none()
        values = {"total_space": total, "used_space": used}
        self._sql.execute(sa.update(table).where(where).values(**values))
        if before and total and (percent := _crossed(before[2], before[1], used / total)):
            events.add(self._sql, self._filling(Named(destination, before[0]), percent, free))
        self._book.judge(destination)

    def limited(self, destination: str) -> None:
        """Check again a destination whose limits were changed."""
        self._book.judge(destination)

    def stored(self, destination: str, stored: int) -> None:
        self._book.stored(destination, stored)

    def measured(self, destination: str, usage: SpaceUsage) -> None:
        self._book.measured(destination, usage)

    def _filling(self, place: Named, percent: int, free: int) -> Event:
        text = f"{place.name} is {percent} % full: {size(free)} are free"
        return Event(
            kind=EventKind.DESTINATION_FILLING,
            time=self._now,
            subject=place.guid,
            subject_name=place.name,
            text=text,
            data={"percent": percent, "freeSpace": free},
        )


def _crossed(used: int | None, total: int | None, share: float) -> int | None:
    """The highest level that the used percentage of a destination has risen above, or None."""
    before = (used or 0) / total if total else 0.0
    crossed = any(before < level <= share for level in _LEVELS)
    return int(100 * share) if crossed else None
