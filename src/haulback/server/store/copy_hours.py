"""Hours for copies: the destinations on which no copy may start now."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from haulback.contract.copies import Copying
from haulback.policy.copy_window import next_opening
from haulback.server.store.tables import destination as table

_LIMITED = table.c.settings.contains('"startHour":')


class _Settings(msgspec.Struct):
    copying: Copying | None = None


def closed(sql: sa.Connection, now: int) -> set[str]:
    """Destinations whose daily window for copies is closed at `now` (epoch ms)."""
    rows = sql.execute(sa.select(table.c.guid, table.c.settings).where(_LIMITED))
    known = {guid: msgspec.json.decode(text, type=_Settings).copying for guid, text in rows}
    return {guid for guid, copying in known.items() if copying and next_opening(copying, now)}
