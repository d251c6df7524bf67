"""Figures of the dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from haulback.contract.order_records import BackupDestination
from haulback.contract.protection import ProtectionState
from haulback.server.caller import Caller
from haulback.server.scope import Scope
from haulback.server.services import protection
from haulback.server.services.app import App
from haulback.server.store import figures, lists
from haulback.server.store.figures import StatusCount


class DestinationUse(NamedTuple):
    """A destination with the bytes that its backups occupy."""

    destination: BackupDestination
    stored: int


class DailySizes(NamedTuple):
    """Bytes by day (epoch ms of its midnight, as text)."""

    backed_up: dict[str, int]
    restored: dict[str, int]


class ProtectionFigures(NamedTuple):
    """Machines by protection state, and the unassigned machines that have a backup."""

    counts: Mapping[ProtectionState, int]
    unassigned_with_backup: int


def protection_figures(app: App, who: Caller) -> ProtectionFigures:
    """Numbers of machines by protection, within the caller's projects."""
    counts = protection.counts(app, who)
    with app.store.read() as sql:
        return ProtectionFigures(counts, figures.unassigned_with_backup(sql, who.scope))


def backups(app: App, scope: Scope, start: int, end: int | None) -> dict[str, StatusCount]:
    """Backups created between two moments (epoch ms), by status."""
    with app.store.read() as sql:
        return figures.backup_counts(sql, scope, start, end)


def destinations(app: App, scope: Scope) -> list[DestinationUse]:
    """All destinations ordered by name, with the bytes of the backups that the caller sees."""
    with app.store.read() as sql:
        found, stored = lists.places(sql, BackupDestination), figures.stored_bytes(sql, scope)
    return [DestinationUse(place, stored.get(place.guid, 0)) for place in found]


def sizes(app: App, scope: Scope, span: range) -> DailySizes:
    """Bytes backed up and restored by day within a span of epoch ms."""
    with app.store.read() as sql:
        backed_up = figures.backed_up_by_day(sql, scope, span)
        return DailySizes(backed_up, figures.restored_by_day(sql, scope, span))
