"""Links between destinations: every backup of a source gets a copy on a target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from haulback.contract.backup_destination_sync import DestinationSyncResult
from haulback.inventory.records import Backup
from haulback.kinds.support.second_copies import COPIES, HEALS, SOURCE, TYPE
from haulback.server.store import tables, tasks
from haulback.server.store.copy_tables import copy_due, copy_link
from haulback.server.store.rows import records
from haulback.units import DAY_MS
from haulback.wire import JsonMapping

_LINK = copy_link.c
_COLUMNS = (_LINK.source, _LINK.target, _LINK.role, _LINK.due, _LINK.after)
_DUE = copy_due.c
_BACKUP = tables.backup.c
_PLANNING = "copies"  # the name of the lock of transactions that plan copies
_COPY = tables.backup.alias("copy")


class CopyLink(NamedTuple):
    """A link: backups of `source` are copied to `target` with a role.

    `due` (epoch ms) and `after` are the state of its walk over earlier backups.
    """

    source: str
    target: str
    role: str
    due: int | None
    after: str = ""


def replace(sql: sa.Connection, source: str, links: Sequence[CopyLink], now: int) -> None:
    """Set the links of a source; new links are due.  Copies of removed links stay."""
    before = {link.target: link for link in of(sql, source)}
    after = {link.target: link for link in links}
    gone = [_LINK.source == source, _LINK.target.not_in(list(after))]
    sql.execute(sa.delete(copy_link).where(*gone))
    for target, link in after.items():
        if target not in before:
            sql.execute(sa.insert(copy_link).values(**link._asdict(), created=now))
        elif link.role != before[target].role:
            here = (_LINK.source == source, _LINK.target == target)
            sql.execute(sa.update(copy_link).where(*here).values(role=link.role))


def of(sql: sa.Connection, source: str) -> list[CopyLink]:
    """The links of a source, locked."""
    query = sa.select(*_COLUMNS)
    rows = sql.execute(query.where(_LINK.source == source).with_for_update())
    return [CopyLink(*row) for row in rows]


def touching(sql: sa.Connection, destination: str) -> list[CopyLink]:
    """The links from and to a destination."""
    query = sa.select(*_COLUMNS).where(
        (_LINK.source == destination) | (_LINK.target == destination)
    )
    return [CopyLink(*row) for row in sql.execute(query.order_by(_LINK.source, _LINK.target))]


def all_links(sql: sa.Connection) -> list[CopyLink]:
    """All links; there are as few as destinations."""
    query = sa.select(*_COLUMNS)
    return [CopyLink(*row) for row in sql.execute(query.order_by(_LINK.source, _LINK.target))]


def look(sql: sa.Connection, backup: str, destination: str, moment: int) -> None:
    """Let the copy links of a backup's destination check the backup at a time (epoch ms)."""
    linked = sa.select(_LINK.source).where(_LINK.source == destination).limit(1)
    if sql.scalar(linked) is not None:
        insert = postgresql.insert if sql.dialect.name == "postgresql" else sqlite.insert
        new = insert(copy_due).values(backup=backup, due=moment)
        sql.execute(new.on_conflict_do_update(index_elements=["backup"], set_={"due": moment}))


def next_walk(sql: sa.Connection, now: int) -> CopyLink | None:
    """A link whose walk is not complete, locked, or None."""
    query = sa.select(*_COLUMNS).where(_LINK.due <= now).order_by(_LINK.due).limit(1)
    row = sql.execute(query.with_for_update(skip_locked=True)).one_or_none()
    return CopyLink(*row) if row else None


def is_due(sql: sa.Connection, now: int) -> bool:
    """Whether a walk or a backup is due: two index lookups."""
    walk = sa.select(_LINK.source).where(_LINK.due <= now).limit(1)
    one = sa.select(_DUE.backup).where(_DUE.due <= now).limit(1)
    return any(sql.scalar(query) is not None for query in (walk, one))


