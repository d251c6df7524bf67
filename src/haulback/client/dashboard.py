"""Dashboard figures, and the server's health, settings and API document."""

from __future__ import annotations

from haulback.client.calls import Calls
from haulback.contract.dashboard import (
    BackupStats,
    DestinationStats,
    Protection,
    SizeStats,
    StagingSpace,
)
from haulback.wire import JsonObject


class Dashboard:
    """Protection, activity and capacity figures. Times are in epoch ms."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def protection(self) -> dict[str, Protection]:
        """Numbers of machines that are protected, unprotected, and without a schedule."""
        return self._calls.one(dict[str, Protection], "GET", "/dashboard/protection")

    def backups(self, since: int | None = None, until: int | None = None) -> BackupStats:
        """Backup counts of the last day, or from `since` to `until`."""
        query = {"from": since, "to": until}
        return self._calls.one(BackupStats, "GET", "/dashboard/backup-stats", query=query)

    def sizes(self, since: int | None = None) -> SizeStats:
        """Backup bytes per day, for the last 15 days or since a time."""
        path, query = "/dashboard/vm-backup-size-stats", {"from": since}
        return self._calls.one(SizeStats, "GET", path, query=query)

    def staging(self) -> list[StagingSpace]:
        """Capacity and usage of the nodes' staging areas."""
        return self._calls.one(list[StagingSpace], "GET", "/dashboard/staging-space")

    def destinations(self) -> DestinationStats:
        """Capacity and usage of the destinations."""
        path = "/dashboard/backup-destination-stats"
        return self._calls.one(DestinationStats, "GET", path)

    def settings(self) -> JsonObject:
        """Settings of the whole server."""
        return self._calls.one(JsonObject, "GET", "/global-settings")

    def alive(self) -> bool:
        """Whether the server process responds. Raises Unavailable."""
        return self._said_ok("/livez")

    def ready(self) -> bool:
        """Whether the server and its database respond. Raises Unavailable."""
        return self._said_ok("/readyz")

    def openapi(self) -> JsonObject:
        """The OpenAPI document."""
        return self._calls.one(JsonObject, "GET", "/openapi.json")

    def _said_ok(self, path: str) -> bool:
        return self._calls.one(dict[str, str], "GET", path).get("status") == "ok"
