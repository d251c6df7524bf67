"""Snapshots on platforms, as callers read them."""

from __future__ import annotations

from haulback.inventory.records import PlatformSnapshot
from haulback.server.queries import ListQuery
from haulback.server.services.read_transaction import Reading
from haulback.server.store import lists


class SnapshotReading(Reading):
    """Read access to snapshots within one transaction."""

    def page(self, wanted: ListQuery, alone: bool | None) -> tuple[list[PlatformSnapshot], int]:
        """A page of snapshots, the newest first, and the number of all.

        `alone` limits the page to snapshots without a policy (true) or with a policy (false).
        """
        return lists.snapshots(self._sql, wanted, alone=alone)
