"""Alarms over the API: states that an administrator must know."""

from __future__ import annotations

from haulback.client.calls import ReadableCollection
from haulback.contract.alarms import AlarmRecord


class Alarms(ReadableCollection[AlarmRecord]):
    """Alarms, newest first; an alarm has no name, so `get` takes its guid."""

    path, kind, title = "/alarms", AlarmRecord, "guid"
