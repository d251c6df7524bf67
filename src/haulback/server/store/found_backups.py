"""Insertion of backups that a node found on a destination but the catalogue does not know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from haulback.contract.alarms import AlarmKind
from haulback.contract.catalogue import FoundBackup
from haulback.contract.damage import BackupDamage, LocationStatus
from haulback.contract.machines import VirtualDisk
from haulback.ids import is_guid, new_guid
from haulback.inventory.attached_machines import ATTACHED_SOURCE
from haulback.inventory.own_server import OWN_ENTITY
from haulback.inventory.records import Backup, Entity
from haulback.server.store import copy_links, found_copies, own_server, tables
from haulback.server.store.damage_ledger import DamageLedger
from haulback.server.store.last_backups import recall
from haulback.server.store.ledger import SqlLedger
from haulback.server.store.rows import records, row_of
from haulback.wire import JsonMapping, JsonObject, Named

_Record = TypeVar("_Record", Entity, Backup)
_LONGEST_TEXT, _LARGEST = 10_000, 1 << 53
# Stored as text, because the records are on the old server.
_NAMES = ("rule", "policy", "projectName")
_KEPT = (
    *("created", "stored_time", "description", "warnings", "acknowledged", "hint", "keep_until"),
    *("lock_until", "level", "consistency", "volumes", "role", "project"),
)
_KEPT_ABOUT = ("name", "type", "project", "disks", "hardware", "place")


class FindingTask(NamedTuple):
    """The task that found backups on a destination at the server's time `now` (epoch ms)."""

    destination: str
    task: str
    now: int


def add(sql: sa.Connection, page: list[FoundBackup], finding: FindingTask) -> int:
    """Insert the unknown backups of a page; returns the number of inserted backups.

    Facts of known backups stay, but a missing backup that was found becomes present again.
    """
    page = list({item.guid: item for item in page}.values())
    known = _known(sql, [item.guid for item in page])
    ledger = SqlLedger(sql, finding.now)
    for item in page:
        if item.guid in known:
            _found_again(ledger, known[item.guid], item, finding)
    new = [item for item in page if item.guid not in known]
    if new:
        _add_entities(sql, new, finding.now)
        taken, firsts = _taken_locations(sql, new), found_copies.firsts(sql, new)
        made = [_backup(item, finding, taken, firsts.get(item.guid)) for item in new]
        sql.execute(sa.insert(tables.backup), [row_of(item, tables.backup) for item in made])
        found_copies.join(sql, new)
        _add_proofs(sql, new)
        for backup in made:
            copy_links.look(sql, backup.guid, backup.destination, finding.now)
        _tell_missing(ledger, new)
        for entity in {item.entity for item in new}:
            recall(sql, entity)
    return len(new)


def _known(sql: sa.Connection, guids: list[str]) -> dict[str, Backup]:
    query = sa.select(tables.backup).where(tables.backup.c.guid.in_(guids))
    return {item.guid: item for item in records(sql, query, Backup)}


def _found_again(ledger: SqlLedger, known: Backup, item: FoundBackup, finding: FindingTask) -> None:
    missing = (LocationStatus.MISSING.value, LocationStatus.GIVEN_UP.value)
    is_here = item.isHere and not item.damaged
    if is_here and known.destination == finding.destination and known.location_status in missing:
        damage: DamageLedger = ledger.damage
        damage.set_location(known, LocationStatus.PRESENT, None)
        ledger.alarms.clear(AlarmKind.BACKUP_MISSING, known.guid)


def _add_entities(sql: sa.Connection, new: Iterable[FoundBackup], now: int) -> None:
    """Insert the unknown entities of backups, as machines that are absent."""
    wanted = {item.entity: item for item in new}
    if OWN_ENTITY in wanted:
        own_server.add(sql, now)
    table = tables.entity.c
    known = set(sql.scalars(sa.select(table.guid).where(table.guid.in_(list(wanted)))))
    missing = [item for guid, item in wanted.items() if guid not in known]
    if not missing:
        return
    own_server.add_attached(sql)
    uuids = {_uuid(item) for item in missing}
    here = (table.hypervisor == ATTACHED_SOURCE, table.uuid.in_(list(uuids)))
    taken = set(sql.scalars(sa.select(table.uuid).where(*here)))
    for item in missing:
        uuid = item.entity if _uuid(item) in taken else _uuid(item)
        taken.add(uuid)
        sql.execute(
            sa.insert(tables.entity).values(row_of(_entity(item, uuid, now), tables.entity))
        )


def _uuid(item: FoundBackup) -> str:
    return str(item.about.get("uuid") or item.definition.get("uuid") or item.entity)[:80]