def walked(sql: sa.Connection, link: CopyLink, after: str | None) -> None:
    """Set the machine at which a walk continues; None: the walk is complete."""
    here = sa.update(copy_link).where(_LINK.source == link.source, _LINK.target == link.target)
    over = {"due": None, "after": ""}
    sql.execute(here.values(over if after is None else {"after": after}))


def walk_later(sql: sa.Connection, link: CopyLink, moment: int) -> None:
    """Continue a walk at a time (epoch ms)."""
    here = sa.update(copy_link).where(_LINK.source == link.source, _LINK.target == link.target)
    sql.execute(here.values(due=moment))


def take_due(sql: sa.Connection, now: int, most: int) -> list[Backup]:
    """Some due backups, removed from the list."""
    query = sa.select(_DUE.backup).where(_DUE.due <= now).order_by(_DUE.due).limit(most)
    guids = list(sql.scalars(query.with_for_update(skip_locked=True)))
    sql.execute(sa.delete(copy_due).where(_DUE.backup.in_(guids)))
    found = sa.select(tables.backup).where(_BACKUP.guid.in_(guids), _BACKUP.status == "SUCCESS")
    order = (_BACKUP.entity, _BACKUP.snapshot_time, _BACKUP.guid)
    return records(sql, found.order_by(*order), Backup)


class Route(NamedTuple):
    """A source and a target, and the backups to copy: all, or those of a machine, a rule or some
    guids.

    `since` is the first machine of a walk.
    """

    source: str
    target: str
    entity: str | None = None
    rule: str | None = None
    since: str = ""
    only: Sequence[str] | None = None


def on_source(sql: sa.Connection, first: str, source: str) -> str | None:
    """The stored location on `source` of the backup `first`, or None."""
    same = sa.or_(_BACKUP.guid == first, _BACKUP.copy_of == first)
    query = sa.select(_BACKUP.guid).where(same, _BACKUP.destination == source)
    guid: str | None = sql.scalar(query.where(_BACKUP.status == "SUCCESS").limit(1))
    return guid


def lacking(sql: sa.Connection, route: Route, most: int) -> list[Backup]:
    """Locations on a source of backups without a location on a target, the oldest first.

    Locations of one machine are adjacent.  A failed copy does not count; a copy that retention
    removed counts.  Another server that plans copies waits for the end of the transaction.
    """
    if sql.dialect.name == "postgresql":  # SQLite has one writer
        sql.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(_PLANNING))))
    first = sa.func.coalesce(_BACKUP.copy_of, _BACKUP.guid)
    there = (_COPY.c.destination == route.target, _COPY.c.status != "FAILED")
    copied = sa.select(_COPY.c.guid).where(_COPY.c.copy_of == first, *there)
    made_there = sa.select(_COPY.c.guid).where(_COPY.c.guid == first, *there)
    query = sa.select(tables.backup).where(
        sa.text("backup.status = 'SUCCESS'"),
        _BACKUP.destination == route.source,
        _BACKUP.location_status == "PRESENT",
        ~copied.correlate(tables.backup).exists(),
        ~made_there.correlate(tables.backup).exists(),
    )
    query = query.where(_BACKUP.entity == route.entity) if route.entity else query
    query = query.where(_BACKUP.rule == route.rule) if route.rule else query
    query = query.where(_BACKUP.entity >= route.since) if route.since else query
    query = query.where(_BACKUP.guid.in_(route.only)) if route.only is not None else query
    order = (_BACKUP.entity, _BACKUP.snapshot_time, _BACKUP.guid)
    return records(sql, query.order_by(*order).limit(most), Backup)


class Healable(NamedTuple):
    """A location that lacks data, and another location of the same backup, preferably a sound
    one.
    """

    damaged: Backup
    other: Backup


def is_damaged(sql: sa.Connection, now: int) -> bool:
    """Whether a location lacks data and was not healed recently: an index look-up."""
    query = sa.select(_BACKUP.guid).where(tables.HEALABLE, _BACKUP.heal_after <= now)
    return sql.scalar(query.limit(1)) is not None


