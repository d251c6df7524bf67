"""Alarms over the API: states of affairs that a person must know."""

from __future__ import annotations

from haulback.client.calls import Readable
from haulback.inventory.alarms import AlarmRecord


class Alarms(Readable[AlarmRecord]):
    """Alarms, the newest first; an alarm has no name, `get` takes its guid."""

    path, kind, title = "/alarms", AlarmRecord, "guid"
