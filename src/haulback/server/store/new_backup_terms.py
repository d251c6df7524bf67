"""The retention terms and the lock that a backup gets when it is stored."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from haulback.errors import NotFound
from haulback.inventory.records import Backup, Record
from haulback.policy import terms
from haulback.policy.retention import Terms
from haulback.server.scope import EVERYTHING
from haulback.server.store import retention, schedule_zones, tables
from haulback.server.store.record_catalogue import RecordCatalogue
from haulback.wire import JsonObject


class NewBackupTerms(NamedTuple):
    """Key of the terms of a new backup, or None, and the length of its lock in ms."""

    terms: str | None
    lock_ms: int


def of(sql: sa.Connection, backup: Backup) -> NewBackupTerms:
    """The terms and the lock of a backup that is being stored; the terms are stored under their
    key.

    A rule's settings for the destination take precedence over the destination's own, unless the
    retention of the rule waits for a confirmation; the longer lock applies.
    """
    settings, rule = _settings(sql, backup.destination), _rule(sql, backup.rule)
    lock = _longer(settings, rule, backup)
    own = _terms(sql, settings, rule, backup)
    if own is None:
        return NewBackupTerms(None, lock)
    body = terms.body_of(own)
    key = terms.key_of(body)
    retention.keep_terms(sql, key, body)
    return NewBackupTerms(key, lock)


def lock_of(sql: sa.Connection, backup: Backup) -> int:
    """The length in ms of the lock of a backup that is about to be stored."""
    return _longer(_settings(sql, backup.destination), _rule(sql, backup.rule), backup)


def _longer(settings: JsonObject, rule: Record | None, backup: Backup) -> int:
    asked = terms.lock_ms(rule.body, backup.role, backup.destination) if rule else 0
    return max(terms.of(settings).lock_ms, asked)


def _settings(sql: sa.Connection, guid: str) -> JsonObject:
    destination = tables.destination.c
    query = sa.select(destination.settings).where(destination.guid == guid)
    settings: JsonObject = msgspec.json.decode(sql.scalar(query) or "{}")
    return settings


def _rule(sql: sa.Connection, guid: str | None) -> Record | None:
    if guid is None:
        return None
    try:
        return RecordCatalogue(sql, EVERYTHING).get("rule", guid)
    except NotFound:
        return None


def _terms(
    sql: sa.Connection, settings: JsonObject, rule: Record | None, backup: Backup
) -> Terms | None:
    own = terms.of_role(rule.body, backup.role, backup.destination) if rule else None
    # Terms of a waiting rule would apply unconfirmed once the rule is removed.
    if rule and own and not retention.waiting(sql, [rule.guid]):
        zone = own.timeZone or (any(own.keeps) and schedule_zones.of_rule(sql, rule.guid)) or "UTC"
        return terms.of_rule(own, zone)
    return terms.of_destination(terms.of(settings)) if settings.get("retention") else None
