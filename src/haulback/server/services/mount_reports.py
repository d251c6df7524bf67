"""Reports of nodes about the mounts that they serve."""

from __future__ import annotations

from collections.abc import Sequence

from haulback.contract.damage import DamageReport
from haulback.errors import NotFound, TooMany
from haulback.inventory.records import Mount
from haulback.server.caller import Node
from haulback.server.services.app import App
from haulback.server.store import audit, damage_allowance
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.damage_reports import DamageFinder, locations
from haulback.server.store.engine import Connection
from haulback.server.store.ledger import SqlLedger

_EVERY_MS = 10_000  # time between two reports of a node, on average
_AT_ONCE = 60  # reports of a node that may come together
_DAMAGE = "POST /nodes/self/shares/{guid}/damage"


def damaged(app: App, who: Node, guid: str, reports: Sequence[DamageReport]) -> None:
    """Record the damage that the readers of a mounted backup have found, also of an ended mount.

    Raises NotFound for a mount of another node, TooMany for a node that reports too often.
    """
    with app.store.read() as sql:  # a flood of reports must not hold up other writers
        _mount(sql, who, guid)
        _check(damage_allowance.booked(sql, who.guid), app.clock.now_ms())
    with app.store.write() as sql:
        now, mount = app.clock.now_ms(), _mount(sql, who, guid)
        _take(sql, who.guid, now)
        finder = DamageFinder(f"MOUNT {guid}", locations(sql, mount.backup))
        SqlLedger(sql, now).damage.found(finder, reports)
        after = {"backup": mount.backup, "damaged": [_summary(met) for met in reports]}
        audit.write(sql, now, (who.guid, who.name), _DAMAGE, (guid, None, after))


def _mount(sql: Connection, who: Node, guid: str) -> Mount:
    mount = SqlCatalogue(sql).mounts.get(guid)
    if mount.node != who.guid:
        raise NotFound(f"this node has no mount {guid}", guid=guid)
    return mount


def _take(sql: Connection, node: str, now: int) -> None:
    """Use up the share of one report in a node's allowance."""
    booked = damage_allowance.lock(sql, node)
    _check(booked, now)
    damage_allowance.book(sql, node, max(booked, now) + _EVERY_MS)


def _check(booked: int, now: int) -> None:
    late = booked - now - (_AT_ONCE - 1) * _EVERY_MS
    if late > 0:
        wait = -(-late // 1000)
        raise TooMany(
            f"this node reports damage of mounts too often; try again in {wait} s",
            retryAfter=wait,
        )


def _summary(met: DamageReport) -> dict[str, object]:
    """A report in the audit log: its destination, and the numbers of its parts."""
    return {
        "destination": met.destination,
        "losses": len(met.losses),
        "unreadable": len(met.unreadable),
        "missing": len(met.missing),
        "objects": len(met.objects),
    }
