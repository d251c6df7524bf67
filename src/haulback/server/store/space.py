"""The space of destinations, updated in the transactions that end tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.contract.space import MachineSpace, SpaceLimits, SpaceUsage
from haulback.inventory.ledger import AlarmChanges
from haulback.policy import space as policy
from haulback.policy.space import DAYS, DayUse, PlaceSpace
from haulback.server.store.raw_sql import Statement
from haulback.server.store.space_tables import destination_day, machine_space
from haulback.server.store.space_tables import destination_space as table
from haulback.server.store.tables import destination as places
from haulback.units import DAY_MS
from haulback.wire import JsonMapping, Named

LIMITS = "space"  # the member of a destination's settings that holds its limits
_MANY = 500  # values of one statement
_ADD = Statement(
    "INSERT INTO destination_space (destination, waits) "
    "SELECT guid, '' FROM destination WHERE guid = :guid ON CONFLICT (destination) DO NOTHING"
)
# Before the first clean-up only the bytes that were stored are known.
_MORE = Statement(
    "UPDATE destination_space SET held = COALESCE(held, 0) + :stored WHERE destination = :guid"
)
_DAY = Statement(
    "INSERT INTO destination_day (destination, day, used) "
    "SELECT guid, :day, :used FROM destination WHERE guid = :guid "
    "ON CONFLICT (destination, day) DO UPDATE SET used = excluded.used"
)
_FORGET = Statement("DELETE FROM destination_day WHERE destination = :guid AND day < :before")
_DUE = Statement(
    "SELECT destination FROM destination_space WHERE waits <> '' AND tested <= :before"
)
_TEST = Statement(
    "UPDATE destination_space SET tested = :now "
    "WHERE destination = :guid AND waits <> '' AND tested <= :before"
)
_FULL = Statement("SELECT destination, waits FROM destination_space WHERE waits <> ''")


class KnownSpace(NamedTuple):
    """The known space of a destination; `waits` is the reason why new backups wait."""

    held: int | None = None
    living: int | None = None
    locked: int | None = None
    measured: int | None = None
    waits: str = ""


NOTHING_KNOWN = KnownSpace()


class SpaceRecords:
    """The space of destinations on a connection, at the server time `now`."""

    def __init__(self, sql: sa.Connection, alarms: AlarmChanges, now: int) -> None:
        self._sql, self._alarms, self._now = sql, alarms, now

    def stored(self, destination: str, stored: int) -> None:
        """Add the bytes of a new backup to the size of the repository, and check the limits."""
        _ADD.run(self._sql, guid=destination)
        _MORE.run(self._sql, guid=destination, stored=stored)
        self.judge(destination)

    def measured(self, destination: str, usage: SpaceUsage) -> None:
        """Store the sizes that a clean-up counted, and check the limits."""
        _ADD.run(self._sql, guid=destination)
        seen = {"held": usage.held, "living": usage.living, "locked": usage.locked}
        change = sa.update(table).where(table.c.destination == destination)
        self._sql.execute(change.values(**seen, measured=self._now))
        self._sql.execute(
            sa.delete(machine_space).where(machine_space.c.destination == destination)
        )
        rows = [_row(destination, machine) for machine in usage.machines]
        for at in range(0, len(rows), _MANY):
            self._sql.execute(sa.insert(machine_space), rows[at : at + _MANY])
        self.judge(destination)

    def judge(self, destination: str) -> None:
        """Record the use on this day, and whether new backups wait; raise or clear the alarm."""
        columns = (places.c.name, places.c.settings, places.c.total_space, places.c.used_space)
        row = self._sql.execute(sa.select(*columns).where(places.c.guid == destination)).first()
        if row is None:
            return
        known = of(self._sql, [destination]).get(destination, NOTHING_KNOWN)
        space = space_of(row[2], row[3], known)
        used = row[3] if row[3] is not None else known.held
        # Before the first clean-up the size is too small: a later day would look like growth.
        if used is not None and (row[3] is not None or known.measured is not None):
            self._note_day(destination, used)
        waits = policy.why_full(space, limits_of(msgspec.json.decode(row[1])))
        if waits != known.waits:
            self._change(Named(destination, row[0]), waits)

    def _change(self, place: Named, waits: str) -> None:
        _ADD.run(self._sql, guid=place.guid)
        change = sa.update(table).where(table.c.destination == place.guid)
        self._sql.execute(change.values(waits=waits))
        if waits:
            text = f"{place.name} {waits}: new backups wait"
            self._alarms.report(AlarmKind.DESTINATION_FULL, place, text, {})
        else:
            self._alarms.clear(AlarmKind.DESTINATION_FULL, place.guid)

    def _note_day(self, destination: str, used: int) -> None:
        day = self._now // DAY_MS
        _DAY.run(self._sql, guid=destination, day=day, used=used)
        _FORGET.run(self._sql, guid=destination, before=day - DAYS)


def limits_of(settings: JsonMapping) -> SpaceLimits:
    """The limits in a destination's settings."""
    return msgspec.convert(settings.get(LIMITS) or {}, SpaceLimits)


def space_of(total: int | None, used: int | None, known: KnownSpace) -> PlaceSpace:
    """The figures that are compared with the limits."""
    free = None if total is None or used is None else total - used
    return PlaceSpace(total, free, known.held)


def full(sql: sa.Connection) -> dict[str, str]:
    """The reasons why new backups wait, by destination."""
    return dict(_FULL.rows(sql))


def to_test(sql: sa.Connection, before: int) -> list[str]:
    """Full destinations that were not tested after `before` (epoch ms)."""
    return [row[0] for row in _DUE.rows(sql, before=before)]


def begin_test(sql: sa.Connection, destination: str, before: int, now: int) -> bool:
    """Record the test of a full destination; False if another server was faster."""
    return _TEST.run(sql, guid=destination, before=before, now=now) == 1


def of(sql: sa.Connection, destinations: Iterable[str]) -> dict[str, KnownSpace]:
    """The known space of destinations, by guid."""
    columns = (table.c.destination, *(table.c[name] for name in KnownSpace._fields))
    query = sa.select(*columns).where(table.c.destination.in_(list(destinations)))
    return {row[0]: KnownSpace(*row[1:]) for row in sql.execute(query)}


def days(sql: sa.Connection, destinations: Iterable[str]) -> Mapping[str, list[DayUse]]:
    """The use of destinations on each of the last days, in order."""
    found: dict[str, list[DayUse]] = {}
    c = destination_day.c
    query = sa.select(c.destination, c.day, c.used).where(c.destination.in_(list(destinations)))
    for destination, day, used in sql.execute(query.order_by(c.day)):
        found.setdefault(destination, []).append(DayUse(day, used))
    return found


def machines(sql: sa.Connection, destination: str) -> list[MachineSpace]:
    """Stored bytes by machine, the largest first."""
    c = machine_space.c
    columns = (c.entity, c.name, c.unique_bytes, c.shared_bytes)
    query = sa.select(*columns).where(c.destination == destination)
    return [
        MachineSpace(*row) for row in sql.execute(query.order_by(c.unique_bytes.desc(), c.entity))
    ]


def _row(destination: str, machine: MachineSpace) -> dict[str, object]:
    return {
        "destination": destination,
        "entity": machine.entity,
        "name": machine.name[:400],
        "unique_bytes": machine.unique,
        "shared_bytes": machine.shared,
    }
