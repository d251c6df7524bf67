"""Pages of the catalogue of one destination, as nodes write them into extracts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import sqlalchemy as sa

from haulback.contract.catalogue import CatalogueItem, CataloguePage
from haulback.inventory.records import Backup, Entity
from haulback.server.store import tables
from haulback.server.store.rows import records
from haulback.wire import JsonObject

_BACKUP, _ENTITY = tables.backup, tables.entity
# Facts of a backup that its manifest does not contain.
_FACTS = (
    *("entity", "location", "status", "created", "stored_time", "description", "warnings"),
    *("acknowledged", "hint", "keep_until", "lock_until", "level", "consistency", "volumes"),
    *("location_status", "damage", "role", "project"),
)
_ABOUT = ("uuid", "name", "type", "project", "disks", "hardware", "place")
_LONGEST_VOLUMES = 16_384  # characters of JSON; a mount computes a longer list again


def page(sql: sa.Connection, destination: str, after: str, size: int) -> CataloguePage:
    """Items of a destination after a cursor: first the entities, then the backups, by guid."""
    kind, _, guid = after.partition(":")
    if kind != "backup":
        items = list(_entities(sql, destination, guid, size))
        last = f"entity:{items[-1].guid}" if len(items) == size else "backup:"
        return CataloguePage(items, last)
    items = list(_backups(sql, destination, guid, size))
    return CataloguePage(items, f"backup:{items[-1].guid}" if len(items) == size else "")


def _entities(
    sql: sa.Connection, destination: str, after: str, size: int
) -> Iterator[CatalogueItem]:
    here = sa.exists().where(
        _BACKUP.c.entity == _ENTITY.c.guid,
        _BACKUP.c.destination == destination,
        _BACKUP.c.status == "SUCCESS",
    )
    query = sa.select(_ENTITY).where(_ENTITY.c.guid > after, here).order_by(_ENTITY.c.guid)
    listed = records(sql, query.limit(size), Entity)
    hosts = _named(sql, tables.hypervisor, {item.hypervisor for item in listed})
    policies = _named(sql, tables.record, {_policy(item) for item in listed})
    for item in listed:
        about = {"hypervisor": hosts.get(item.hypervisor), "policy": policies.get(_policy(item))}
        yield CatalogueItem("entity", item.guid, _facts(item, _ABOUT) | _present(about))


def _policy(entity: Entity) -> str:
    return str(entity.settings.get("backupPolicy") or "")


def _backups(
    sql: sa.Connection, destination: str, after: str, size: int
) -> Iterator[CatalogueItem]:
    table = _BACKUP.c
    where = (table.destination == destination, table.status == "SUCCESS", table.guid > after)
    listed = records(sql, sa.select(_BACKUP).where(*where).order_by(table.guid).limit(size), Backup)
    names = _Names(sql, listed)
    for item in listed:
        facts = _facts(item, _FACTS) | _present(names.of(item))
        if len(msgspec.json.encode(facts.get("volumes"))) > _LONGEST_VOLUMES:
            del facts["volumes"]
        yield CatalogueItem("backup", item.guid, facts)


class _Names:
    """The names of rules, policies and projects of backups, and the evidence of their proofs."""

    def __init__(self, sql: sa.Connection, listed: list[Backup]) -> None:
        record = tables.record.c
        rules = {item.rule for item in listed if item.rule}
        query = sa.select(record.guid, record.name, record.parent).where(record.guid.in_(rules))
        self._rules = {row[0]: (row[1], row[2]) for row in sql.execute(query)} if rules else {}
        self._policies = _named(sql, tables.record, {above for _, above in self._rules.values()})
        projects = sa.select(record.body, record.name).where(record.kind == "project")
        wanted = any(item.project for item in listed)
        rows = sql.execute(projects).all() if wanted else []
        self._projects = {str(msgspec.json.decode(row[0]).get("uuid")): row[1] for row in rows}
        proof = tables.proof.c
        proved = [item.guid for item in listed if item.level == "BOOTED"]
        evidence = sa.select(proof.backup, proof.time, proof.evidence, proof.signature)
        proofs = sql.execute(evidence.where(proof.backup.in_(proved))).all() if proved else []
        self._proofs = {
            row[0]: {"time": row[1], "evidence": row[2], "signature": row[3]} for row in proofs
        }

    def of(self, item: Backup) -> JsonObject:
        rule, policy = self._rules.get(item.rule or "", (None, ""))
        # A backup that came with an attached destination keeps the names of its first server.
        return {name: item.origin.get(name) for name in ("rule", "policy", "projectName")} | (
            _present(
                {
                    "rule": rule,
                    "policy": self._policies.get(policy),
                    "projectName": self._projects.get(item.project or ""),
                    "proof": self._proofs.get(item.guid),
                }
            )
        )


def _named(sql: sa.Connection, table: sa.Table, guids: Iterable[str]) -> dict[str, str]:
    wanted = [guid for guid in guids if guid]
    if not wanted:
        return {}
    query = sa.select(table.c.guid, table.c.name).where(table.c.guid.in_(wanted))
    return {row[0]: row[1] for row in sql.execute(query)}


def _facts(record: msgspec.Struct, names: Iterable[str]) -> JsonObject:
    """The members of a record that differ from the defaults of their type."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(type(record))}
    facts: JsonObject = {}
    for name in names:
        value = getattr(record, name)
        if value not in ([], {}, "", None) and value != defaults[name]:
            facts[name] = msgspec.to_builtins(value)
    return facts


def _present(members: JsonObject) -> JsonObject:
    return {name: value for name, value in members.items() if value is not None}
