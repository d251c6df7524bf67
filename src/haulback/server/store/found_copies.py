"""Locations of one backup that were found on several destinations, joined again.

The manifest of a copy names its backup.  The destinations may be attached in any order, so that a
copy whose backup is unknown takes its place until the backup is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import sqlalchemy as sa

from haulback.contract.catalogue import FoundBackup
from haulback.ids import is_guid
from haulback.server.store import tables

# Member of a manifest, and of the origin of a copy that stands in for its backup.
LABEL = "copyOf"
_BACKUP = tables.backup.c


def firsts(sql: sa.Connection, new: Iterable[FoundBackup]) -> dict[str, str]:
    """For each found copy the row of its backup; absent if the backup is unknown."""
    labels = {item.guid: label for item in new if (label := label_of(item))}
    if not labels:
        return {}
    wanted = set(labels.values())
    query = sa.select(_BACKUP.guid, sa.func.coalesce(_BACKUP.copy_of, _BACKUP.guid))
    heads: dict[str, str] = {
        row[0]: row[1] for row in sql.execute(query.where(_BACKUP.guid.in_(wanted)))
    }
    for item in new:  # the backup itself may be in the same page
        if item.guid in wanted and item.guid not in labels:
            heads.setdefault(item.guid, item.guid)
    for guid, label in _standing(sql, {item.entity for item in new}).items():
        heads.setdefault(label, guid)
    result: dict[str, str] = {}
    for guid, label in labels.items():
        head = heads.setdefault(label, guid)  # the first copy takes the place of its backup
        if head != guid:
            result[guid] = head
    return result


def label_of(item: FoundBackup) -> str:
    """The guid of the backup of which a found backup is a copy, "" for a first location."""
    label = item.labels.get(LABEL, "")
    return label if is_guid(label) and label != item.guid else ""


def join(sql: sa.Connection, new: Iterable[FoundBackup]) -> None:
    """Turn copies that stood in for a found backup into further locations of this backup."""
    found = {item.guid: item.entity for item in new if not label_of(item)}
    for guid, label in _standing(sql, set(found.values())).items():
        if label in found:
            either = sa.or_(_BACKUP.guid == guid, _BACKUP.copy_of == guid)
            sql.execute(sa.update(tables.backup).where(either).values(copy_of=label))


def _standing(sql: sa.Connection, entities: set[str]) -> Mapping[str, str]:
    """The copies that stand in for a backup of these entities, with the guid of that backup."""
    query = sa.select(_BACKUP.guid, _BACKUP.origin).where(
        _BACKUP.entity.in_(entities),
        _BACKUP.copy_of.is_(None),
        _BACKUP.origin.like(f'%"{LABEL}"%'),
    )
    rows = sql.execute(query).all()
    return {guid: str(msgspec.json.decode(origin).get(LABEL)) for guid, origin in rows}