def healable(sql: sa.Connection, now: int, again: int, most: int) -> list[Healable]:
    """Locations that lack data, each with another location of the same backup if one exists.

    A source whose healings left damage in the last day is tried after the other sources.

    Each returned location is due again at `again` (epoch ms).
    """
    query = sa.select(tables.backup).where(tables.HEALABLE, _BACKUP.heal_after <= now)
    query = query.order_by(_BACKUP.heal_after, _BACKUP.guid).limit(most)
    damaged = records(sql, query.with_for_update(skip_locked=True), Backup)
    here = sa.update(tables.backup).where(_BACKUP.guid.in_([item.guid for item in damaged]))
    sql.execute(here.values(heal_after=again))
    pairs = ((item, _other(sql, item, now)) for item in damaged if not _is_healing(sql, item))
    return [Healable(item, other) for item, other in pairs if other]


def _is_healing(sql: sa.Connection, damaged: Backup) -> bool:
    """Whether a task that heals a location waits (for up to a day) or runs."""
    live, task = sa.text("state IN ('QUEUED', 'RUNNING', 'PLANNED')"), tables.task.c
    where = (live, task.entity == damaged.entity, task.destination == damaged.destination)
    rows = sql.execute(sa.select(*tasks.COLUMNS).where(*where, task.type == TYPE)).all()
    params = [tasks.task_of(row).params for row in rows]
    return any(item.get(HEALS) and damaged.guid in item[COPIES] for item in params)


def _other(sql: sa.Connection, damaged: Backup, now: int) -> Backup | None:
    """The location that supplies the next healing: one with the fewest healings that left damage, a
    sound one first.
    """
    vain = _vain_healings(sql, damaged, now)
    return min(_others(sql, damaged), key=lambda item: vain[item.destination], default=None)


def _others(sql: sa.Connection, damaged: Backup) -> list[Backup]:
    """The other locations of a backup that may supply data, sound ones first."""
    same = sa.or_(_BACKUP.guid == damaged.first, _BACKUP.copy_of == damaged.first)
    query = sa.select(tables.backup).where(
        same,
        _BACKUP.guid != damaged.guid,
        _BACKUP.status == "SUCCESS",
        _BACKUP.location_status.in_(("PRESENT", "DAMAGED")),
    )
    order = (_BACKUP.location_status != "PRESENT", _BACKUP.copy_of.is_not(None), _BACKUP.created)
    return records(sql, query.order_by(*order), Backup)


def has_other_source(sql: sa.Connection, damaged: Backup, now: int) -> bool:
    """Whether the other locations of a backup differ in the number of healings that left damage."""
    vain = _vain_healings(sql, damaged, now)
    return len({vain[item.destination] for item in _others(sql, damaged)}) > 1


def _vain_healings(sql: sa.Connection, damaged: Backup, now: int) -> Counter[str]:
    """The healings of a location in the last day that left damage, by their source."""
    task = tables.task.c
    # `modified` is never before `created`, and has an index of all tasks.
    recent = (task.modified > now - DAY_MS, task.created > now - DAY_MS, task.type == TYPE)
    where = (task.entity == damaged.entity, task.destination == damaged.destination)
    query = sa.select(*tasks.COLUMNS).where(*recent, *where)
    vain: Counter[str] = Counter()
    for row in sql.execute(query):
        item = tasks.task_of(row)
        if item.params.get(HEALS) and damaged.guid in item.params[COPIES]:
            vain[item.params[SOURCE]] += damaged.guid not in _whole_copies(item.results)
    return vain


def _whole_copies(results: JsonMapping) -> set[str]:
    """The backups that a node reported as copied without a gap; none if the report is unusable."""
    report = {"copied": results.get("copied", [])}
    try:
        copied = msgspec.convert(report, DestinationSyncResult).copied
    except msgspec.ValidationError:
        return set()
    return {copy.backup for copy in copied if not copy.lacks}
