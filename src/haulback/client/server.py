"""The server's own database over the API: its backups, and the hold after a restore."""

from __future__ import annotations

from haulback.client.calls import Calls
from haulback.contract.own_database import DatabaseBackupRequest, ServerHold
from haulback.contract.tasks import TaskDetails


class OwnDatabase:
    """The server's own database."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def back_up(self, request: DatabaseBackupRequest) -> list[TaskDetails]:
        """Back up the database and the server's key file, sealed, to a destination."""
        return self._calls.one(list[TaskDetails], "POST", "/server/database-backups", request)

    def hold(self) -> ServerHold:
        """Whether the server is held after the restore of its database."""
        return self._calls.one(ServerHold, "GET", "/server/hold")

    def lift_hold(self) -> ServerHold:
        """Lift the hold, even if a VERIFY has not yet compared every destination."""
        return self._calls.one(ServerHold, "POST", "/server/hold/lift")