def _entity(item: FoundBackup, uuid: str, now: int) -> Entity:
    bare = Entity(
        guid=item.entity,
        uuid=uuid,
        name=item.name,
        hypervisor=ATTACHED_SOURCE,
        present=False,
        disks=[VirtualDisk(disk.name, disk.size, disk.format) for disk in item.disks],
        seen=now,
        absent_since=now,
    )
    return _with(bare, item.about, _KEPT_ABOUT)


def _with(record: _Record, facts: JsonMapping, names: Iterable[str]) -> _Record:
    """The record with the facts that fit their member and column; other facts are left out."""
    table = tables.entity if isinstance(record, Entity) else tables.backup
    types = {field.name: field.type for field in msgspec.structs.fields(type(record))}
    kept: JsonObject = {}
    for name in names:
        if name in facts and _fits(table.c[name], facts[name]):
            try:
                kept[name] = msgspec.convert(facts[name], types[name])
            except msgspec.ValidationError:
                continue
    return msgspec.structs.replace(record, **kept)


def _fits(column: sa.Column[object], value: object) -> bool:
    """Whether a database accepts a value in a column."""
    if isinstance(value, str):
        longest = getattr(column.type, "length", None) or _LONGEST_TEXT
        return len(value) <= longest and "\0" not in value
    return not isinstance(value, int) or abs(value) <= _LARGEST


def _taken_locations(sql: sa.Connection, new: Iterable[FoundBackup]) -> set[str]:
    wanted = [str(item.facts.get("location")) for item in new]
    column = tables.backup.c.location
    return set(sql.scalars(sa.select(column).where(column.in_(wanted))))


def _backup(item: FoundBackup, finding: FindingTask, taken: set[str], first: str | None) -> Backup:
    facts = item.facts
    location = str(facts.get("location") or "")
    if not is_guid(location) or location in taken:
        location = new_guid()
    taken.add(location)
    status, damage = _state(item, finding)
    label = found_copies.label_of(item)
    stands = {found_copies.LABEL: label} if label and first is None else {}
    bare = Backup(
        guid=item.guid,
        entity=item.entity,
        entity_name=item.name,
        destination=finding.destination,
        location=location,
        type=item.type,
        status="SUCCESS",
        created=item.snapshotTime,
        snapshot_time=item.snapshotTime,
        stored_time=item.snapshotTime,
        size=sum(disk.size for disk in item.disks),
        read=item.read,
        stored=item.stored,
        parent=item.parent,
        origin={name: facts[name] for name in _NAMES if name in facts} | stands,
        copy_of=first,
        files=[msgspec.to_builtins(disk) for disk in item.disks],
        definition=item.definition,
        location_status=status.value,
        damage=damage,
    )
    return _with(bare, facts, _KEPT)


def _state(item: FoundBackup, finding: FindingTask) -> tuple[LocationStatus, JsonObject]:
    """The state of a new backup; damage that the old server recorded stays."""
    by = f"BACKUP_DESTINATION_SYNC {finding.task}"
    if not item.isHere or item.damaged:
        lost = BackupDamage(since=finding.now, foundBy=by, objects=[f"manifests/{item.guid}"])
        status = LocationStatus.DAMAGED if item.isHere else LocationStatus.MISSING
        return status, msgspec.to_builtins(lost)
    if item.facts.get("location_status") == LocationStatus.DAMAGED.value:
        try:
            known = msgspec.convert(item.facts.get("damage"), BackupDamage)
        except msgspec.ValidationError:
            known = BackupDamage(since=finding.now, foundBy=by)
        return LocationStatus.DAMAGED, msgspec.to_builtins(known)
    return LocationStatus.PRESENT, {}


def _add_proofs(sql: sa.Connection, new: Iterable[FoundBackup]) -> None:
    """Keep the evidence of proofs; it shows that the old server signed it."""
    rows = []
    for item in new:
        proof = item.facts.get("proof")
        if isinstance(proof, dict) and isinstance(proof.get("time"), int):
            texts = {name: str(proof.get(name, "")) for name in ("evidence", "signature")}
            rows.append({"backup": item.guid, "time": proof["time"], **texts})
    if rows:
        sql.execute(sa.insert(tables.proof), rows)


def _tell_missing(ledger: SqlLedger, new: Iterable[FoundBackup]) -> None:
    for item in new:
        if not item.isHere:
            text = (
                f"the backup of {item.name} is missing: an extract of the catalogue names it, and "
                "the destination lacks its manifest"
            )
            ledger.alarms.report(AlarmKind.BACKUP_MISSING, Named(item.guid, item.name), text, {})
