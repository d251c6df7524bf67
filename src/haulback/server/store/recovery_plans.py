"""Recovery plans that a caller sees, because the caller sees all their machines."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from haulback.contract.recovery_plans import RecoveryRule
from haulback.server.scope import EVERYTHING, Scope
from haulback.server.store import tables

RECOVERY_PLAN = "recovery-plan"
_MANY = 500  # values of one IN list, because old versions of SQLite allow 999


class _Body(msgspec.Struct):
    rules: list[RecoveryRule] = []


def hidden(sql: sa.Connection, scope: Scope, plan: str | None = None) -> list[str]:
    """The guids of recovery plans, or of one, that name a machine outside `scope`."""
    if scope == EVERYTHING:
        return []
    record = tables.record.c
    query = sa.select(record.guid, record.body).where(record.kind == RECOVERY_PLAN)
    rows = sql.execute(query.where(record.guid == plan) if plan else query)
    machines = {row.guid: _machines(row.body) for row in rows}
    strange = _strange(sql, scope, list(set().union(*machines.values())))
    return [guid for guid, named in machines.items() if named & strange]


def _machines(body: str) -> set[str]:
    rules = msgspec.json.decode(body, type=_Body).rules
    return {ref.guid for rule in rules for ref in rule.protectedEntities}


def _strange(sql: sa.Connection, scope: Scope, guids: list[str]) -> set[str]:
    """The machines of these guids that belong to other projects."""
    entity, found = tables.entity.c, set[str]()
    for at in range(0, len(guids), _MANY):
        query = sa.select(entity.guid, entity.project).where(
            entity.guid.in_(guids[at : at + _MANY])
        )
        found |= {row.guid for row in sql.execute(query) if not scope.allows(row.project)}
    return found
