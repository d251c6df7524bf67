"""Requests of /projects."""

from __future__ import annotations

from haulback.contract.records import PolicyRecord


class Project(PolicyRecord, kw_only=True):
    """A tenant; the query parameter `project-uuid` names the tenant's uuid."""

    uuid: str
