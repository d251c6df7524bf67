"""The space of destinations, as callers read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from haulback.contract.order_records import BackupDestination
from haulback.contract.space import MachineShare, SpaceLimits, SpaceRecord
from haulback.errors import Malformed
from haulback.kinds import connectivity_test
from haulback.kinds.api import Context
from haulback.policy import space as policy
from haulback.server.services.app import App
from haulback.server.store import space, tasks
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.engine import Connection
from haulback.wire import JsonObject, Named

_MOST = 1 << 62  # bytes
_TEST_EVERY_MS = 600_000  # time between two tests of a full destination


def test_due(app: App) -> int:
    """Plan a CONNECTIVITY_TEST of each full destination, at most every ten minutes; returns their
    number.

    Waiting backups use the free space that the last task reported; such a test notices space that
    was freed since.
    """
    before = app.clock.now_ms() - _TEST_EVERY_MS
    with app.store.read() as sql:
        due = space.to_test(sql, before)
    return sum(_test(app, destination, before) for destination in due)


def _test(app: App, destination: str, before: int) -> bool:
    with app.store.write() as sql:
        now = app.clock.now_ms()
        if not space.begin_test(sql, destination, before, now):
            return False
        place = SqlCatalogue(sql).places.destination(destination)
        tasks.insert(sql, [connectivity_test.of_destination(place, Context(now))])
    return True


def shown(app: App, places: Sequence[BackupDestination]) -> Mapping[str, SpaceRecord]:
    """The space of destinations, by guid."""
    with app.store.read() as sql:
        return at(sql, places, app.clock.now_ms())


def at(sql: Connection, places: Sequence[BackupDestination], now: int) -> Mapping[str, SpaceRecord]:
    """The space of destinations at `now` (epoch ms), by guid."""
    guids = [place.guid for place in places]
    known, days = space.of(sql, guids), space.days(sql, guids)
    return {
        place.guid: _record(
            place, known.get(place.guid, space.NOTHING_KNOWN), days.get(place.guid, []), now
        )
        for place in places
    }


def _record(
    place: BackupDestination, known: space.KnownSpace, days: list[policy.DayUse], now: int
) -> SpaceRecord:
    limits = space.limits_of(place.settings)
    figures = space.space_of(place.total_space, place.used_space, known)
    per_day = policy.growth(days)
    return SpaceRecord(
        held=known.held,
        living=known.living,
        locked=known.locked,
        measured=known.measured,
        growthPerDay=per_day,
        fullAt=policy.full_at(figures, limits, per_day, now),
        quota=limits.quota,
        minimumFree=limits.minimumFree,
        waits=known.waits or None,
    )


def machines(app: App, guid: str) -> list[MachineShare]:
    """Stored bytes by machine, as the last clean-up found them.  Raises NotFound."""
    with app.store.read() as sql:
        SqlCatalogue(sql).places.destination(guid)
        rows = space.machines(sql, guid)
    return [
        MachineShare(
            protectedEntity=Named(machine.entity, machine.name),
            unique=machine.unique,
            shared=machine.shared,
        )
        for machine in rows
    ]


def limited(wanted: SpaceLimits | None, before: JsonObject) -> JsonObject:
    """Settings with other limits of space.  Raises Malformed."""
    if wanted is None:
        return before
    for name in ("quota", "minimumFree"):
        value = getattr(wanted, name)
        if value is not None and not 0 <= value <= _MOST:
            raise Malformed(f"space.{name}: send bytes, 0 or more", field=f"space.{name}")
    limits = {"quota": wanted.quota, "minimumFree": wanted.minimumFree}
    return {**before, space.LIMITS: {k: v for k, v in limits.items() if v is not None}}
