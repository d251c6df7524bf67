"""Time zones of the schedules that fire a rule."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from haulback.server.store import tables


def of_rule(sql: sa.Connection, rule: str) -> str | None:
    """The zone of the first schedule, by name, that fires a rule, or None."""
    record = tables.record.c
    query = sa.select(record.body).where(record.kind == "schedule", record.body.contains(rule))
    for body in sql.scalars(query.order_by(record.name)):
        schedule = msgspec.json.decode(body)
        if any(ref.get("guid") == rule for ref in schedule.get("rules", [])):
            return str(schedule.get("timeZone") or "UTC")
    return None
