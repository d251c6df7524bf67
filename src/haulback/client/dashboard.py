"""Figures for a first look, and the server about itself."""

from __future__ import annotations

from typing import Any

from haulback.client.calls import Calls
from haulback.inventory.shapes import (
    BackupStats,
    DestinationStats,
    Protection,
    SizeStats,
    StagingSpace,
)


class Dashboard:
    """What is protected, what was done, how full it is.  Times in epoch ms."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def protection(self) -> dict[str, Protection]:
        """How many machines are protected."""
        return self._calls.one(dict[str, Protection], "GET", "/dashboard/protection")

    def backups(self, since: int | None = None, until: int | None = None) -> BackupStats:
        """Backups of the last day, or of a span."""
        query = {"from": since, "to": until}
        return self._calls.one(BackupStats, "GET", "/dashboard/backup-stats", query=query)

    def sizes(self, since: int | None = None) -> SizeStats:
        """Bytes by day, of the last 15 days or since a time."""
        path, query = "/dashboard/vm-backup-size-stats", {"from": since}
        return self._calls.one(SizeStats, "GET", path, query=query)

    def staging(self) -> list[StagingSpace]:
        """How full the nodes' staging areas are."""
        return self._calls.one(list[StagingSpace], "GET", "/dashboard/staging-space")

    def destinations(self) -> DestinationStats:
        """How full the destinations are."""
        path = "/dashboard/backup-destination-stats"
        return self._calls.one(DestinationStats, "GET", path)

    def settings(self) -> dict[str, Any]:
        """Settings of the whole server."""
        return self._calls.one(dict[str, Any], "GET", "/global-settings")

    def alive(self) -> bool:
        """Whether the process answers.  Raises Unavailable."""
        return self._said_ok("/livez")

    def ready(self) -> bool:
        """Whether its database answers too.  Raises Unavailable."""
        return self._said_ok("/readyz")

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return self._calls.one(dict[str, Any], "GET", "/openapi.json")

    def _said_ok(self, path: str) -> bool:
        return self._calls.one(dict[str, str], "GET", path).get("status") == "ok"
