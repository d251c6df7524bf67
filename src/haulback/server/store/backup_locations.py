"""Locations of backups: the row of a backup is its first location, each copy has a row of its
own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from haulback.inventory.records import Backup
from haulback.server.queries import ListQuery
from haulback.server.store import tables
from haulback.server.store.expressions import Condition
from haulback.server.store.rows import records

_MANY = 500  # guids in one statement
_COPY = tables.backup.alias("copy")
_BACKUP = tables.backup.c


def on(wanted: ListQuery) -> list[Condition]:
    """The backups with a location on the requested destination."""
    if not wanted.destination:
        return []
    here = _BACKUP.destination == wanted.destination
    if wanted.locations:
        return [here]
    return [sa.or_(here, _has_copy(_COPY.c.destination == wanted.destination))]


def in_state(wanted: ListQuery) -> list[Condition]:
    """The backups in the requested states, as clients read them; the best location decides the
    state.
    """
    by_status = _location_status if wanted.locations else _backup_status
    where = [by_status(wanted.statuses)] if wanted.statuses else []
    if wanted.places:
        place = _place(_BACKUP, wanted.places)
        of_copy = _has_copy(_place(_COPY.c, wanted.places))
        where.append(place if wanted.locations else sa.or_(place, of_copy))
    return where


def copies_of(sql: sa.Connection, backups: Iterable[str]) -> dict[str, list[Backup]]:
    """The copies of backups by the backup's guid, the oldest first.

    For each destination the last successful copy counts, or a failed copy if there is no other.
    """
    wanted = list(backups)
    copies: dict[str, list[Backup]] = defaultdict(list)
    for at in range(0, len(wanted), _MANY):
        query = sa.select(tables.backup).where(_BACKUP.copy_of.in_(wanted[at : at + _MANY]))
        for copy in records(sql, query.order_by(_BACKUP.created, _BACKUP.guid), Backup):
            copies[copy.first].append(copy)
    return {guid: _last(of_backup) for guid, of_backup in copies.items()}


def _last(copies: Sequence[Backup]) -> list[Backup]:
    by_destination: dict[str, Backup] = {}
    for copy in copies:
        before = by_destination.get(copy.destination)
        if before is None or before.status == "FAILED" or copy.status != "FAILED":
            by_destination[copy.destination] = copy
    return list(by_destination.values())


def orphaned(sql: sa.Connection, destination: str) -> None:
    """Turn copies whose first location is about to be deleted into backups of their own.

    Of several copies the best, and of equals the oldest, becomes the first location of the others.
    Records of failed copies without objects are deleted.
    """
    lost = sa.select(_BACKUP.guid).where(_BACKUP.destination == destination)
    _orphaned(sql, (_BACKUP.copy_of.in_(lost), _BACKUP.destination != destination))


def orphaned_by(sql: sa.Connection, guids: Sequence[str]) -> None:
    """Turn copies into backups of their own, as `orphaned`, for at most 500 first locations."""
    _orphaned(sql, (_BACKUP.copy_of.in_(guids), _BACKUP.guid.not_in(guids)))


def _orphaned(sql: sa.Connection, of_other: Sequence[Condition]) -> None:
    sql.execute(sa.delete(tables.backup).where(*of_other, _BACKUP.status == "FAILED", _BACKUP.gone))
    of_lost = sa.select(_BACKUP.copy_of, _BACKUP.guid).where(*of_other)
    is_sound = _BACKUP.location_status == "PRESENT"
    worse = (_BACKUP.status == "FAILED", _BACKUP.status != "SUCCESS", ~is_sound)
    heirs: dict[str, str] = {}
    for first, guid in sql.execute(of_lost.order_by(*worse, _BACKUP.created, _BACKUP.guid)).all():
        if first not in heirs:
            heirs[first] = guid
            here = sa.update(tables.backup).where(_BACKUP.guid == guid)
            sql.execute(here.values(copy_of=None))
    for first, heir in heirs.items():
        others = sa.update(tables.backup).where(_BACKUP.copy_of == first)
        sql.execute(others.values(copy_of=heir))


def _has_copy(condition: Condition) -> Condition:
    query = sa.select(_COPY.c.guid).where(_COPY.c.copy_of == _BACKUP.guid, condition)
    return query.correlate(tables.backup).exists()


def _stored(columns: sa.ColumnCollection[str, sa.Column[object]], *states: str) -> Condition:
    return sa.and_(columns.status == "SUCCESS", columns.location_status.in_(states))


def _anywhere(*states: str) -> Condition:
    return sa.or_(_stored(_BACKUP, *states), _has_copy(_stored(_COPY.c, *states)))


def _backup_status(statuses: list[str]) -> Condition:
    """Backups with these statuses: the state of the best location."""
    sound, damaged = _anywhere("PRESENT"), _anywhere("DAMAGED")
    lost = _stored(_BACKUP, "MISSING", "GIVEN_UP")
    shown = {
        "SUCCESS": sound,
        "PARTIAL_SUCCESS": sa.or_(
            _BACKUP.status == "PARTIAL_SUCCESS", sa.and_(damaged, sa.not_(sound))
        ),
        "FAILED": sa.or_(
            _BACKUP.status == "FAILED", sa.and_(lost, sa.not_(sound), sa.not_(damaged))
        ),
        "SUCCESS_REMOVED": sa.and_(
            _BACKUP.status == "SUCCESS_REMOVED", sa.not_(sound), sa.not_(damaged)
        ),
    }
    return sa.or_(*(shown.get(status, _BACKUP.status == status) for status in statuses))


def _location_status(statuses: list[str]) -> Condition:
    """Locations with these statuses: a damaged location is PARTIAL_SUCCESS."""
    places = {"SUCCESS": ["PRESENT"], "PARTIAL_SUCCESS": ["DAMAGED"]}
    places["FAILED"] = ["MISSING", "GIVEN_UP"]
    wanted = [place for status in statuses for place in places.get(status, [])]
    others = [status for status in statuses if status != "SUCCESS"]
    return sa.or_(_BACKUP.status.in_(others), _stored(_BACKUP, *wanted))


def _place(columns: sa.ColumnCollection[str, sa.Column[object]], places: list[str]) -> Condition:
    """Locations in these states, as clients read them."""
    by_status = {
        "FAILED": ["PARTIAL_SUCCESS", "FAILED"],
        "REMOVED": ["SUCCESS_REMOVED"],
        "IN_PROGRESS": ["QUEUED", "INPROGRESS"],
    }
    statuses = [status for place in places for status in by_status.get(place, [])]
    stored = [place for place in places if place not in by_status]
    stored += ["GIVEN_UP"] if "MISSING" in stored else []
    return sa.or_(columns.status.in_(statuses), _stored(columns, *stored))
