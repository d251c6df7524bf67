"""Members that configuration records share: policies, rules, schedules, projects, managers."""

from __future__ import annotations

import msgspec


class PolicyRecord(msgspec.Struct, kw_only=True):
    """Members of every record; `project` "" means no project.

    An absent `project` keeps the old project, or takes the caller's project for a new record.
    """

    name: str
    project: str | None = None


class ShownRecord(msgspec.Struct):
    """A record in an answer: guid, name, and the members of its kind."""

    guid: str
    name: str
