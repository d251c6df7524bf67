"""Reports of nodes about the mounts that they serve."""

from __future__ import annotations

from collections.abc import Sequence

from haulback.contract.damage import DamageReport
from haulback.errors import NotFound
from haulback.server.caller import Node
from haulback.server.services.app import App
from haulback.server.store.catalogue import SqlCatalogue
from haulback.server.store.damage_reports import DamageFinder, locations
from haulback.server.store.ledger import SqlLedger


def damaged(app: App, who: Node, guid: str, reports: Sequence[DamageReport]) -> None:
    """Record the damage that the readers of a mounted backup have found.

    Raises NotFound for a mount that the node does not serve.
    """
    with app.store.write() as sql:
        mount = SqlCatalogue(sql).mounts.get(guid)
        if mount.node != who.guid or mount.state not in ("QUEUED", "MOUNTED"):
            raise NotFound(f"nothing is mounted as {guid} here", guid=guid)
        finder = DamageFinder(f"MOUNT {guid}", locations(sql, mount.backup))
        SqlLedger(sql, app.clock.now_ms()).damage.found(finder, reports)
