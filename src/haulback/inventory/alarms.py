"""Alarms: states that an administrator must know, each with its age."""

from __future__ import annotations

import msgspec

from haulback.wire import JsonObject


class Alarm(msgspec.Struct, kw_only=True):
    """An alarm about one subject; a subject has at most one alarm of a kind.

    `since` (epoch ms) is the first report of the state, `seen` (epoch ms) the last one. `project`
    is the subject's project, None for hypervisors and destinations.
    """

    guid: str
    kind: str
    subject: str
    subject_name: str
    subject_type: str
    since: int
    seen: int
    text: str
    details: JsonObject = {}
    project: str | None = None
