"""Alarms, as callers read them."""

from __future__ import annotations

from haulback.inventory.alarms import Alarm
from haulback.server.queries import ListQuery
from haulback.server.scope import Scope
from haulback.server.services.app import App
from haulback.server.store import alarms, lists


def page(app: App, wanted: ListQuery) -> tuple[list[Alarm], int]:
    """A page of alarms, the newest first, and the number of all."""
    with app.store.read() as sql:
        return lists.alarms(sql, wanted)


def alarm(app: App, guid: str, scope: Scope) -> Alarm:
    """An alarm by its guid.  Raises NotFound once the alarm is cleared."""
    with app.store.read() as sql:
        return alarms.alarm(sql, guid, scope)
